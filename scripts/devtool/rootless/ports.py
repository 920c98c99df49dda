"""The ports of a stack on this machine: chosen once, and kept."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moorage.common.files import write_atomically
from moorage.compose import Service

LOOPBACK = "127.0.0.1"
_NAME = re.compile(r"MOORAGE_PORT_(\d+)")
_NUMBER = re.compile(r"\$\{MOORAGE_PORT_(\d+)\}")
_WRITTEN = re.compile(r"\$\{(MOORAGE_LISTEN|MOORAGE_PORT_\d+)\}")


def kept_variables(text: str) -> dict[str, str]:
    """Variables that stay in a Compose file's text when it is read: services differ in them."""
    names = {"MOORAGE_LISTEN", *(match[0] for match in _NAME.finditer(text))}
    return {name: f"${{{name}}}" for name in names}


def asked(service: Service) -> set[int]:
    """The ports of a service that it listens on wherever it is told to."""
    return {int(number) for number in _NUMBER.findall(json.dumps(service.to_dict()))}


def filled(text: str, ports: Mapping[int, int]) -> str:
    """A text of a service with its own ports."""
    known = {f"MOORAGE_PORT_{port}": str(here) for port, here in ports.items()}
    known["MOORAGE_LISTEN"] = LOOPBACK
    return _WRITTEN.sub(lambda match: known.get(match[1], match[0]), text)


def choose(file: Path, services: Sequence[Service], *, running: bool) -> dict[str, dict[int, int]]:
    """Ports of this machine by service and port of the container; what is chosen is kept in `file`.

    The published port is taken where it is free. While the stack is `running`, what it has is.
    """
    kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    found: dict[str, dict[int, int]] = {}
    taken: set[int] = set()
    for service in services:
        published = {p.target: p.published for p in service.ports if p.protocol == "tcp"}
        found[service.name] = {}
        for port in sorted({*published, *asked(service)}):
            wished = published.get(port) or ""
            wanted = int(wished) if wished.isdigit() else port
            had = kept.get(service.name, {}).get(str(port), {})
            if port not in asked(service):
                here = port
            elif had.get("wanted") == wanted and (running or free(had["here"])):
                here = had["here"]
            else:
                here = wanted if wanted not in taken and free(wanted) else _any(taken)
            taken.add(here)
            found[service.name][port] = here
            kept.setdefault(service.name, {})[str(port)] = {"wanted": wanted, "here": here}
    write_atomically(file, json.dumps(kept, indent=1) + "\n")
    return found


def free(port: int) -> bool:
    """Say whether nobody listens on a port of this machine, and we may."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _any(taken: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            if (found := int(probe.getsockname()[1])) not in taken:
                return found
