"""The ports of a stack: on which ones services listen, and which are published."""

from __future__ import annotations

from moorage.compose.model import Service
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


def port_facts(ctx: Context) -> tuple[PortFact, ...]:
    """Every published port; two services that want one are refused."""
    facts = []
    taken: dict[tuple[str, str], str] = {}
    for service in ctx.services.values():
        behind = service.edge_ports
        _note_unpublished(ctx, service)
        for port in service.published:
            if not (port.published or "").isdigit():
                message = "a range of host ports leaves open where the service is reached"
                ctx.wrong(service.name, "ports", message, "publish one port", port.published)
                continue
            key = (port.published or "", port.protocol)
            holder = taken.setdefault(key, service.name)
            # Two services on demand may be meant to take turns.
            turns = service.on_demand and ctx.services[holder].on_demand
            if holder != service.name and not turns:
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
