"""What `moorage edge status` shows."""

from __future__ import annotations

from typing import Any

from moorage.edge.control import ask
from moorage.edge.core import Edge
from moorage.edge.errors import EdgeError
from moorage.edge.model import Facts
from moorage.edge.tls import missing
from moorage.tables import table


def report(edge: Edge) -> dict[str, Any]:
    """Return the state of the edge as plain data."""
    if not edge.present():
        return {"present": False, "running": False, "stacks": []}
    settings = edge.store.settings()
    live: dict[str, Any] = {}
    trouble = ""
    try:
        live = ask(edge.store.socket)
    except EdgeError as error:
        trouble = str(error)
    flight = live.get("in_flight", {})
    stacks = []
    for facts in edge.store.all_facts():
        state = edge.store.pools(facts.stack)
        pools = edge.pools(facts.stack)
        stacks.append(
            {
                "stack": facts.stack,
                "domains": list(facts.domains),
                "reached": {name: _reached(facts, name) for name in facts.pools},
                "maintenance": state["maintenance"],
                "without_certificate": missing(edge.store, settings, facts.domains),
                "pools": {
                    name: {peer: int(flight.get(peer, 0)) for peer in peers}
                    for name, peers in pools.items()
                },
            }
        )
    return {
        "present": True,
        "kind": settings.kind,
        "tls": settings.tls,
        "running": bool(live),
        "trouble": trouble,
        "generation": live.get("generation", ""),
        "wanted_generation": edge.store.in_force(),
        "stacks": stacks,
    }


def _reached(facts: Facts, pool: str) -> list[str]:
    """Return what leads visitors to a pool: ports, and paths of domains."""
    ports = [f"port {entry.port}" for entry in facts.listeners if entry.pool == pool]
    paths = [entry.path for entry in facts.routes if entry.pool == pool]
    return [*ports, *(f"{domain}{path}" for domain in facts.domains for path in paths)]


def text(found: dict[str, Any]) -> str:
    """Return the state for a person."""
    if not found["present"]:
        return "this host has no edge"
    state = "running" if found["running"] else f"NOT RUNNING: {found['trouble']}"
    lines = [f"edge ({found['kind']}, TLS {found['tls']}): {state}"]
    if found["running"] and found["generation"] != found["wanted_generation"]:
        lines.append("it runs with an older configuration: `moorage edge reload` says why")
    rows = [["STACK", "POOL", "PEER", "IN FLIGHT", "REACHED BY"]]
    for stack in found["stacks"]:
        for pool, peers in stack["pools"].items():
            reached = ", ".join(stack["reached"][pool])
            reached += " (maintenance)" if stack["maintenance"] else ""
            shown = [(peer, str(count)) for peer, count in peers.items()] or [("none", "-")]
            rows += [[stack["stack"], pool, peer, count, reached] for peer, count in shown]
        for domain in stack["without_certificate"]:
            lines.append(f"{domain}: self-signed until the ACME server's certificate is there")
    return "\n".join([*lines, table(rows)] if len(rows) > 1 else lines)
