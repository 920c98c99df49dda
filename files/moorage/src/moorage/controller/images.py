"""The images of a stack: their references, and what a host has to build for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moorage.compose import Stack
from moorage.compose.errors import ComposeError, Problem
from moorage.compose.model import Service
from moorage.controller.project import Project
from moorage.images import ImageMap, stack_spec
from moorage.images.names import strictest
from moorage.render import Rendering


def image_map(project: Project, given: Mapping[str, Any]) -> tuple[dict[str, Any], ImageMap]:
    """Return the settings of images, of those ``given`` of all roles, and the map.

    The settings are those that every build of the host has to share, and how it pulls.
    """
    names = (
        "map", "base_source", "base_name", "refresh", "credentials", "mirrors",
        "pull_timeout_seconds", "pull_retries",
    )  # fmt: skip
    settings = {name: given[f"images_{name}"] for name in names}
    return settings, ImageMap(project.files / "images", settings["map"], settings["refresh"])


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


def pulls(stack: Stack, rendering: Rendering, images: ImageMap) -> list[dict[str, Any]]:
    """Return the images of registries that a rendering names, and how often each is pulled.

    What `images_map` makes here is built. Raises ComposeError for a policy that cannot be kept.
    """
    made = {spec.ref for spec in images.specs}
    found: dict[str, list[Service]] = {}
    problems = []
    for service in stack.services.values():
        if not service.is_data or service.image not in rendering.images:
            continue
        ref = images.ref(service.image)
        if ref in made:
            continue
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
        }
        for ref, services in sorted(found.items())
        # What must not be pulled is there under its own name, or is not.
        if (policy := strictest(map(_policy, services))) != "never"
    ]


def _policy(service: Service) -> str:
    return str(service.options.get("pull_policy") or "missing")
