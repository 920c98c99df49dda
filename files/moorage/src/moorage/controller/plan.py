"""The plan: what one host should become, worked out on the controller before it is asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import PurePosixPath
from typing import Any

from moorage.compose import Stack, load_stack
from moorage.compose.errors import ComposeError, Problem
from moorage.controller.images import image_map, references
from moorage.controller.project import PROVISION_ROLES, Project, hash_files, tree
from moorage.controller.settings import gather, prefix, split
from moorage.images import ImageMap
from moorage.render import RenderedFile, Rendering, Settings, content_hash, topology
from moorage.render.rendering import DirectoryFact, SecretFact, VolumeFact

RELEASE_ID_LENGTH = 12
# A change of this number makes every release a new one: raise it when the meaning of a release's
# files changes without their content.
FORMAT = 2


def plan_host(
    project: Project, groups: Iterable[str], variables: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything that a host in ``groups`` should have and run, as plain data.

    ``variables`` are the host's, with templates resolved. Raises ComposeError or ImageError for a
    description or setting that cannot be used.
    """
    names = [name for name in project.stacks() if name in set(groups)]
    image_settings, images = image_map(project, variables)
    stacks = [plan_stack(project, name, gather(name, variables), images) for name in names]
    _refuse_shared_ports(stacks)
    directories = [entry for stack in stacks for entry in stack["directories"]]
    inputs = {
        "variables": _provisioning_variables(variables),
        "directories": directories,
    }
    return {
        "stacks": stacks,
        "images": image_settings,
        "stamp": _stamp(project, inputs),
        "ports": [{**port, "stack": s["name"]} for s in stacks for port in s["ports"]],
        "directories": directories,
        "logs": [stack["logs"] for stack in stacks],
        "survey_stacks": [{"name": s["name"], "dir": s["base"]} for s in stacks],
    }


def plan_stack(
    project: Project, name: str, given: Mapping[str, Any], images: ImageMap
) -> dict[str, Any]:
    """Return the plan of one stack: release, images, secrets, directories and ports."""
    deploy, render_settings = split(name, given)
    stack = load_stack(
        project.stack_directory(name),
        environment=deploy.variables,
        profiles=deploy.profiles,
        on_demand=True,
    )
    rendering, builds, settings = _render(project, stack, render_settings, images)
    runtime = _runtime_directories(settings, rendering)
    rendering = _with_tmpfiles(rendering, name, settings.run_dir, runtime)
    release = content_hash(rendering, {"format": FORMAT})[:RELEASE_ID_LENGTH]
    return {
        "name": name,
        "prefix": prefix(name),
        "topology": settings.topology,
        "base": settings.base_dir,
        "release": release,
        "files": {
            path: {"content": f.content, "mode": f.mode} for path, f in rendering.files.items()
        },
        "manifest": {**_manifest(name, release, settings, rendering), "runtime": runtime},
        "builds": builds,
        "secrets": _secrets(stack, rendering.secrets, given.get("secrets") or {}),
        "given_secrets": sorted(given.get("secrets") or {}),
        "directories": _directories(settings, rendering),
        "logs": _logs(name, settings, rendering),
        "ports": _ports(rendering),
        "services": [asdict(service) for service in rendering.services],
        "notes": list(rendering.notes),
        **{
            key: value
            for key, value in asdict(deploy).items()
            if key not in ("variables", "profiles")
        },
    }


def _render(
    project: Project, stack: Stack, given: Mapping[str, Any], images: ImageMap
) -> tuple[Rendering, list[dict[str, Any]], Settings]:
    # Twice: the first time tells what has to be built; its references go into the second.
    settings = Settings.parse(given, stack=stack.name)
    try:
        render = topology(settings.topology)
    except ValueError as error:
        raise ComposeError([Problem(f"{prefix(stack.name)}_topology", str(error))]) from None
    draft = render(stack, settings)
    refs, builds = references(project.stack_directory(stack.name), stack.name, draft, images)
    settings = Settings.parse({**given, "image_refs": refs}, stack=stack.name)
    return render(stack, settings), builds, settings


def _manifest(name: str, release: str, settings: Settings, rendering: Rendering) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "stack": name,
        "id": release,
        "topology": settings.topology,
        "images": sorted(set(settings.image_refs.values())),
        "services": [asdict(service) for service in rendering.services],
        # What has to lie at a path of its own, whatever the release that it comes from.
        "install": {
            path: file.install_as for path, file in rendering.files.items() if file.install_as
        },
    }


def _secrets(
    stack: Stack, facts: Iterable[SecretFact], given: Mapping[str, Any]
) -> list[dict[str, Any]]:
    secrets = [
        {
            "name": fact.name,
            "users": list(fact.users),
            "length": fact.generate or 0,
            "optional": fact.optional,
            "services": [
                name
                for name, service in stack.services.items()
                if any(grant.source == fact.name for grant in service.secrets)
            ],
        }
        for fact in facts
    ]
    unknown = sorted(set(given) - {secret["name"] for secret in secrets})
    if unknown:
        known = ", ".join(sorted(str(secret["name"]) for secret in secrets)) or "none"
        raise ComposeError(
            Problem(
                f"{prefix(stack.name)}_secrets.{name}",
                "the stack has no such secret",
                f"it has: {known}",
            )
            for name in unknown
        )
    return secrets


def _directories(settings: Settings, rendering: Rendering) -> list[dict[str, Any]]:
    base = settings.base_dir
    own = [
        _directory(base, "0:0", "0755"),
        *(_directory(f"{base}/{name}", "0:0", "0755") for name in ("data", "config", "releases")),
        # 0711: a user passes through to the directory of its own, and lists nothing.
        _directory(f"{base}/secrets", "0:0", "0711"),
        _directory(f"{base}/backups", "0:0", "0700"),
        _directory(f"{base}/logs", settings.user, "0755"),
    ]
    found = {entry["path"]: entry for entry in own}
    facts: list[DirectoryFact | VolumeFact] = [*rendering.directories, *rendering.volumes]
    for fact in facts:
        found[fact.path] = {
            "path": fact.path,
            "owner": fact.uid,
            "group": fact.gid,
            "mode": fact.mode,
        }
    return [
        entry
        for path, entry in sorted(found.items())
        if not path.startswith(f"{settings.run_dir}/")
    ]


def _runtime_directories(settings: Settings, rendering: Rendering) -> list[dict[str, Any]]:
    return [
        {"path": fact.path, "owner": fact.uid, "group": fact.gid, "mode": fact.mode}
        for fact in rendering.directories
        if fact.path.startswith(f"{settings.run_dir}/")
    ]


def _with_tmpfiles(
    rendering: Rendering, name: str, run_dir: str, runtime: Iterable[Mapping[str, Any]]
) -> Rendering:
    """Add what makes the release's directories below /run at a boot, before the engine starts.

    It goes with the release and not with provisioning: a host whose release failed boots with the
    one that was put back.
    """
    lines = [
        "# Written by Moorage: /run is empty after a boot, and containers mount these directories.",
        f"d {PurePosixPath(run_dir).parent} 0755 root root -",
        f"d {run_dir} 0755 root root -",
        *(f"d {e['path']} {e['mode']} {e['owner']} {e['group']} -" for e in runtime),
    ]
    target = f"/etc/tmpfiles.d/moorage-{name}-{rendering.topology}.conf"
    file = RenderedFile("\n".join(lines) + "\n", install_as=target)
    return replace(rendering, files={**rendering.files, "tmpfiles.conf": file})


def _directory(path: str, user: str, mode: str) -> dict[str, Any]:
    uid, _, gid = user.partition(":")
    return {"path": path, "owner": int(uid), "group": int(gid), "mode": mode}


def _ports(rendering: Rendering) -> list[dict[str, Any]]:
    return [
        {
            "port": port.port,
            "protocol": port.protocol,
            # What the engine takes for a port without an address.
            "address": port.host_ip or "0.0.0.0",
            "service": port.service,
        }
        for port in rendering.ports
    ]


def _logs(name: str, settings: Settings, rendering: Rendering) -> dict[str, Any]:
    uid, _, gid = settings.user.partition(":")
    # Containers log through the engine, which limits them itself.
    in_files = any(service.kind == "process" for service in rendering.services)
    return {
        "name": name,
        "dir": f"{settings.base_dir}/logs",
        "user": int(uid),
        "group": int(gid),
        "state": "present" if in_files else "absent",
    }


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


def _provisioning_variables(variables: Mapping[str, Any]) -> dict[str, Any]:
    starts = tuple(f"{role}_" for role in PROVISION_ROLES)
    return {key: value for key, value in sorted(variables.items()) if key.startswith(starts)}


def _stamp(project: Project, inputs: Mapping[str, Any]) -> str:
    directories = [project.root / "roles" / role for role in PROVISION_ROLES]
    directories.append(project.files / "images")
    named = [(p.relative_to(project.root).as_posix(), p) for d in directories for p in tree(d)]
    named += sorted(project.runtime_files().items())
    text = json.dumps([hash_files(named), inputs], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
