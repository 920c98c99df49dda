"""The host's routes and own addresses, as the kernel has them in all of its tables.

Asked of the kernel itself (rtnetlink(7)): files in /proc show one table, and `ip` is a package.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address, ip_network
from typing import Any

_GETROUTE, _DUMP, _DONE, _ERROR = 26, 0x301, 3, 2
_TO, _DEVICE = 1, 4
_UNICAST, _LOCAL = 1, 2


def read_routes() -> list[tuple[Any, str]]:
    """Networks that the host reaches and its own addresses, each with its device.

    Without the way to everything else. OSError where the kernel does not answer.
    """
    found: list[tuple[Any, str]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(5)
        for number, family in enumerate((socket.AF_INET, socket.AF_INET6), start=1):
            ask = struct.pack("=IHHII B11x", 28, _GETROUTE, _DUMP, number, 0, family)
            kernel.send(ask)
            while not _take(kernel.recv(1 << 20), found):
                pass
    return found


def _take(data: bytes, found: list[tuple[Any, str]]) -> bool:
    """Add the routes of one answer to `found`, and tell whether it is the last one."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        if kind == _DONE:
            return True
        if kind == _ERROR:
            raise OSError(-struct.unpack_from("=i", data, 16)[0], "the kernel tells no routes")
        route = _route(data[16:length])
        if route is not None:
            found.append(route)
        data = data[length + 3 & ~3 :]
    return False


def _route(body: bytes) -> tuple[Any, str] | None:
    bits, kind = body[1], body[7]
    values = {}
    rest = body[12:]
    while len(rest) >= 4:
        length, name = struct.unpack_from("=HH", rest)
        values[name] = rest[4:length]
        rest = rest[length + 3 & ~3 :]
    if not bits or _TO not in values or kind not in (_UNICAST, _LOCAL):
        return None
    network = ip_network((ip_address(values[_TO]), bits))
    device = struct.unpack("=I", values[_DEVICE])[0] if _DEVICE in values else 0
    try:
        return network, socket.if_indextoname(device)
    except OSError:
        # Several ways at once name none here, and a device may be gone by now.
        return network, ""
