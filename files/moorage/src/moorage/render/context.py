"""What every part of a renderer needs: the stack, the settings, and where problems go."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from moorage.compose.errors import Problem, did_you_mean, shown
from moorage.compose.model import Service, Stack
from moorage.render.key_table import Column
from moorage.render.service import PlacedService
from moorage.settings.stack import Settings

_NUMERIC = re.compile(r"(\d+)(?::(\d+))?")
# Values that say no more than the key's absence.
_USUAL = {"replicas": 1, "scale": 1, "mode": "replicated"}


@dataclass
class Context:
    """One rendering in progress; `services` are the stack's, as they are to run."""

    stack: Stack
    settings: Settings
    services: dict[str, PlacedService]
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unresolved: list[str] = field(default_factory=list)

    def wrong(self, service: str, key: str, message: str, advice: str, value: Any = None) -> None:
        """Report what this topology cannot honour."""
        where = f"services.{service}.{key}" if service else key
        seen = None if value is None else shown(value)
        self.problems.append(Problem(where, message, advice, seen))

    def note(self, service: str, key: str, why: str) -> None:
        """Record what has no effect here, so that nothing is dropped silently."""
        self.notes.append(f"services.{service}.{key} has no effect: {why}")

    def judge(self, service: Service, column: Column) -> None:
        """Refuse or note the keys of a service that the column says so of."""
        for key in set_keys(service):
            entry = column[key]
            if entry.verdict == "refused":
                message = f"the topology {self.settings.topology} cannot honour it: {entry.how}"
                self.wrong(service.name, key, message, "remove it, or choose another topology")
            elif entry.verdict == "ignored":
                self.note(service.name, key, entry.how)

    def check_names(self, units: Collection[str]) -> None:
        """Refuse settings for services that are not there; `units` may have limits beside them."""
        known = set(self.services)
        for setting in ("publish", "environment", "limits", "replicas"):
            allowed = known | set(units) if setting == "limits" else known
            for name in getattr(self.settings, setting):
                if name not in allowed:
                    advice = did_you_mean(name, allowed)
                    self.wrong("", f"settings.{setting}.{name}", "is no service here", advice)

    def image(self, key: str, fallback: str) -> str:
        """The final reference of a build or image; what is missing is remembered."""
        reference = self.settings.image_refs.get(key)
        if reference is None:
            self.unresolved.append(key)
            return fallback
        return reference


def set_keys(service: Service) -> list[str]:
    """Keys of a service that are set, those below `deploy` by their path."""
    keys = []
    for key, value in service.to_dict().items():
        if key == "deploy":
            keys += [f"deploy.{part}" for part, item in value.items() if item != _USUAL.get(part)]
        elif value not in (None, False, {}, []) and value != _USUAL.get(key):
            keys.append(key)
    return keys


def own_user(ctx: Context) -> tuple[int, int]:
    """The user of own services that name none: the same in all topologies, as is their data."""
    unified = ctx.stack.moorage.unified
    text = (unified.user if unified else None) or ctx.settings.user
    return numeric_user(text) or (0, 0)


def service_user(service: Service) -> tuple[int, int] | None:
    """uid and gid that a service names; None when it names none, or one by name."""
    return numeric_user(service.moorage.user or service.user)


def numeric_user(text: str | None) -> tuple[int, int] | None:
    """uid and gid of a user in numbers, and of root; without a gid it is 0, as in the engine."""
    match = _NUMERIC.fullmatch("0:0" if text in ("root", "root:root") else text or "")
    return None if match is None else (int(match[1]), int(match[2] or 0))
