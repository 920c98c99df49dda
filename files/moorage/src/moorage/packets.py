"""Whether the packet rules that publish containers' ports are there, from `iptables-save`.

Some program flushes them, and the engine still listens in front of ports that lead nowhere: who
connects gets a connection and never an answer. Nothing is sent to a port to find out: a database
counts connections that say nothing. Also a module of the survey, so Python 3.9 reads it.
"""

from __future__ import annotations

import json
import re
import subprocess
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

DAEMON = Path("/etc/docker/daemon.json")
GUARD = Path("/etc/docker/moorage.rules")
ROUTES = Path("/proc/net/route")


def look(published: list[tuple[str, str, int, str]]) -> list[str]:
    """What is missing on this host, in words, for running containers' published ports.

    Each is (container, address, port, protocol or "" for any). Nothing where the engine makes no
    rules, and nothing where they cannot be read.
    """
    rules = _saved("iptables-save")
    if rules is None:
        return []
    options = _read_json(DAEMON)
    if options.get("iptables") is False:
        return []
    proxy = options.get("userland-proxy") is not False
    try:
        routes = parse_routes(ROUTES.read_text(encoding="ascii"))
    except (OSError, ValueError):
        routes = []
    found = missing(rules, published, routes, proxy)
    try:
        guard = GUARD.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return found
    return found + unguarded(guard, rules, _saved("ip6tables-save"))


def _saved(program: str) -> str | None:
    """The rules of a family; None where it has none at all."""
    try:
        done = subprocess.run(
            [f"/usr/sbin/{program}"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def unguarded(guard: str, rules: str, rules6: str | None) -> list[str]:
    """What of our own rules lacks in either family, or stands there otherwise (a pure function)."""
    found = []
    for saved, family in ((rules, ""), (rules6, " for IPv6")):
        if saved is None:
            continue
        mangle = saved.partition("*mangle\n")[2].partition("COMMIT")[0]
        if "-A FORWARD -j MOORAGE" not in mangle or _chain(mangle) != _chain(guard):
            words = "what refuses what neighbours route to containers (the chain MOORAGE)"
            found.append(words + family)
    if "-A PREROUTING -d 127.0.0.0/8 ! -i lo -j DROP" not in rules:
        found.append("what keeps others from what listens on loopback (the table raw)")
    return found


def _chain(rules: str) -> list[list[str]]:
    """The rules of our chain, with what has no order in the order of letters."""
    return [
        [",".join(sorted(word.split(","))) for word in line.split()]
        for line in rules.splitlines()
        if line.startswith("-A MOORAGE ")
    ]


def missing(
    rules: str,
    published: list[tuple[str, str, int, str]],
    routes: list[tuple[IPv4Network, str]],
    proxy: bool,
) -> list[str]:
    """The rules that `published` needs and `rules` does not have (a pure function).

    With a process of the engine's in front of ports (``proxy``) they are reached without them.
    """
    wanted = [port for port in published if ":" not in port[1]]
    if proxy or not wanted:
        return []
    lines = rules.splitlines()
    found = []
    for chain in ("PREROUTING", "OUTPUT"):
        if not any(line.startswith(f"-A {chain} ") and _to(line) == "DOCKER" for line in lines):
            found.append(f"the way from {chain} to the ports of containers")
    bridges = set()
    for name, address, port, protocol in wanted:
        target = _destination(lines, address, port, protocol)
        if target is None:
            found.append(f"port {address}:{port} of {name}")
        else:
            bridges |= {device for network, device in routes if target in network}
    for bridge in sorted(bridges):
        out = [line for line in lines if f" -o {bridge} " in line]
        local = any("--src-type LOCAL" in line and _to(line) == "MASQUERADE" for line in out)
        if not local:
            found.append(f"the way back from {bridge} to this host")
        answers = any("ESTABLISHED" in line and _to(line) == "ACCEPT" for line in out)
        if not answers or not any(_to(line) == "DOCKER" for line in out):
            found.append(f"the way through the filter to {bridge}")
        if not any(f" -i {bridge} " in line and _to(line) == "ACCEPT" for line in lines):
            found.append(f"the way through the filter from {bridge}")
    return found


def _destination(lines: list[str], address: str, port: int, protocol: str) -> IPv4Address | None:
    parts = [f" -d {address}/32 "] if address != "0.0.0.0" else []
    parts += [f" -p {protocol} "] if protocol else []
    for line in lines:
        if not line.startswith("-A DOCKER ") or any(part not in line for part in parts):
            continue
        match = re.search(rf" --dport {port} .*--to-destination ([0-9.]+)", line)
        if match:
            return IPv4Address(match.group(1))
    return None


def _to(line: str) -> str:
    return line.partition(" -j ")[2].partition(" ")[0]


def parse_routes(text: str) -> list[tuple[IPv4Network, str]]:
    """Networks and the device behind each, of /proc/net/route, without the way to elsewhere."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 8 or words[7] == "00000000":
            continue
        network, mask = (
            IPv4Address(int.from_bytes(bytes.fromhex(word), "little"))
            for word in (words[1], words[7])
        )
        found.append((IPv4Network(f"{network}/{mask}", strict=False), words[0]))
    return found


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
