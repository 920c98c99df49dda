"""Who listens on which port, from /proc; format: proc_pid_net(5)."""

from __future__ import annotations

import os
import re
import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    # An alias of this form is an expression, which Python 3.9 cannot evaluate.
    Address = IPv4Address | IPv6Address

# A TCP socket that listens, and a UDP socket that is bound but not connected.
_TCP_LISTEN = "0A"
_UDP_UNCONNECTED = "07"


class Listener(NamedTuple):
    """One listening socket."""

    protocol: str
    address: Address
    port: int
    inode: int


class Process(NamedTuple):
    """A process as a person knows it."""

    pid: int
    name: str
    unit: str
    container: str


def parse_table(text: str, protocol: str) -> list[Listener]:
    """Listening sockets of a /proc/net/{tcp,tcp6,udp,udp6} table."""
    state = _UDP_UNCONNECTED if protocol == "udp" else _TCP_LISTEN
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 10 or words[3] != state:
            continue
        address, _, port = words[1].partition(":")
        found.append(Listener(protocol, parse_address(address), int(port, 16), int(words[9])))
    return found


def parse_address(text: str) -> Address:
    """An address as the kernel prints it: 32-bit words in the host's byte order, in hex."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    packed = b"".join(struct.pack("=I", word) for word in words)
    return ip_address(socket.inet_ntop(_FAMILY[len(packed)], packed))


_FAMILY = {4: socket.AF_INET, 16: socket.AF_INET6}


def read_listeners(proc: Path = Path("/proc")) -> list[Listener]:
    """All listening sockets of this network namespace."""
    found: list[Listener] = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        try:
            text = (proc / "net" / table).read_text(encoding="ascii")
        except OSError:
            continue
        found.extend(parse_table(text, table.rstrip("6")))
    return found


def collide(wanted: str, held: Address) -> bool:
    """Whether listening on `wanted` is impossible while `held` is listened on, at one port.

    "::" is taken as both families, as Linux does unless a socket asks otherwise.
    """
    address = ip_address(wanted)
    if held.version == 6 and held.is_unspecified:
        return True
    if address.version == 6 and address.is_unspecified:
        return True
    if isinstance(held, IPv6Address) and held.ipv4_mapped:
        held = held.ipv4_mapped
    if address.version != held.version:
        return False
    return address == held or address.is_unspecified or held.is_unspecified


def holders(inodes: Iterable[int], proc: Path = Path("/proc")) -> dict[int, Process]:
    """The process that holds each socket; one that vanishes or hides meanwhile is left out."""
    links: set[str] = {f"socket:[{inode}]" for inode in inodes}
    found: dict[int, Process] = {}
    for entry in os.scandir(str(proc)):
        if len(found) == len(links):
            break
        if not entry.name.isdigit():
            continue
        for link in _fd_links(f"{entry.path}/fd"):
            if link in links:
                found.setdefault(int(link[len("socket:[") : -1]), describe(entry.path))
    return found


def _fd_links(directory: str) -> list[str]:
    links = []
    try:
        for name in os.listdir(directory):
            try:
                links.append(os.readlink(f"{directory}/{name}"))
            except OSError:
                continue
    except OSError:
        return []
    return links


def describe(directory: str) -> Process:
    """Name, unit and container of the process behind a /proc/PID directory."""
    group = _read(f"{directory}/cgroup")
    container = parse_container(group)
    return Process(
        pid=int(os.path.basename(directory)),
        name=_read(f"{directory}/comm").strip() or "?",
        unit="" if container else parse_unit(group),
        container=container,
    )


def parse_unit(cgroup: str) -> str:
    """The systemd unit in /proc/PID/cgroup, the innermost one; "" when there is none."""
    units = re.findall(r"/([^/\n]+\.(?:service|scope))", cgroup)
    return str(units[-1]) if units else ""


def parse_container(cgroup: str) -> str:
    """The id of the Docker container in /proc/PID/cgroup; "" when there is none."""
    match: re.Match[str] | None = re.search(r"/docker[/-]([0-9a-f]{64})", cgroup)
    return match.group(1) if match else ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
