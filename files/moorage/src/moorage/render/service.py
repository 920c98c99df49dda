"""The services of a stack as they are to run: what several rooms ask of one, answered once."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from moorage.compose.errors import Problem, shown
from moorage.compose.model import Service, Stack
from moorage.compose.parts import Port
from moorage.compose.shorthand import parse_ports
from moorage.settings.stack import Limits, Settings

_COMPLETED = "service_completed_successfully"
# What no two containers can both have.
_ADDRESSES = ("ipv4_address", "ipv6_address", "link_local_ips", "mac_address")


@dataclass(frozen=True, kw_only=True)
class PlacedService(Service):
    """A service, and what the stack around it and the operator's settings make of it.

    `variables`, `limits` and `published` (ports) are those of the description after the operator's
    say; `scaled` is the operator's number of replicas. `waited_for`: others wait until it has ended
    well. `on_demand`: a person starts it. `behind_edge`: visitors may be led to it, since it is an
    own one that goes on running.
    """

    variables: dict[str, str]
    limits: Limits
    published: tuple[Port, ...]
    waited_for: bool
    on_demand: bool
    behind_edge: bool
    scaled: int | None = None

    @property
    def replicas(self) -> int:
        """How often it runs: as the operator says, else as the description does."""
        return super().replicas if self.scaled is None else self.scaled

    @property
    def one_off(self) -> bool:
        """Whether it is one instance that ends before others start."""
        return self.waited_for and self.replicas == 1

    @property
    def edge_ports(self) -> tuple[Port, ...]:
        """The published ports that the edge listens on in its stead."""
        return tuple(port for port in self.published if self.behind_edge and _public(port))

    @property
    def direct_ports(self) -> tuple[Port, ...]:
        """The published ports that it holds itself."""
        behind = self.edge_ports
        return tuple(port for port in self.published if port not in behind)

    @property
    def reservations(self) -> dict[str, Any]:
        """What it asks to be kept for it (`deploy.resources.reservations`)."""
        resources = (self.options.get("deploy") or {}).get("resources") or {}
        return dict(resources.get("reservations") or {})

    @property
    def fixed_address(self) -> bool:
        """Whether it has an address that a second one of it cannot have."""
        networks = [options or {} for options in self.networks.values()]
        return any(key in options for options in [*networks, self.options] for key in _ADDRESSES)


def placed_services(
    stack: Stack, settings: Settings
) -> tuple[dict[str, PlacedService], list[Problem]]:
    """The services by name, and what is wrong with the settings of their ports."""
    found, problems = {}, []
    for name, service in stack.services.items():
        waited_for, on_demand = _is_waited_for(stack, name), name in stack.on_demand
        published, wrong = _published(service, settings)
        problems += wrong
        found[name] = PlacedService(
            **vars(service),
            variables=_variables(service, settings),
            limits=_limits(service, settings),
            published=published,
            scaled=settings.replicas.get(name),
            waited_for=waited_for,
            on_demand=on_demand,
            behind_edge=settings.behind_edge
            and service.moorage.edge is not False
            and not (service.stays or on_demand or waited_for),
        )
    return found, problems


def replica_names(service: Service) -> list[str]:
    """What the replicas of a service are called.

    The first one has the service's name, however many follow: it stays as it is when they come or
    go.
    """
    more = (f"{service.name}-{number}" for number in range(2, service.replicas + 1))
    return [service.name, *more][: service.replicas]


def only_on_demand(stack: Stack, name: str, other: str) -> bool:
    """Whether `other` waits for a person while the service `name` is started without it.

    Compose hashes dependencies too: were this one written, `up` with and without the profile
    would each replace the other's container.
    """
    return other in stack.on_demand and name not in stack.on_demand


def _is_waited_for(stack: Stack, name: str) -> bool:
    return any(
        other.depends_on[name].condition == _COMPLETED
        for other in stack.services.values()
        if name in other.depends_on and not only_on_demand(stack, other.name, name)
    )


def _published(service: Service, settings: Settings) -> tuple[tuple[Port, ...], list[Problem]]:
    publish = settings.publish.get(service.name)
    if publish is None:
        return tuple(port for port in service.ports if port.published), []
    found: list[Port] = []
    problems = []
    for text in publish:
        try:
            found += parse_ports(text)
        except ValueError as error:
            where = f"settings.publish.{service.name}"
            advice = "write ADDRESS:HOST_PORT:CONTAINER_PORT"
            problems.append(Problem(where, str(error), advice, shown(text)))
    return tuple(found), problems


def _variables(service: Service, settings: Settings) -> dict[str, str]:
    """Variables with the operator's; those without a value are left out."""
    own = {key: value for key, value in service.environment.items() if value is not None}
    return own | settings.environment.get(service.name, {})


def _limits(service: Service, settings: Settings) -> Limits:
    """The operator's limits, else those of the description."""
    given = settings.limits.get(service.name, Limits())
    limits = (service.options.get("deploy") or {}).get("resources", {}).get("limits", {})
    memory = service.options.get("mem_limit", limits.get("memory"))
    cpus = service.options.get("cpus", limits.get("cpus"))
    pids = service.options.get("pids_limit", limits.get("pids"))
    # -1 is none.
    memory = None if memory is None or int(memory) < 0 else int(memory)
    return Limits(
        given.memory or memory,
        given.cpus or (None if cpus is None else float(cpus)),
        given.pids or (None if pids is None else int(pids)),
    )


def _public(port: Port) -> bool:
    local = bool(port.host_ip) and ipaddress.ip_address(port.host_ip or "").is_loopback
    return port.protocol == "tcp" and not local
