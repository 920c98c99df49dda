"""What the stack under test describes, so that tests follow its Compose file and no list here."""

from __future__ import annotations

import os
from pathlib import Path

from moorage.compose import Service, load_stack

ROOT = Path(__file__).resolve().parents[2]
_NAME = os.environ.get("MOORAGE_TEST_STACK", "tg2em")
STACK = load_stack(
    # A scenario's own, where it is none of the checkout's.
    next(ROOT.glob(f"molecule/*/stacks/{_NAME}"), ROOT / "files/stacks" / _NAME),
    environment={},
    profiles=["*"],
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


def _uid(service: Service, user: int) -> int:
    return int(service.user.partition(":")[0]) if service.user else user


ONE_OFF = sorted(name for name in STACK.services if _is_one_off(name))
"""Services that end when they have done their work."""

OWN = sorted(
    name for name, s in STACK.services.items() if s.build and name not in ONE_OFF and not s.profiles
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

ON_DEMAND = sorted(name for name, s in STACK.services.items() if s.profiles)
"""Services that a person starts; in `containers` they are there before that."""


def containers(topology: str, user: int) -> dict[str, int]:
    """Return every running container and the user that it runs as; ``user`` is the stack's own."""
    services = {
        f"{STACK.name}-{name}": _uid(STACK.services[name], user)
        for name in (DATA if topology == "unified" else (*OWN, *DATA))
    }
    return services | ({f"{STACK.name}-unified": user} if topology == "unified" else {})


def readers(user: int) -> set[tuple[int, str]]:
    """Return who finds which secret: user and name."""
    services = STACK.services.values()
    return {(_uid(s, user), grant.source) for s in services for grant in s.secrets}


def owners(user: int) -> dict[str, int]:
    """Return whom each volume belongs to."""
    return {
        mount.source: _uid(service, user)
        for service in STACK.services.values()
        for mount in service.volumes
        if mount.type == "volume" and mount.source
    }
