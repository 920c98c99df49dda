"""Which containers are a stack's own: those that its running release names, and no others."""

import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moorage.control.contract import ControlError
from moorage.release.manifest import Manifest, parse
from moorage.release.names import SERVICE_LABEL, STACK_LABEL

PROJECT_LABEL = "com.docker.compose.project"
COMPOSE_SERVICE_LABEL = "com.docker.compose.service"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Member:
    """One container of the stack; a service of several containers is as many members.

    ``keys`` are what the release's Compose file calls it, one for each slot.
    """

    name: str
    container: str
    service: str
    ports: tuple[int, ...]
    one_off: bool
    on_demand: bool
    keys: tuple[str, ...] = ()


class Membership:
    """The containers of the release that `path` (release.json) tells of, read when it changes."""

    def __init__(self, stack: str, path: Path) -> None:
        """Read nothing yet: the first release may still be on its way."""
        self._stack = stack
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._members: dict[str, Member] = {}

    def members(self) -> dict[str, Member]:
        """Return the members by name, in the release's order; raises ControlError."""
        with self._lock:
            try:
                facts = os.stat(self._path)
                seen = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
                if seen != self._seen:
                    self._members = _members(parse(json.loads(self._path.read_text())))
                    self._seen = seen
            except FileNotFoundError:
                raise _unknown(f"no release of {self._stack} runs here") from None
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise _unknown(f"{self._path} cannot be read: {error!r}") from None
            return self._members

    def member(self, name: str) -> Member:
        """Return one of them; raises ControlError."""
        members = self.members()
        if name not in members:
            known = ", ".join(members) or "none"
            detail = f"there is no service {name} (there are: {known})"
            raise ControlError(
                "not_found", detail, status=404, title="No such service", service=name
            )
        return members[name]

    def owns(self, member: Member, labels: Mapping[str, str] | None) -> bool:
        """Tell whether a container with these labels was made for the member, by a deploy."""
        found = labels or {}
        own = {STACK_LABEL: self._stack, SERVICE_LABEL: member.service, PROJECT_LABEL: self._stack}
        return (
            all(found.get(name) == value for name, value in own.items())
            and found.get(COMPOSE_SERVICE_LABEL) in member.keys
        )


def _members(manifest: Manifest) -> dict[str, Member]:
    found: dict[str, Member] = {}
    units = {unit.name: unit for unit in manifest.units}
    for service in manifest.services:
        if service.kind != "container":
            continue
        for number, container in enumerate(service.containers, 1):
            name = service.name if number == 1 else f"{service.name}-{number}"
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no service's name")
            found[name] = Member(
                name=name,
                container=container,
                service=service.name,
                ports=service.ports,
                one_off=service.one_off,
                on_demand=service.on_demand,
                keys=tuple(units[container].keys.values()) if units else (service.name,),
            )
    return found


def _unknown(detail: str) -> ControlError:
    return ControlError("no_release", detail, status=503, title="No release known")
