"""The plan: what one host should become, worked out on the controller before it is asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from moorage.compose import Stack, load_stack
from moorage.compose.errors import ComposeError, Problem
from moorage.controller.edge import plan_edge
from moorage.controller.images import image_map, pulls, references
from moorage.controller.manifest import (
    directories_of,
    manifest,
    ports_of,
    runtime_directories,
    secrets_of,
    with_rotation,
    with_tmpfiles,
)
from moorage.controller.needs import edge_kind, in_containers, native
from moorage.controller.networks import refuse_overlaps, with_own_subnets
from moorage.controller.project import Project, hash_files, tree
from moorage.controller.roles import ROLES
from moorage.controller.settings import gather, host_settings, prefix, variables_named
from moorage.deploy.claims import as_data, claims_of
from moorage.images import ImageMap
from moorage.release.manifest import Service
from moorage.release.names import COMPOSE_JSON, NEXT
from moorage.render import Rendering, Settings, render_stack, topologies
from moorage.render.loopback import assign

# Settings that no file of a release depends on.
_OF_A_DEPLOY = ("batch", "gate_timeout_seconds", "keep_releases", "start_timeout_seconds")


@dataclass(frozen=True)
class Draft:
    """A stack rendered before its images and its ports behind the edge are settled."""

    stack: Stack
    settings: Settings
    rendering: Rendering


def plan_host(
    project: Project,
    groups: Iterable[str],
    variables: Mapping[str, Any],
    beside: Collection[str] = (),
    problems: Iterable[Problem] = (),
) -> dict[str, Any]:
    """Return everything that a host in ``groups`` should have and run, as plain data.

    ``variables`` are the host's, with templates resolved; ``beside`` names its other groups, whose
    stacks are not planned and keep the ports that they have behind the edge. Raises ComposeError or
    ImageError for a description or setting that cannot be used, and for ``problems`` that were
    found before.
    """
    asked = set(groups)
    given, wrong = host_settings(project.root, variables)
    wrong = [*problems, *wrong]
    every = project.stacks()
    here = {n: gather(n, variables, every) for n in every if n in asked or n in beside}
    engine = given["edge_kind"] == "container" or any(map(in_containers, here.values()))
    given["edge_kind"] = edge_kind(given["edge_kind"], engine)
    drafts = []
    for name in here:
        if name in asked:
            try:
                drafts.append(draft_stack(project, name, here[name], _proxies(given, here[name])))
            except ComposeError as error:
                wrong += error.problems
    if wrong:
        raise ComposeError(wrong)
    image_settings, images = image_map(project, given)
    others = list(_others(project, {n: s for n, s in here.items() if n not in asked}, given))
    own = [given["edge_http_port"], given["edge_https_port"]]
    loopback = _loopback([*drafts, *others], own)
    log_days = given["logrotate_days"]
    stacks = [
        plan_stack(project, draft, images, loopback, log_days, image_settings["preferred"])
        for draft in drafts
    ]
    _refuse_shared_ports(stacks)
    _refuse_shared_names(stacks)
    refuse_overlaps(stacks, given["docker_address_pools"])
    edge = plan_edge(given, images, stacks)
    # An image that no stack of the host uses is not built there.
    needed = images.needed()
    image_settings["map"] = {n: v for n, v in image_settings["map"].items() if n in needed}
    # What may come from a registry is made when a deploy finds that it cannot be had.
    preferred = image_settings["preferred"]
    image_settings["provided"] = {
        n: v for n, v in image_settings["map"].items() if n not in preferred
    }
    directories = [entry for stack in stacks for entry in stack["directories"]]
    inputs = {
        "variables": _provisioning_variables(variables),
        "directories": directories,
        "encrypted": [stack["name"] for stack in stacks if stack["encrypted"]],
        "images": sorted(needed),
        "engine": engine,
        "native": native((d.rendering for d in [*drafts, *others]), given["native_kept_units"]),
        # What its settings do not say: the image that stands for a name, what is in a file.
        "edge": [edge["kind"], edge["image"], edge["certificates"]],
    }
    ports = [{**port, "stack": s["name"]} for s in stacks for port in s["ports"]]
    return {
        "stacks": stacks,
        "engine": engine,
        "native": inputs["native"],
        "edge": edge,
        "images": image_settings,
        "stamp": _stamp(project, inputs),
        "ports": [*ports, *edge["ports"], *_ports_behind(drafts, loopback)],
        "directories": directories,
        "encrypted": inputs["encrypted"],
        "survey_stacks": [
            {
                "name": s["name"],
                "dir": s["base"],
                "claims": _claims(s, edge),
                "encrypted": s["encrypted"],
                "pulls": [{key: pull[key] for key in ("ref", "policy")} for pull in s["pulls"]],
            }
            for s in stacks
        ],
    }


def _claims(stack: Mapping[str, Any], edge: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a stack wants for itself, to be compared with what others on the host have."""
    compose = json.loads(stack["files"][COMPOSE_JSON]["content"])
    return as_data(claims_of(stack["manifest"], compose, [port["port"] for port in edge["ports"]]))


def _others(
    project: Project, settings: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]
) -> Iterator[Draft]:
    """Drafts of the host's stacks that nobody asked for; one that cannot be read holds up none."""
    for name, own in settings.items():
        with suppress(ComposeError):
            yield draft_stack(project, name, own, _proxies(given, own))


def draft_stack(
    project: Project, name: str, given: Mapping[str, Any], proxies: Mapping[str, str]
) -> Draft:
    """Read a stack and render it for the first time: that tells what it wants built and routed.

    ``proxies`` is what its Compose file may know of the proxies in front of it.
    """
    with variables_named(name):
        settings = Settings.parse(given, name, behind_edge=proxies["MOORAGE_PROXIES"] != "0")
    stack = _load(project, name, settings, proxies)
    known = with_own_subnets(proxies, stack)
    if known != proxies:
        # The networks may have come from variables themselves: they are read before.
        stack = _load(project, name, settings, known)
    if stack.name != name:
        message = f"the stack in the directory {name} calls itself {stack.name}"
        raise ComposeError([Problem("name", message, f"write name: {name}, or rename it")])
    return Draft(stack, settings, _render(stack, settings))


def _load(project: Project, name: str, settings: Settings, proxies: Mapping[str, str]) -> Stack:
    with variables_named(name):
        return load_stack(
            project.stack_directory(name),
            environment=_interpolation(settings, proxies),
            profiles=settings.profiles,
            on_demand=True,
            # The renderer has a value for each place of a process.
            kept=next((t.kept for t in topologies() if t.name == settings.topology), ""),
            told=settings.variables,
        )


def plan_stack(
    project: Project,
    draft: Draft,
    images: ImageMap,
    loopback: Mapping[str, int],
    log_days: int,
    preferred: Collection[str] = (),
) -> dict[str, Any]:
    """Return the plan of one stack: release, images, secrets, directories and ports.

    ``loopback`` has the host's ports behind the edge, by the names that drafts ask for;
    ``log_days`` is how long logs of processes and of the gateway are kept, ``preferred`` has names
    of images that are pulled where they can be.
    """
    stack, name = draft.stack, draft.stack.name
    directory = project.stack_directory(name)
    refs, builds = references(directory, name, draft.rendering, images)
    own = {key: loopback[key] for key in draft.rendering.loopback}
    settings = replace(
        draft.settings,
        image_refs=refs,
        loopback_ports=own,
        image_commands={
            # Of one that may be a registry's, nobody knows what is in it.
            **{
                name: images.commands(name)
                for name in draft.rendering.images
                if name not in preferred
            },
            **{n: images.commands_in(d) for n, d in draft.rendering.stand_ins.items()},
        },
    )
    rendering = _render(stack, settings)
    runtime = runtime_directories(settings, rendering)
    rendering = with_tmpfiles(rendering, name, settings.run_dir, runtime)
    rendering = with_rotation(rendering, name, settings, log_days)
    release = manifest(name, settings, rendering)
    return {
        "name": name,
        "prefix": prefix(name),
        "topology": settings.topology,
        "base": settings.base_dir,
        "encrypted": settings.storage_encryption != "none",
        "release": release["id"],
        "version": settings.version,
        "files": {
            path: {"content": f.content, "mode": f.mode} for path, f in rendering.files.items()
        },
        "manifest": release,
        "builds": builds,
        "pulls": pulls(stack, draft.rendering, images, preferred),
        "secrets": secrets_of(stack, rendering.secrets, settings.secrets),
        "given_secrets": list(settings.secrets),
        "directories": directories_of(settings, rendering),
        "ports": ports_of(rendering),
        "packages": native([rendering], ())["packages"],
        "services": [asdict(service) for service in rendering.services],
        "networks": [
            network.name
            for key, network in stack.networks.items()
            # One with a name of its own may be meant to be shared.
            if network.name == f"{name}_{key}"
        ],
        "notes": [*rendering.notes, *images.notes(rendering.images)],
        **{name: getattr(settings, name) for name in _OF_A_DEPLOY},
    }


def _proxies(given: Mapping[str, Any], stack: Mapping[str, Any]) -> dict[str, str]:
    """How many proxies stand in front of a stack with these settings, and where they ask from."""
    if given["edge_kind"] == "none":
        return {"MOORAGE_PROXIES": "0", "MOORAGE_PROXY_NETWORKS": ""}
    # The edge sends to a port of 127.0.0.1; a container that has it published sees its network's
    # gateway.
    pools = given["docker_address_pools"] if in_containers(stack) else ()
    networks = ["127.0.0.0/8", *(pool["base"] for pool in pools)]
    return {"MOORAGE_PROXIES": "1", "MOORAGE_PROXY_NETWORKS": ",".join(networks)}


def _interpolation(settings: Settings, proxies: Mapping[str, str]) -> dict[str, str]:
    """Variables of a Compose file: the operator's, and what only Moorage knows."""
    version = {"VERSION": settings.version} if settings.version else {}
    return {**proxies, **settings.variables, **version}


def _render(stack: Stack, settings: Settings) -> Rendering:
    with variables_named(stack.name):
        return render_stack(stack, settings)


def _loopback(drafts: Iterable[Draft], taken: Iterable[int]) -> dict[str, int]:
    """The ports behind the edge of all stacks: no two are alike, and none is a public one."""
    renderings = [draft.rendering for draft in drafts]
    names = [name for rendering in renderings for name in rendering.loopback]
    published = {port.port for rendering in renderings for port in rendering.ports}
    return assign(names, published | set(taken))


def _ports_behind(drafts: Iterable[Draft], ports: Mapping[str, int]) -> list[dict[str, Any]]:
    """The ports behind the edge as a survey looks at them: both slots have to be free for us."""
    found = []
    for draft in drafts:
        for name in draft.rendering.loopback:
            stack, service = name.split("/")[:2]
            place = {"port": ports[name], "protocol": "tcp", "address": "127.0.0.1"}
            found.append({**place, "stack": stack, "service": f"{service}, behind the edge"})
    return found


def _refuse_shared_ports(stacks: Iterable[Mapping[str, Any]]) -> None:
    taken: dict[tuple[int, str], str] = {}
    problems = []
    for stack in stacks:
        for port in stack["ports"]:
            place = (port["port"], port["protocol"])
            holder = taken.setdefault(place, stack["name"])
            if holder != stack["name"]:
                problems.append(
                    Problem(
                        f"{stack['prefix']}_publish.{port['service']}",
                        f"port {place[0]}/{place[1]} is published by the stack {holder} already",
                        "publish another port for one of them",
                    )
                )
    if problems:
        raise ComposeError(problems)


def _refuse_shared_names(stacks: Iterable[Mapping[str, Any]]) -> None:
    """Refuse a container, network or file of the host that two stacks would call by one name.

    The engine would offer to remove the other stack's.
    """
    taken: dict[tuple[str, str], tuple[str, str]] = {}
    problems = []
    for stack in stacks:
        for kind, name, owner in _names(stack):
            other, whose = taken.setdefault((kind, name), (stack["name"], owner))
            if other != stack["name"]:
                problems.append(
                    Problem(
                        f"{stack['name']}.{owner}",
                        f"its {kind} would be called {name}, as that of {whose} of the stack "
                        f"{other} is",
                        "give one of the two services, or one of the two stacks, another name",
                    )
                )
    if problems:
        raise ComposeError(problems)


def _names(stack: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield kind and name of what the host keeps for a stack, and what it is for."""
    for service in (Service(**entry) for entry in stack["services"]):
        # A process is in a container of several.
        what = f"{service.name} and others" if service.kind == "process" else service.name
        for name in service.containers:
            yield "container", name, what
            # How the new one is called while an update lasts.
            yield "container", f"{name}{NEXT}", what
    for name in stack["networks"]:
        yield "network", name, "a network"
    for path in stack["manifest"]["install"].values():
        yield "file", path, "a file"


def _provisioning_variables(variables: Mapping[str, Any]) -> dict[str, Any]:
    starts = tuple(f"{role}_" for role in ROLES)
    return {key: value for key, value in sorted(variables.items()) if key.startswith(starts)}


def _stamp(project: Project, inputs: Mapping[str, Any]) -> str:
    directories = [project.root / "roles" / role for role in ROLES]
    directories.append(project.files / "images")
    named = [(p.relative_to(project.root).as_posix(), p) for d in directories for p in tree(d)]
    named += sorted(project.runtime_files().items())
    text = json.dumps([hash_files(named), inputs], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
