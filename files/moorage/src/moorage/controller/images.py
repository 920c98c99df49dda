"""The images of a stack: their references, and what a host has to build for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moorage.controller.project import Project
from moorage.images import ImageMap, stack_spec
from moorage.render import Rendering


def image_map(project: Project, given: Mapping[str, Any]) -> tuple[dict[str, Any], ImageMap]:
    """Return the settings of images, of those ``given`` of all roles, and the map.

    The settings are those that every build of the host has to share: ``map``, ``base_source``,
    ``base_name`` and ``refresh``.
    """
    names = ("map", "base_source", "base_name", "refresh")
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
