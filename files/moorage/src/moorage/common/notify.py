"""What a service tells its manager of itself: sd_notify(3)."""

from __future__ import annotations

import os
import socket


def tell_manager(state: str) -> None:
    """Say it, as ``READY=1``, to whoever has started this program and wants to know."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        address = f"\0{path[1:]}" if path.startswith("@") else path
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(state.encode(), address)
