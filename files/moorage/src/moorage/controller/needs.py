"""What a host needs below its stacks: an engine for containers, packages for the others."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from moorage.render import Rendering, Settings, topologies

# What environments of Python are made with.
_OWN_PACKAGES = ("python3-pip", "python3-venv")
# Debian's packages that start a server of their own when they are installed, and its unit.
_SERVERS = (
    (re.compile(r"postgresql(-common|-\d+)?"), "postgresql.service"),
    (re.compile(r"(mariadb|default-mysql)-server"), "mariadb.service"),
    (re.compile(r"redis(-server)?"), "redis-server.service"),
)


def in_containers(stack: Mapping[str, Any]) -> bool:
    """Tell whether a stack with these settings runs in containers.

    One of a topology that there is not counts as such: a host keeps what it has, and rendering says
    what is wrong.
    """
    name = stack.get("topology", Settings.topology)
    return not any(entry.name == name and not entry.engine for entry in topologies())


def edge_kind(asked: str, engine: bool) -> str:
    """Return how the edge of a host runs, where the operator ``asked`` for it so."""
    if asked != "auto":
        return asked
    return "container" if engine else "native"


def native(renderings: Iterable[Rendering], kept: Collection[str]) -> dict[str, list[str]]:
    """Return what the stacks without containers among ``renderings`` need of their host.

    `packages` are Debian's, `masked` the units that those would start, apart from ``kept``, which
    the operator runs.
    """
    found = [r for r in renderings if not in_containers({"topology": r.topology})]
    asked = {name for rendering in found for name in rendering.packages}
    packages = sorted({*asked, *_OWN_PACKAGES}) if found else []
    masked = {unit for name in packages for known, unit in _SERVERS if known.fullmatch(name)}
    return {"packages": packages, "masked": sorted(masked - {*kept})}
