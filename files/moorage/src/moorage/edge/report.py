"""What `moorage edge status` shows."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

from moorage.edge.control import ask
from moorage.edge.core import Edge
from moorage.edge.errors import EdgeError
from moorage.edge.model import Facts
from moorage.edge.tls import missing


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
                "without_address": _absent(facts),
                "without_certificate": missing(edge.store, settings, facts.domains),
                "pools": {
                    name: {peer: int(flight.get(peer, 0)) for peer in peers}
                    for name, peers in pools.items()
                },
                "aside": _aside(live, pools),
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
        "damage": edge.store.damage(),
        "bodies": live.get("bodies", {}),
        "stacks": stacks,
    }


def troubles(edge: Edge, stack: str) -> list[str]:
    """Return what keeps visitors from a stack that may be well itself, in words."""
    try:
        if not edge.present() or edge.facts(stack) is None:
            return []
        found = unheard(edge, stack)
        aside = _aside(ask(edge.store.socket), edge.pools(stack))
    except EdgeError as trouble:
        return [f"visitors do not get through the edge: {trouble}"]
    ailing = [f"{peer} is not well ({why}): others get its visitors" for peer, why in aside.items()]
    return [*found, *ailing]


def _aside(live: Mapping[str, Any], pools: Mapping[str, list[str]]) -> dict[str, str]:
    """Return those of several peers of a pool that get no visitors, and why."""
    aside = live.get("aside", {})
    several = [peer for peers in pools.values() if len(peers) > 1 for peer in peers]
    return {peer: str(aside[peer]) for peer in several if peer in aside}


def unheard(edge: Edge, stack: str) -> list[str]:
    """Return where a stack asked to be reached and nobody can listen, in words."""
    facts = Facts.parse(stack, (edge.facts(stack) if edge.present() else None) or {})
    return [f"this host does not have the address of {entry}" for entry in _absent(facts)]


def _absent(facts: Facts) -> list[str]:
    """Return listeners at addresses that this host does not have at the moment."""
    wanted = [entry for entry in facts.listeners if entry.address]
    here = local_addresses() if wanted else set()
    return [f"{entry.address}:{entry.port}" for entry in wanted if not _here(entry.address, here)]


def _here(address: str, here: set[str]) -> bool:
    found = ip_address(address)
    return found.is_loopback or found.is_unspecified or str(found) in here


def local_addresses(net: Path = Path("/proc/net")) -> set[str]:
    """Return this host's addresses, of both families, from proc_pid_net(5)."""
    found, last = set(), ""
    for line in _lines(net / "fib_trie"):
        words = line.split()
        if words[:1] == ["|--"]:
            last = words[1]
        elif words[-2:] == ["host", "LOCAL"]:
            found.add(last)
    for line in _lines(net / "if_inet6"):
        found.add(str(IPv6Address(bytes.fromhex(line.split()[0]))))
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []


def _reached(facts: Facts, pool: str) -> list[str]:
    """Return what leads visitors to a pool: ports, and paths of domains."""
    ports = [f"port {entry.port}" for entry in facts.listeners if entry.pool == pool]
    paths = [entry.path for entry in facts.routes if entry.pool == pool]
    return [*ports, *(f"{domain}{path}" for domain in facts.domains for path in paths)]
