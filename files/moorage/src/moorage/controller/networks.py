"""Subnets of the stacks of a host: what two of them, or the engine, would both have."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from moorage.compose.errors import ComposeError, Problem
from moorage.compose.model import Stack
from moorage.release.names import COMPOSE_JSON
from moorage.release.networks import overlap, subnets


def with_own_subnets(proxies: Mapping[str, str], stack: Stack) -> dict[str, str]:
    """Return what a Compose file may know of the proxies in front of it, with its own subnets.

    A container sees the edge as the gateway of its network.
    """
    networks = {key: network.to_dict() for key, network in stack.networks.items()}
    try:
        own = [subnet for _, _, subnet in subnets(networks)]
    except ValueError:
        # Rendering says which.
        own = []
    known = [name for name in proxies["MOORAGE_PROXY_NETWORKS"].split(",") if name]
    return {**proxies, "MOORAGE_PROXY_NETWORKS": ",".join([*known, *own])} if known else {**proxies}


def refuse_overlaps(
    stacks: Iterable[Mapping[str, Any]], pools: Iterable[Mapping[str, Any]]
) -> None:
    """Refuse subnets that another stack of the plan or a pool of the engine would have as well."""
    found = [
        (stack["name"], key, subnet)
        for stack in stacks
        for key, _, subnet in subnets(
            json.loads(stack["files"][COMPOSE_JSON]["content"]).get("networks") or {}
        )
    ]
    problems = [
        _problem(
            (name, key, subnet),
            f"lies in {pool['base']}, from which the engine takes the subnets of other networks "
            "(docker_address_pools)",
            "choose one outside of the pools, or give docker_address_pools others",
        )
        for name, key, subnet in found
        for pool in pools
        if overlap(subnet, pool["base"])
    ]
    problems += [
        _problem(
            mine,
            f"overlaps {other[2]}, that of the network {other[1]} of the stack {other[0]}",
            "give one of the two another subnet, or run the stacks on different hosts",
        )
        for other, mine in combinations(found, 2)
        if mine[0] != other[0] and overlap(mine[2], other[2])
    ]
    if problems:
        raise ComposeError(problems)


def _problem(whose: tuple[str, str, str], message: str, advice: str) -> Problem:
    name, key, subnet = whose
    return Problem(f"{name}.networks.{key}.ipam.config", message, advice, subnet)
