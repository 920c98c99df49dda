"""Slots: a container that is rolled stands twice in compose.yaml, so that two can run at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from moorage.release.digest import digest
from moorage.release.manifest import DEFAULT_PIDS, Unit
from moorage.release.names import CONFIG_LABEL, NEXT, REPLICA_LABEL, SLOT_LABEL, SLOTS, in_slot
from moorage.render.container import ordered
from moorage.render.context import Context
from moorage.render.loopback import assign, loopback_name
from moorage.render.ports import port_facts

_LOCAL = "127.0.0.1"
_CONFIG_LENGTH = 16


@dataclass(frozen=True)
class Form:
    """A container before it is put into its slots.

    `entry` is what its slots have in common; `mounts` come to it by slot. `targets`: container
    ports behind the edge, of which `fixed` have the host's port of that number. `tied`: services
    that it is replaced with. `unit` has all facts but those that its slots and addresses decide.
    """

    entry: Mapping[str, Any]
    unit: Unit
    key: str
    targets: tuple[int, ...] = ()
    mounts: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    tied: tuple[str, ...] = ()
    fixed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Slotted:
    """Services of the release's compose.yaml, units in the order of starting, loopback names."""

    services: dict[str, dict[str, Any]]
    units: tuple[Unit, ...]
    loopback: tuple[str, ...]


def slots_of(rolled: bool) -> tuple[str, ...]:
    """The slots of a unit: two, or the one without a name."""
    return SLOTS if rolled else ("",)


def in_slots(ctx: Context, forms: Sequence[Form]) -> Slotted:
    """Put every container into its slots."""
    _check_names(ctx, forms)
    names = [name for form in forms for name in _names(ctx, form).values()]
    published = [fact.port for fact in port_facts(ctx)]
    ports = ctx.settings.loopback_ports or assign(names, published)
    configs: dict[str, list[str]] = {}
    units = []
    services: dict[str, dict[str, Any]] = {}
    for form in _in_order(forms):
        peers = _peers(ctx, form, ports)
        config = _config(form, peers, configs)
        configs.setdefault(form.unit.service, []).append(config)
        rolled = form.unit.rolled
        keys = {slot: in_slot(form.key, slot, ".") for slot in slots_of(rolled)}
        units.append(replace(form.unit, config=config, peers=peers, keys=keys))
        for slot, key in keys.items():
            services[key] = _entry(form, slot, key, config, peers[slot])
    return Slotted(services, tuple(units), tuple(sorted(names)))


def _names(ctx: Context, form: Form) -> dict[tuple[str, int], str]:
    unit = form.unit
    return {
        (slot, target): loopback_name(ctx.stack.name, unit.service, unit.replica, slot, target)
        for slot in slots_of(unit.rolled)
        for target in form.targets
        if target not in form.fixed
    }


def _peers(ctx: Context, form: Form, ports: Mapping[str, int]) -> dict[str, dict[str, int]]:
    fixed = {str(target): target for target in form.targets if target in form.fixed}
    peers: dict[str, dict[str, int]] = {slot: {**fixed} for slot in slots_of(form.unit.rolled)}
    for (slot, target), name in _names(ctx, form).items():
        peers[slot][str(target)] = ports[name]
    return peers


def _config(
    form: Form, peers: Mapping[str, Any], configs: Mapping[str, Sequence[str]]
) -> str:  # fmt: skip
    """A hash that is the same in both slots and changes with all that a running one cannot take.

    The addresses of both slots are in it: a container whose port was given to another would
    otherwise stay where nobody looks for it.
    """
    # Of their first replicas: who is tied to a service is not replaced when more of it come.
    tied = {name: list(configs.get(name, ())[:1]) for name in form.tied}
    return digest([form.entry, peers, tied], _CONFIG_LENGTH)


def _limited(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Limit the processes of a container that nobody gave a limit.

    Not in the hash: a rollout limits those that run as they are, and replaces none for it.
    """
    deploy = dict(entry.get("deploy") or {})
    resources = dict(deploy.get("resources") or {})
    resources["limits"] = {"pids": DEFAULT_PIDS, **(resources.get("limits") or {})}
    return {**entry, "deploy": {**deploy, "resources": resources}}


def _entry(
    form: Form, slot: str, key: str, config: str, peers: Mapping[str, int]
) -> dict[str, Any]:
    unit, entry = form.unit, _limited(form.entry)
    local = [
        {"target": int(target), "published": str(port), "host_ip": _LOCAL, "protocol": "tcp"}
        for target, port in peers.items()
    ]
    labels = {CONFIG_LABEL: config, REPLICA_LABEL: str(unit.replica)}
    more = {
        "container_name": f"{unit.name}{NEXT}" if slot else unit.name,
        "ports": [*entry.get("ports", []), *local],
        "volumes": [*form.mounts.get(slot, ()), *entry.get("volumes", [])],
        "labels": {**entry["labels"], **labels, **({SLOT_LABEL: slot} if slot else {})},
    }
    if key != unit.service:
        more["networks"] = _with_alias(entry.get("networks", {}), unit.service)
    return ordered({**entry, **{name: value for name, value in more.items() if value}})


def _with_alias(networks: Mapping[str, Any], alias: str) -> dict[str, Any]:
    """Networks on which the container is also found by its service's name, whatever its key."""
    found = {}
    for name, options in networks.items():
        given = [other for other in (options or {}).get("aliases", []) if other != alias]
        found[name] = {**(options or {}), "aliases": [alias, *given]}
    return found


def _in_order(forms: Sequence[Form]) -> list[Form]:
    """What others need comes first; else as in the description."""
    by_service: dict[str, list[Form]] = {}
    for form in forms:
        by_service.setdefault(form.unit.service, []).append(form)
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in done or name not in by_service:
            return
        for form in by_service[name]:
            for other in [*form.unit.needs, *form.tied]:
                if other != name:
                    visit(other)
        done[name] = None

    for name in by_service:
        visit(name)
    return [form for name in done for form in by_service[name]]


def _check_names(ctx: Context, forms: Sequence[Form]) -> None:
    """No two containers may have one name, now or during a rollout; nor two keys."""
    taken: dict[str, str] = {}
    keys: dict[str, str] = {}
    for form in forms:
        service, name = form.unit.service, form.unit.name
        for own in (name, f"{name}{NEXT}") if form.unit.rolled else (name,):
            holder = taken.setdefault(own, service)
            if holder != service:
                message = f"its container {own} has the name of one of {holder}'s"
                ctx.wrong(service, "name", message, "give the service another name")
        for slot in slots_of(form.unit.rolled):
            key = in_slot(form.key, slot, ".")
            holder = keys.setdefault(key, service)
            if holder != service:
                message = f"{holder} is written as {key} in the release"
                ctx.wrong(service, "name", message, "give the service another name")
