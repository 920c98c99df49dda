"""The images of a stack: their references, and what a host has to build for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from moorage.compose import Stack
from moorage.compose.errors import ComposeError, Problem
from moorage.compose.model import Service
from moorage.controller.project import Project
from moorage.images import ImageMap, stack_spec
from moorage.images.mapping import BOOTSTRAP
from moorage.images.names import strictest
from moorage.render import Rendering


def image_map(project: Project, given: Mapping[str, Any]) -> tuple[dict[str, Any], ImageMap]:
    """Return the settings of images, of those ``given`` of all roles, and the map.

    The settings are those that every build of the host has to share, and how it pulls.
    """
    names = (
        "map", "source", "base_source", "base_name", "refresh", "credentials", "mirrors",
        "pull_timeout_seconds", "pull_retries",
    )  # fmt: skip
    settings = {name: given[f"images_{name}"] for name in names}
    directory = project.files / "images"
    theirs = [n for n, value in settings["map"].items() if _of_registry(directory, n, value)]
    if settings["source"] == "registry":
        settings["map"] = {**settings["map"], **{name: name for name in theirs}}
    settings["preferred"] = theirs if settings["source"] == "prefer-registry" else []
    return settings, ImageMap(directory, settings["map"], settings["refresh"])


def _of_registry(directory: Path, name: str, value: str) -> bool:
    """Tell whether a name of the map is built here, and is one that a registry may have too.

    The base has a setting of its own, and the edge's image is nobody else's.
    """
    made = (directory / value).is_dir() and not (directory / value / BOOTSTRAP).is_file()
    return made and any(sign in name for sign in ":/")


def references(
    directory: Path, stack: str, rendering: Rendering, images: ImageMap
) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return the final reference of every image of ``rendering``, and the builds it asks for.

    Raises ImageError when something that a build needs is not there.
    """
    refs = {name: images.ref(name) for name in rendering.images}
    builds = []
    for fact in rendering.builds:
        refs[fact.key] = stack_spec(stack, fact.key, fact.build, directory, images).ref
        builds.append({"key": fact.key, "build": fact.build, "stack_dir": str(directory)})
    return refs, builds


def pulls(
    stack: Stack, rendering: Rendering, images: ImageMap, preferred: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Return the images of registries that a rendering names, and how often each is pulled.

    What `images_map` makes here is built, and pulled `instead` where its name is ``preferred``, if
    a registry has it. Raises ComposeError for a policy that cannot be kept.
    """
    made = {spec.ref for spec in images.specs}
    found: dict[str, list[Service]] = {}
    instead: dict[str, str] = {}
    problems = []
    for service in stack.services.values():
        if not service.is_data or service.image not in rendering.images:
            continue
        ref = images.ref(service.image)
        if ref in made:
            if service.image not in preferred:
                continue
            instead[service.image] = ref
            ref = service.image
        if _policy(service) == "build":
            where = f"services.{service.name}.pull_policy"
            problems.append(Problem(where, "it has no `build`", "write missing or always", "build"))
        found.setdefault(ref, []).append(service)
    for ref, services in found.items():
        if len(platforms := {str(s.options.get("platform", "")) for s in services}) > 1:
            asked = ", ".join(sorted(p or "the host's" for p in platforms))
            message = f"{ref} is asked for on several platforms"
            where = f"services.{services[0].name}.platform"
            problems.append(Problem(where, message, "an engine keeps one: agree on it", asked))
    if problems:
        raise ComposeError(problems)
    return [
        {
            "ref": ref,
            "policy": policy,
            "platform": str(services[0].options.get("platform", "")),
            "services": [service.name for service in services],
            "instead": instead.get(ref, ""),
        }
        for ref, services in sorted(found.items())
        # What must not be pulled is there under its own name, or is not.
        if (policy := strictest(map(_policy, services))) != "never"
    ]


def _policy(service: Service) -> str:
    return str(service.options.get("pull_policy") or "missing")
