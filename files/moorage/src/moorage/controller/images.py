"""The images of a stack: their references, and what a host has to build for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from moorage.compose.errors import ComposeError, Problem
from moorage.controller.project import Project
from moorage.images import ImageMap, stack_spec
from moorage.render import Rendering


def image_map(project: Project, variables: Mapping[str, Any]) -> tuple[dict[str, Any], ImageMap]:
    """Return the settings of images, from ``variables`` or the role's defaults, and the map.

    The settings are those that every build of the host has to share: ``map``, ``base_source``,
    ``base_name`` and ``refresh``.
    """
    defaults = yaml.safe_load((project.root / "roles/images/defaults/main.yml").read_text())
    given = {**defaults, **variables}
    if not isinstance(given["images_map"], Mapping):
        wrong = "has to be a mapping of names to directories or images"
        raise ComposeError([Problem("images_map", wrong, value=str(given["images_map"]))])
    settings = {
        "map": {str(name): str(value) for name, value in given["images_map"].items()},
        "base_source": given["images_base_source"],
        "base_name": given["images_base_name"],
        "refresh": str(given["images_refresh"]),
    }
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
