"""Subnets of networks and fixed addresses in them: what the engine would refuse, said before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from itertools import combinations
from typing import Any

from moorage.release.names import SERVICE_LABEL
from moorage.render.context import Context

_KEYS = ("ipv4_address", "ipv6_address")
_OUTSIDE = "choose one inside it, or leave it out: services find each other by name"


@dataclass(frozen=True)
class _Subnet:
    """A subnet of a network; ``taken`` are the addresses that no container can have, and why."""

    network: IPv4Network | IPv6Network
    taken: Mapping[IPv4Address | IPv6Address, str]


def check_addresses(
    ctx: Context, networks: Mapping[str, Mapping[str, Any]], services: Mapping[str, Any]
) -> None:
    """Report what is wrong with the subnets of ``networks`` and the addresses of ``services``.

    Both are those of the release's Compose file: what shares a container is one of them.
    """
    found = {
        key: list(_subnets(ctx, key, network))
        for key, network in networks.items()
        if not network.get("external")
    }
    every = [(key, subnet.network) for key, subnets in found.items() for subnet in subnets]
    for (key, network), (other, own) in combinations(every, 2):
        if network.overlaps(own):
            message = f"overlaps {own}, a subnet of the network {other}"
            advice = "give the two networks subnets apart"
            ctx.wrong("", f"networks.{key}.ipam.config", message, advice, str(network))
    held: dict[tuple[str, str], str] = {}
    for key, entry in services.items():
        name = str((entry.get("labels") or {}).get(SERVICE_LABEL) or key)
        for network_key, options in (entry.get("networks") or {}).items():
            for kind in _KEYS:
                text = (options or {}).get(kind)
                if text is None:
                    continue
                where = f"networks.{network_key}.{kind}"
                if network_key in found:
                    _check(ctx, name, where, str(text), found[network_key], network_key)
                holder = held.setdefault((network_key, str(text)), name)
                if holder != name:
                    message = f"is {holder}'s already, and no two containers can have one address"
                    ctx.wrong(name, where, message, "choose another, or leave it out", text)


def _subnets(ctx: Context, key: str, network: Mapping[str, Any]) -> Iterator[_Subnet]:
    for entry in (network.get("ipam") or {}).get("config") or ():
        if not entry.get("subnet"):
            continue
        try:
            yield _subnet(entry)
        except ValueError as error:
            advice = "write a network such as 172.20.0.0/16, and what lies in it"
            ctx.wrong("", f"networks.{key}.ipam.config", str(error), advice, entry)


def _subnet(entry: Mapping[str, Any]) -> _Subnet:
    """Return what an entry of ``ipam.config`` describes; ValueError for what cannot be."""
    network = ip_network(entry["subnet"])
    inside = ip_network(entry.get("ip_range") or entry["subnet"])
    # The engine gives itself the first address of the range, were it the range's own.
    first = inside.network_address
    usual = first + 1 if first == network.network_address else first
    gateway = ip_address(entry.get("gateway") or str(usual))
    taken = {gateway: "the network's gateway, which is this host"}
    for name, text in (entry.get("aux_addresses") or {}).items():
        taken[ip_address(text)] = f"set aside as {name} (aux_addresses)"
    for address in (*taken, first, inside.broadcast_address):
        if address not in network:
            raise ValueError(f"{address} is not in {network}")
    taken[network.network_address] = "the network itself"
    if network.version == 4:
        taken[network.broadcast_address] = "the network's broadcast address"
    return _Subnet(network, taken)


def _check(
    ctx: Context, service: str, where: str, text: str, subnets: list[_Subnet], key: str
) -> None:
    try:
        address = ip_address(text)
    except ValueError:
        ctx.wrong(service, where, "is no address", "write one such as 172.20.0.30", text)
        return
    subnet = next((subnet for subnet in subnets if address in subnet.network), None)
    if subnet is not None:
        if address in subnet.taken:
            message = f"is {subnet.taken[address]}"
            ctx.wrong(service, where, message, "choose another address", text)
    elif subnets:
        known = " and ".join(str(subnet.network) for subnet in subnets)
        ctx.wrong(service, where, f"is not in {known}, the network's subnet", _OUTSIDE, text)
    else:
        message = "needs a subnet: the engine gives no fixed addresses in one that it chose itself"
        advice = f"give networks.{key} an ipam with a subnet, or leave the address out"
        ctx.wrong(service, where, message, advice, text)
