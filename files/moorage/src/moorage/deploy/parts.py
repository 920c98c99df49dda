"""Two releases as data, and which of their parts belong to one service."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moorage.release.names import COMPOSE_JSON

# What a manifest says of the release as such, and not of what runs.
_ABOUT = ("id", "version", "partial", "planned")

Entry = dict[str, Any]


@dataclass(frozen=True)
class Content:
    """A release as data: content and mode of its files by path, and its manifest."""

    files: Mapping[str, tuple[str, int]]
    manifest: Mapping[str, Any]

    def same(self, other: Content) -> bool:
        """Whether both describe the same containers, files and facts."""
        return dict(self.files) == dict(other.files) and facts_of(self) == facts_of(other)


def facts_of(content: Content) -> Entry:
    """Return what a manifest says of what runs, and not of the release as such."""
    return {key: value for key, value in content.manifest.items() if key not in _ABOUT}


class Parts:
    """Both releases, read, and which of their parts belong to the service."""

    def __init__(self, running: Content, planned: Content, service: str) -> None:
        self.running, self.planned, self.service = running, planned, service
        self.old = json.loads(running.files[COMPOSE_JSON][0])
        self.new = json.loads(planned.files[COMPOSE_JSON][0])

    def concerns(self, unit: Mapping[str, Any]) -> bool:
        """Whether the service runs in this unit."""
        if unit["service"] == self.service or self.service in unit.get("processes", ()):
            return True
        return bool(unit.get("processes")) and any(
            name in unit["processes"] for name in self.processes(self.planned)
        )

    def processes(self, content: Content) -> list[str]:
        """Return the names of the service's processes in the unified container."""
        facts = by_name(content.manifest["services"])
        fact = facts.get(self.service)
        if fact is None or fact["kind"] != "process":
            return []
        many = int(fact.get("replicas", 1))
        numbered = {f"{self.service}-{n}" for n in range(1, many + 1)} - facts.keys()
        there = (name for unit in content.manifest["units"] for name in unit.get("processes", ()))
        return [name for name in there if name == self.service or name in numbered]

    def mine(self, service: str) -> bool:
        """Whether a fact that names ``service`` comes from the plan."""
        return service == self.service


def by_name(entries: Iterable[Entry], key: str = "name") -> dict[str, Entry]:
    """Return entries by one of their values."""
    return {str(entry[key]): entry for entry in entries}


def ordered(found: Iterable[Any], like: Sequence[Any]) -> list[Any]:
    """Return ``found`` in the plan's order, so that what is the same looks the same."""
    places = {json.dumps(entry, sort_keys=True): n for n, entry in enumerate(like)}

    def place(entry: Any) -> tuple[int, str]:
        text = json.dumps(entry, sort_keys=True)
        return places.get(text, len(places)), text

    return sorted(found, key=place)


def target_of(mount: Any) -> str:
    """Return where a mount of a Compose file lies in the container."""
    if isinstance(mount, Mapping):
        return str(mount["target"])
    return str(mount).split(":")[1] if ":" in str(mount) else str(mount)
