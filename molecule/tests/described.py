"""What the stack under test describes, so that tests follow its Compose file and no list here."""

from __future__ import annotations

import os
from pathlib import Path

from moorage.compose import Service, load_stack

ROOT = Path(__file__).resolve().parents[2]
STACK = load_stack(
    ROOT / "files/stacks" / os.environ.get("MOORAGE_TEST_STACK", "tg2em"), environment={}
)
_LOOPBACK = ("127.", "::1")


def _is_one_off(name: str) -> bool:
    return any(
        name in service.depends_on
        and service.depends_on[name].condition == "service_completed_successfully"
        for service in STACK.services.values()
    )


def _published(service: Service, *, beyond: bool) -> list[int]:
    return [
        int(port.published)
        for port in service.ports
        if port.published and beyond != (port.host_ip or "0.0.0.0").startswith(_LOOPBACK)
    ]


def _users(names: list[str]) -> dict[str, str]:
    users = {name: str(STACK.services[name].user).partition(":")[0] for name in names}
    return {f"{STACK.name}-{name}": user for name, user in users.items()}


ONE_OFF = sorted(name for name in STACK.services if _is_one_off(name))
"""Services that end when they have done their work."""

OWN = sorted(
    name for name, s in STACK.services.items() if s.build is not None and name not in ONE_OFF
)
"""Services of the stack's own source that run all the time."""

DATA = sorted(name for name, service in STACK.services.items() if service.is_data)
"""Services that run a ready image."""

PUBLIC = {port for s in STACK.services.values() for port in _published(s, beyond=True)}
"""Ports that other machines reach."""

LOCAL = {port for s in STACK.services.values() for port in _published(s, beyond=False)}
"""Ports that only the host itself reaches."""

HEALTH_URLS = {
    name: f"http://127.0.0.1:{port}/health"
    for name in OWN
    for port in _published(STACK.services[name], beyond=True)
}
"""Where a service that visitors reach tells how it is."""

_UNIFIED = {f"{STACK.name}-unified": "10001"} | _users(DATA)
CONTAINERS = {
    "default": _UNIFIED,
    "unified": _UNIFIED,
    "containers": _users([*OWN, *DATA]),
}
"""Every running container and the user that it runs as, by scenario."""

ON_DEMAND: dict[str, list[str]] = {"containers": ["import"]}
"""Services that are there and do not run, by scenario: none where no profile is switched on."""
