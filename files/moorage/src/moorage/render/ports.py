"""Which ports of a service are published, where, and which of them lie behind the edge."""

from __future__ import annotations

import ipaddress

from moorage.compose.model import Service
from moorage.compose.parts import Port
from moorage.render.context import Context
from moorage.render.rendering import PortFact


def listening(service: Service) -> list[tuple[int, str]]:
    """Ports that a service listens on in its container, with their protocols."""
    found = [(port.target, port.protocol) for port in service.ports]
    for text in service.options.get("expose", []):
        span, _, protocol = text.partition("/")
        first, _, last = span.partition("-")
        found += [(n, protocol or "tcp") for n in range(int(first), int(last or first) + 1)]
    return list(dict.fromkeys(found))


def may_be_behind_edge(ctx: Context, service: Service) -> bool:
    """Whether visitors may be led to a service: an own one that is meant to go on running."""
    return (
        ctx.settings.behind_edge
        and not service.is_data
        and service.moorage.edge
        and service.name not in ctx.stack.on_demand
        and not ctx.waited_for(service)
    )


def edge_ports(ctx: Context, service: Service) -> tuple[Port, ...]:
    """The published ports of a service that the edge listens on in its stead."""
    if not may_be_behind_edge(ctx, service):
        return ()
    return tuple(port for port in ctx.ports(service) if _public(port))


def direct_ports(ctx: Context, service: Service) -> tuple[Port, ...]:
    """The published ports of a service that its container holds itself."""
    behind = edge_ports(ctx, service)
    return tuple(port for port in ctx.ports(service) if port not in behind)


def _public(port: Port) -> bool:
    local = bool(port.host_ip) and ipaddress.ip_address(port.host_ip or "").is_loopback
    return port.protocol == "tcp" and not local


def port_facts(ctx: Context) -> tuple[PortFact, ...]:
    """Every published port; two services that want one are refused."""
    facts = []
    taken: dict[tuple[str, str], str] = {}
    for service in ctx.stack.services.values():
        waits = service.name in ctx.stack.on_demand
        behind = edge_ports(ctx, service)
        _note_unpublished(ctx, service)
        for port in ctx.ports(service):
            if not (port.published or "").isdigit():
                message = "a range of host ports leaves open where the service is reached"
                ctx.wrong(service.name, "ports", message, "publish one port", port.published)
                continue
            key = (port.published or "", port.protocol)
            holder = taken.setdefault(key, service.name)
            # Two services on demand may be meant to take turns.
            if holder != service.name and not (waits and holder in ctx.stack.on_demand):
                message = f"{holder} publishes {key[0]}/{key[1]} already"
                ctx.wrong(service.name, "ports", message, "publish another host port", key[0])
            address, number = port.host_ip or "", int(key[0])
            facts.append(
                PortFact(service.name, address, number, port.target, port.protocol, port in behind)
            )
    return tuple(facts)


def _note_unpublished(ctx: Context, service: Service) -> None:
    inside = [str(port.target) for port in service.ports if not port.published]
    if inside and service.name not in ctx.settings.publish:
        why = f"without a host port, {', '.join(inside)} is reached inside the stack only"
        ctx.note(service.name, "ports", why)
