"""What a stack has of its host for itself, and which stacks of a host would have the same.

Pure but for `claims_on_host`. A plan is compared with the host before anything is touched, and a
release once more before it is activated: going back asks nobody for a plan.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

from moorage.common.readers import read_note
from moorage.deploy.difference import meet
from moorage.deploy.instance import ANYWHERE
from moorage.deploy.release import Release, ReleaseError, readable_release
from moorage.edge.errors import EdgeError
from moorage.edge.store import Store
from moorage.release.layout import DEFAULT_BASE, Layout, known_stacks
from moorage.release.manifest import data_of
from moorage.release.names import COMPOSE_JSON, NEXT, SERVICE_LABEL
from moorage.release.networks import overlap, subnets

# Who has the ports of the edge that all stacks with domains have together.
DOMAINS = "its domains"
_WORDS = {
    "port": "port {}",
    "route": "the path {}",
    "container": "the container name {}",
    "network": "the network name {}",
    "subnet": "the subnet {}",
    "file": "the file {}",
}
_CHANGED = {
    "port": "another port (`{}_publish`)",
    "route": "another path or domain (`{0}_routes`, `{0}_domains`)",
    "subnet": "another subnet (`ipam` of the network in its compose.yml)",
}
# What the engine fixes when it makes a network.
_OF_A_NETWORK = ("driver", "driver_opts", "enable_ipv6", "internal", "ipam")
_UPDATE = "`ansible-playbook playbooks/update.yml -e stack={}`"


@dataclass(frozen=True)
class Claim:
    """One thing: its kind, what it is called, and the service that it is for.

    ``address`` is that of a port, whose name is such as ``8000/tcp``; of a subnet, such as
    ``172.20.0.0/16``, it is the name of its network on the host.
    """

    kind: str
    name: str
    service: str = ""
    address: str = ""

    def __str__(self) -> str:
        return _WORDS[self.kind].format(self.name)

    def meets(self, other: Claim) -> bool:
        """Tell whether no two stacks of a host can have both."""
        if self.kind == other.kind == "subnet":
            return self.address != other.address and overlap(self.name, other.name)
        if (self.kind, self.name) != (other.kind, other.name):
            return False
        if self.service == other.service == DOMAINS:
            return False
        return self.kind != "port" or meet((self.address, 0), (other.address, 0))


@dataclass(frozen=True)
class Meeting:
    """``stack`` wants something that ``holder`` has."""

    stack: str
    wants: Claim
    holder: str
    holds: Claim

    @property
    def who(self) -> str:
        """Who wants it, for a person."""
        return f"{self.stack} ({self.wants.service})" if self.wants.service else self.stack

    @property
    def whose(self) -> str:
        """Who has it, for a person."""
        service = f" ({self.holds.service})" if self.holds.service else ""
        return f"the stack {self.holder}{service}"

    def __str__(self) -> str:
        return f"{self.wants}, wanted by {self.who}, is held by {self.whose}"


@dataclass(frozen=True)
class Turns:
    """In which order stacks are taken: each of ``after`` once those that it names have gone.

    ``blocked``: what is held by a stack that this run does not take, or that keeps it.
    ``circle``: meetings that lead back to where they begin; no order serves them.
    """

    after: dict[str, list[str]]
    blocked: list[Meeting]
    circle: list[Meeting]


def turns(wanted: Mapping[str, Sequence[Claim]], held: Mapping[str, Sequence[Claim]]) -> Turns:
    """Find the order in which stacks with the claims ``wanted`` come to a host with ``held``."""
    # A container's two names are one matter.
    found = list(
        {
            (m.stack, m.holder, m.wants.service if m.wants.kind == "container" else m.wants): m
            for m in reversed(list(meetings(wanted, held)))
        }.values()
    )[::-1]
    kept = {m for m in found if any(m.wants.meets(c) for c in wanted.get(m.holder, [m.holds]))}
    handed = [m for m in found if m not in kept]
    after: dict[str, list[str]] = defaultdict(list)
    for meeting in handed:
        if meeting.holder not in after[meeting.stack]:
            after[meeting.stack].append(meeting.holder)
    circle: list[Meeting] = []
    try:
        TopologicalSorter(after).prepare()
    except CycleError as error:
        # Each waits for the one before it.
        names = list(error.args[1])[::-1]
        pairs = list(pairwise(names))
        circle = [m for pair in pairs for m in handed if (m.stack, m.holder) == pair]
    return Turns(dict(after), [m for m in found if m in kept], circle)


def meetings(
    wanted: Mapping[str, Sequence[Claim]], held: Mapping[str, Sequence[Claim]]
) -> Iterator[Meeting]:
    """Yield what stacks want of what others have, but for what they have themselves already."""
    holders: dict[tuple[str, str], list[tuple[str, Claim]]] = defaultdict(list)
    for stack, claims in held.items():
        for claim in claims:
            holders[_place(claim)].append((stack, claim))
    for stack, claims in wanted.items():
        for claim in claims:
            there = holders[_place(claim)]
            if any(owner == stack and claim.meets(has) for owner, has in there):
                continue
            for owner, has in there:
                if owner != stack and claim.meets(has):
                    yield Meeting(stack, claim, owner, has)


def _place(claim: Claim) -> tuple[str, str]:
    """Where those are that a claim can meet: subnets of other names overlap."""
    return claim.kind, "" if claim.kind == "subnet" else claim.name


def advice(meeting: Meeting) -> str:
    """Say how a stack gets what a stack has that this run does not take."""
    holder, stack = meeting.holder, meeting.stack
    update = _UPDATE.format(holder)
    return (
        f"where {holder} is described without it, update {holder} first ({update}), "
        f"then this again, or both in one run ({_UPDATE.format('all')}), which also says how two "
        f"change places; a stack that is to go: `ansible-playbook playbooks/remove.yml "
        f"-e stack={holder}`, or `moorage remove {holder}` there; "
        f"else give {stack} {_another(meeting.wants, stack)}"
    )


def way_out(circle: Sequence[Meeting]) -> str:
    """Say in which order a circle is gone through."""
    first, last = circle[0].stack, circle[-1].stack
    given = [meeting for meeting in circle if (meeting.stack, meeting.holder) == (last, first)]
    things = " and ".join(dict.fromkeys(meeting.holds.name for meeting in given))
    others = dict.fromkeys(m.holder for m in reversed(circle) if m.holder != first)
    steps = ", then ".join(_UPDATE.format(name) for name in others)
    return (
        f"give {first} {_another(given[0].holds, first)} in place of {things} for the time being "
        f"and run {_UPDATE.format(first)}; then {steps}; then describe {first} as it is meant to "
        f"be and run {_UPDATE.format(first)}"
    )


def _another(claim: Claim, stack: str) -> str:
    # As the controller names a stack's variables.
    start = re.sub(r"\W", "_", stack)
    return _CHANGED.get(claim.kind, "other names of services").format(start)


def claims_of(
    manifest: Mapping[str, Any], compose: Mapping[str, Any], domain_ports: Iterable[int] = ()
) -> list[Claim]:
    """Return what a release asks of its host, from its release.json and its compose.json.

    ``domain_ports`` are those at which the edge serves domains. What cannot be read is left out.
    """
    found: list[Claim] = []
    for part in (_of_engine, _of_networks, _of_files, _of_edge):
        with suppress(AttributeError, KeyError, TypeError, ValueError):
            for claim in part(manifest, compose):
                found.append(claim)
    if any(claim.kind == "route" for claim in found):
        found += [Claim("port", f"{port}/tcp", DOMAINS, ANYWHERE) for port in domain_ports]
    return list(dict.fromkeys(found))


def _of_engine(manifest: Mapping[str, Any], compose: Mapping[str, Any]) -> Iterator[Claim]:
    for service in manifest.get("services") or ():
        # A process is in a container of several.
        what = "processes" if service["kind"] == "process" else str(service["name"])
        for name in service["containers"]:
            yield Claim("container", str(name), what)
            # How the new one is called while an update lasts.
            yield Claim("container", f"{name}{NEXT}", what)
            if manifest.get("manager") == "supervisor":
                # The scopes of its programs: shop with web_b has that of shop_web with b.
                yield Claim("container", str(name).replace("-", "_"), what)
    for key, network in (compose.get("networks") or {}).items():
        # One with a name of its own may be meant to be shared.
        if network["name"] == f"{manifest['stack']}_{key}":
            yield Claim("network", network["name"])
    for key, entry in (compose.get("services") or {}).items():
        service = str((entry.get("labels") or {}).get(SERVICE_LABEL) or key)
        for port in entry.get("ports") or ():
            name = f"{int(port['published'])}/{port.get('protocol') or 'tcp'}"
            yield Claim("port", name, service, str(port.get("host_ip") or ANYWHERE))


def _of_networks(_: Mapping[str, Any], compose: Mapping[str, Any]) -> Iterator[Claim]:
    for key, name, subnet in subnets(compose.get("networks") or {}):
        yield Claim("subnet", subnet, f"its network {key}", name)


def _of_files(manifest: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[Claim]:
    for path in (manifest.get("install") or {}).values():
        yield Claim("file", str(path))


def _of_edge(manifest: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[Claim]:
    facts = {
        "pools": {},
        "listeners": (),
        "domains": (),
        "routes": (),
        **(manifest.get("edge") or {}),
    }
    services = {name: str(pool["service"]) for name, pool in facts["pools"].items()}
    for entry in facts["listeners"]:
        name, address = f"{int(entry['port'])}/tcp", entry.get("address") or ANYWHERE
        yield Claim("port", name, services[entry["pool"]], str(address))
    for domain in facts["domains"]:
        for route in facts["routes"]:
            # /api and /api/ answer the same requests.
            path = str(route["path"]).rstrip("/") or "/"
            yield Claim("route", f"{domain}{path}", services[route["pool"]])


def _edge(base: Path) -> Store:
    return Store(base / "moorage" / "edge", base)


def _domain_ports(base: Path) -> list[int]:
    """The ports at which the host's edge serves the domains of all stacks, none without an edge."""
    try:
        settings = _edge(base).settings()
    except (EdgeError, TypeError):
        return []
    secure = [settings.https_port, settings.probe_port] if settings.tls != "off" else []
    return [] if settings.kind == "none" else [settings.http_port, *secure]


def claims_on_host(base: Path = DEFAULT_BASE) -> dict[str, list[Claim]]:
    """Return what the stacks of this host have: by their current releases, and at its edge."""
    store, ports = _edge(base), _domain_ports(base)
    held: dict[str, list[Claim]] = {}
    for stack in known_stacks(base):
        release = readable_release(Layout.of(stack, base))
        if release is not None:
            manifest = {**data_of(release.manifest), "stack": stack}
            held[stack] = claims_of(manifest, read_note(release.path / COMPOSE_JSON), ports)
    # The edge listens for what it was told, were it by a first release that never got well.
    for path in (store.base / "stacks").glob("*.json") if ports else ():
        told = claims_of({"edge": read_note(path)}, {}, ports)
        held[path.stem] = list(dict.fromkeys([*held.get(path.stem, ()), *told]))
    return held


def refuse_held(release: Release, base: Path = DEFAULT_BASE) -> None:
    """Raise ReleaseError when a release asks for what another stack of this host has."""
    stack = release.manifest.stack
    held = claims_on_host(base)
    if not held.keys() - {stack}:
        return
    wanted = claims_of(
        data_of(release.manifest), read_note(release.path / COMPOSE_JSON), _domain_ports(base)
    )
    blocked = turns({stack: wanted}, held).blocked
    if blocked:
        raise ReleaseError("\n".join(f"{meeting}: {advice(meeting)}" for meeting in blocked))


def refuse_changed_networks(current: Release | None, release: Release) -> None:
    """Raise ReleaseError when a network that there is would have to become another one.

    Compose takes one of that name as it finds it, and says nothing.
    """
    if current is None:
        return
    there, wanted = _networks(current), _networks(release)
    changed = [
        (name, key)
        for name in sorted(there.keys() & wanted.keys())
        for key in _OF_A_NETWORK
        if there[name].get(key) != wanted[name].get(key)
    ]
    if changed:
        what = " and ".join(f"`{key}` of the network {name}" for name, key in changed)
        stack = release.manifest.stack
        raise ReleaseError(
            f"release {release.id} describes {what} otherwise than release {current.id}, which "
            "runs, and a network in use cannot be changed in place. Give it another key in "
            "compose.yml, with a subnet apart from that of now where it names one: it is made "
            "beside the old one, which goes with the last container in it. Or remove the stack "
            f"(`moorage remove {stack}` keeps its data) and deploy it anew"
        )


def _networks(release: Release) -> dict[str, dict[str, Any]]:
    described = read_note(release.path / COMPOSE_JSON).get("networks") or {}
    return {str(n["name"]): n for n in described.values() if not n.get("external")}


def as_data(claims: Iterable[Claim]) -> list[dict[str, str]]:
    """Return claims as a plan carries them."""
    return [asdict(claim) for claim in claims]
