"""The subnets that networks of a release ask for by themselves (``ipam`` in a Compose file)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any


def subnets(networks: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield key, name on the host and subnet, from the ``networks`` of a release's Compose file.

    Raises ValueError for a subnet that is none.
    """
    for key, network in networks.items():
        for entry in (network.get("ipam") or {}).get("config") or ():
            if entry.get("subnet") and not network.get("external"):
                yield key, str(network["name"]), str(ip_network(entry["subnet"]))


def overlap(one: str, other: str) -> bool:
    """Tell whether two networks in CIDR notation share addresses; ValueError for what is none."""
    first, second = ip_network(one, strict=False), ip_network(other, strict=False)
    # Of different versions they never do.
    return first.overlaps(second)
