"""The checks before any change: pure functions from facts to problems."""

from __future__ import annotations

import re
import textwrap
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from ansible.module_utils.moorage_host import edge
from ansible.module_utils.moorage_host.listeners import collide

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible.module_utils.moorage_host.listeners import Listener, Process
    from ansible.module_utils.moorage_host.units import Unit

OLDEST_PYTHON = (3, 11)

# Releases that are refused for a reason that is worth telling.
_REFUSED = {
    "12": "its archive has neither Compose v2 nor buildx, and its Docker engine (20.10) cannot"
    " build with named contexts",
    "11": "its archive has neither Compose v2 nor buildx, and its Python (3.9) is too old",
}
_SUBNET_FIX = "choose another subnet (`ipam` of the network in compose.yml)"
_NETWORK_FIX = ", or remove that network where nobody needs it (docker network rm)"
# The engine's own devices, whose networks it is asked for where it runs.
_BRIDGES = re.compile(r"(docker0|docker_gwbridge|br-[0-9a-f]{12})$")


def problem(check: str, text: str, value: Any, fix: str) -> dict[str, str]:
    """One thing that stands in the way, and what to do about it."""
    return {"check": check, "problem": text, "value": str(value), "fix": fix}


def check_system(host: dict[str, Any], wanted: dict[str, Any]) -> list[dict[str, str]]:
    """Release, architecture, init system, privileges, Python, memory and clock."""
    found = []
    if host["os_id"] != "debian" or host["os_version"] not in wanted["releases"]:
        found.append(_release_problem(host, wanted["releases"]))
    if host["architecture"] not in wanted["architectures"]:
        names = " or ".join(wanted["architectures"])
        text = "this architecture is not supported"
        found.append(problem("architecture", text, host["architecture"], f"use an {names} host"))
    if not host["systemd"]:
        text = "systemd does not run as the first process"
        fix = "install the package systemd-sysv and start the host with it"
        found.append(problem("init", text, "no /run/systemd/system", fix))
    if not host["root"]:
        fix = "connect as root, or set ansible_become: true for a user who may use sudo"
        found.append(problem("privileges", "the survey does not run as root", "not root", fix))
    if tuple(int(part) for part in host["python"].split(".")[:2]) < OLDEST_PYTHON:
        fix = "use a release of Debian that brings Python 3.11 or newer"
        found.append(problem("python", "this Python is too old", host["python"], fix))
    if wanted["engine"] and host["memory_mb"] < wanted["memory_mb"]:
        found.append(
            problem(
                "memory",
                f"the host has less than the {wanted['memory_mb']} MiB of memory that it needs",
                f"{host['memory_mb']} MiB",
                "give it more memory, or lower the limit (moorage_preflight_memory_mb)",
            )
        )
    return found + _check_clock(host["clock_skew_seconds"], wanted["clock_skew_seconds"])


def _release_problem(host: dict[str, Any], releases: list[str]) -> dict[str, str]:
    supported = " or ".join(f"Debian {release}" for release in releases)
    reason = _REFUSED.get(host["os_version"]) if host["os_id"] == "debian" else None
    text = "this release is not supported" + (f": {reason}" if reason else "")
    fix = f"install {supported}, or upgrade this host to it"
    return problem("release", text, host["os_name"], fix)


def _check_clock(skew: float | None, limit: float) -> list[dict[str, str]]:
    if skew is None or abs(skew) <= limit:
        return []
    text = f"the clock differs from the controller's by more than {limit:g} s"
    fix = "set the clock here or on the controller (timedatectl), and let both synchronise it"
    return [problem("clock", text, f"{skew:+.1f} s", fix)]


def check_engine(docker: dict[str, Any]) -> list[dict[str, str]]:
    """An engine that runs but does not answer: nothing that is said of containers would be true."""
    if not docker["error"]:
        return []
    fix = "look at its log (journalctl -u docker) and restart it (systemctl restart docker)"
    return [problem("engine", "the Docker engine does not answer", docker["error"], fix)]


def check_masked(found: dict[str, Unit]) -> list[dict[str, str]]:
    """Units that were to be kept from starting, and are somebody's: one that we masked is not."""
    return [
        problem(
            "service",
            f"Debian's {name} is in use here, and a stack wants the package that it is of: stacks"
            " have instances of their own, and this one would be kept from starting",
            "it runs" if unit.active else "it starts at a boot",
            f"disable it where nobody needs it (systemctl disable --now {name}), or have it left as"
            f" it is: native_kept_units: [{name}]",
        )
        for name, unit in found.items()
        if unit.active or (unit.loaded and unit.enabled)
    ]


def check_disk(places: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Free disk; paths on the same file system add up to what that one must have."""
    needs: dict[int, dict[str, Any]] = {}
    for place in places:
        need = needs.setdefault(place["device"], {"mb": 0, "paths": [], "free": place["free_mb"]})
        need["mb"] += place["wanted_mb"]
        need["paths"].append(place["path"])
    return [
        problem(
            "disk",
            f"the file system of {' and '.join(need['paths'])} has less than {need['mb']} MiB free",
            f"{need['free']} MiB",
            "free some space or enlarge it, or lower the limit (moorage_preflight_disk)",
        )
        for need in needs.values()
        if need["free"] < need["mb"]
    ]


def check_users(
    wanted: list[dict[str, Any]], by_name: dict[str, int], by_uid: dict[int, str]
) -> list[dict[str, str]]:
    """Accounts with a fixed number that somebody else has, or that have another number."""
    found = []
    for user in wanted:
        name, uid = user["name"], user["uid"]
        if name in by_name:
            if by_name[name] != uid:
                text = f"the account {name} exists with another number than {uid}"
                fix = f"rename it, or give it the number {uid} (usermod -u, groupmod -g)"
                found.append(problem("user", text, by_name[name], fix))
        elif uid in by_uid:
            text = f"the number {uid}, wanted by the account {name}, is taken"
            fix = f"give the account {by_uid[uid]} another number (usermod -u, groupmod -g)"
            found.append(problem("user", text, by_uid[uid], fix))
    return found


def check_sources(tried: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Package sources that did not answer; a host without any source cannot install anything."""
    return [
        problem(
            "source",
            "a package source cannot be reached",
            f"{source['uri']} {source['suite']}: {source['error']}",
            "check the network, DNS and proxy of the host, or the mirror in /etc/apt",
        )
        for source in tried
        if source["error"]
    ]


def check_ports(
    wanted: list[dict[str, Any]],
    listeners: list[Listener],
    containers: list[dict[str, Any]],
    find_holders: Callable[[list[int]], dict[int, Process]],
    known: Callable[[str, str, str], bool] = lambda _stack, _kind, _name: False,
) -> list[dict[str, str]]:
    """Ports that are held by anything but the stack that wants them.

    ``known`` tells whether a stack is known to have a port: that is looked at elsewhere.
    """
    found = []
    contested: list[tuple[dict[str, Any], Listener]] = []
    for want in wanted:
        publishers = [entry for entry in containers if _publishes(entry, want)]
        if publishers:
            foreign = [
                entry
                for entry in publishers
                if entry["stack"] != want["stack"]
                and not known(entry["stack"], "port", f"{want['port']}/{want['protocol']}")
            ]
            found += [_port_problem(want, _container_name(entry)) for entry in foreign[:1]]
            continue
        held = [listener for listener in listeners if _meets(want, listener)]
        contested += [(want, listener) for listener in held]
    # Who holds a socket costs a walk through /proc: only when somebody seems to be in the way.
    holders = find_holders([listener.inode for _, listener in contested]) if contested else {}
    for want, listener in contested:
        holder = holders.get(listener.inode)
        entry = _port_conflict(want, holder, containers)
        if entry and entry not in found:
            found.append(entry)
    return found


def check_names(
    wanted: list[dict[str, Any]],
    containers: list[dict[str, Any]],
    known: Callable[[str, str, str], bool],
) -> list[dict[str, str]]:
    """Names of containers that are those of somebody else's, which the engine would remove."""
    found = []
    for stack in wanted:
        names = {c["name"]: c for c in stack.get("claims") or () if c["kind"] == "container"}
        for entry in containers:
            name = entry["name"]
            if name not in names or entry["stack"] == stack["name"]:
                continue
            if not known(entry["stack"], "container", name):
                wanted_by = f"{stack['name']} ({names[name]['service']})"
                text = f"the container name {name}, wanted by {wanted_by}, is taken"
                fix = f"rename it (docker rename {name} OTHER), or remove it if nobody needs it"
                value = f"{_container_name(entry)}, of the image {entry['image']}"
                found.append(problem("name", text, value, fix))
    return found


def check_subnets(
    wanted: list[dict[str, Any]],
    networks: list[dict[str, Any]],
    routes: list[tuple[Any, str]],
    known: Callable[[str, str, str], bool],
) -> list[dict[str, str]]:
    """Subnets that the host reaches elsewhere, that a network has, or that theirs has not."""
    found = []
    devices = {network["device"] for network in networks}
    claims = [(s["name"], c) for s in wanted for c in s.get("claims") or () if _is_subnet(c)]
    for stack, claim in claims:
        subnet, name = ip_network(claim["name"]), claim["address"]
        who = f"the subnet {subnet}, wanted by {stack} ({claim['service']}),"
        for network in networks:
            if network["name"] == name and claim["name"] not in network["subnets"]:
                found.append(_another_subnet(stack, claim, network))
            for other in network["subnets"]:
                if network["name"] == name or not subnet.overlaps(ip_network(other, strict=False)):
                    continue
                if network["project"] == stack or not known(network["project"], "subnet", other):
                    value = f"{other}, the network {network['name']}"
                    text = f"{who} overlaps that of another network of the engine"
                    # The engine's own stays in any case.
                    fix = "" if network["name"] == "bridge" else _NETWORK_FIX
                    found.append(problem("subnet", text, value, _SUBNET_FIX + fix))
        for route, device in routes:
            if subnet.overlaps(route) and device not in devices and not _BRIDGES.match(device):
                text = f"{who} overlaps what this host reaches elsewhere"
                what = "address" if route.prefixlen == route.max_prefixlen else "route"
                value = f"the {what} {route}" + (f" (device {device})" if device else "")
                found.append(problem("subnet", text, value, _SUBNET_FIX))
                break
    return found


def _is_subnet(claim: dict[str, Any]) -> bool:
    return bool(claim["kind"] == "subnet")


def _another_subnet(stack: str, claim: dict[str, Any], network: dict[str, Any]) -> dict[str, str]:
    return problem(
        "subnet",
        f"the network {network['name']}, wanted by {stack} with the subnet {claim['name']}, is"
        " there with another one, and the engine changes no network in place",
        " and ".join(network["subnets"]) or "no subnet",
        "give the network another key in compose.yml, with a subnet apart from that: the next"
        " deploy makes it, and the old one goes; or remove the stack"
        f" (`ansible-playbook playbooks/remove.yml -e stack={stack}`, which keeps its data) and"
        " deploy it anew",
    )


def _publishes(container: dict[str, Any], want: dict[str, Any]) -> bool:
    for port in container["ports"]:
        same = (port["port"], port["protocol"]) == (want["port"], want["protocol"])
        if same and collide(want["address"], ip_address(port["address"])):
            return True
    return False


def _meets(want: dict[str, Any], listener: Listener) -> bool:
    same = (listener.port, listener.protocol) == (want["port"], want["protocol"])
    return same and bool(collide(want["address"], listener.address))


def _port_conflict(
    want: dict[str, Any], holder: Process | None, containers: list[dict[str, Any]]
) -> dict[str, str] | None:
    if holder is None:
        return _port_problem(want, "a process that cannot be seen from here")
    if holder.container:
        owners = [entry for entry in containers if holder.container.startswith(entry["id"])]
        # What the edge holds it holds for the stacks; the plan gives no port to two of them.
        if owners and (owners[0]["stack"] == want["stack"] or owners[0]["name"] == edge.CONTAINER):
            return None
        name = _container_name(owners[0]) if owners else f"container {holder.container[:12]}"
        return _port_problem(want, name)
    # Not the name alone: a stack `tg` has no part in what `tg2em` holds.
    own = tuple(f"moorage-{want['stack']}{end}" for end in ("-", "."))
    if holder.unit == edge.UNIT or holder.unit.startswith(own):
        return None
    unit = f", {holder.unit}" if holder.unit else ""
    return _port_problem(want, f"{holder.name} (pid {holder.pid}{unit})", holder.unit)


def _container_name(container: dict[str, Any]) -> str:
    stack = f" of the stack {container['stack']}" if container["stack"] else ""
    return f"container {container['name']}{stack}"


def _port_problem(want: dict[str, Any], holder: str, unit: str = "") -> dict[str, str]:
    wanted_by = want["stack"] + (f" ({want['service']})" if want["service"] else "")
    stop = f"stop it (systemctl disable --now {unit})" if unit.endswith(".service") else "stop it"
    other = f"publish another port in group_vars/{want['stack']}.yml"
    if want["stack"] == "edge":
        other = "set edge_http_port or edge_https_port"
    elif want["service"].endswith(", behind the edge"):
        other = "have it listen elsewhere: 20000 to 29999 on 127.0.0.1 are for stacks"
    return problem(
        "port",
        f"port {want['port']}/{want['protocol']}, wanted by {wanted_by}, is taken",
        holder,
        f"{stop}, or {other}",
    )


def report(host: dict[str, Any], problems: list[dict[str, str]]) -> str:
    """The problems as text for a person."""
    title = f"{host['os_name']}, {host['architecture']}, {host['memory_mb']} MiB of memory"
    if not problems:
        return f"This host is fit: {title}."
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    lines = [f"This host is not fit yet: {count}, nothing was changed.", f"({title})"]
    for number, entry in enumerate(problems, start=1):
        lines += [
            "",
            f"{number}. {_wrap(entry['problem'][:1].upper() + entry['problem'][1:], 3)}",
            f"   found: {_wrap(entry['value'], 10)}",
            f"   fix:   {_wrap(entry['fix'], 10)}",
        ]
    return "\n".join(lines)


def _wrap(text: str, indent: int) -> str:
    # A command is not cut at its hyphens: people copy it.
    lines = textwrap.wrap(
        text, width=86, subsequent_indent=" " * indent, break_on_hyphens=False
    )  # fmt: skip
    return "\n".join(lines)
