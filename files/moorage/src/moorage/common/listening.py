"""Where a program that speaks plain HTTP may listen, and what it reads a secret from."""

import ipaddress
import os
import stat

_LARGEST = 4096


def address(text: str) -> tuple[str, int]:
    """Return host and port of ``ADDRESS:PORT``, ``[ADDRESS]:PORT`` for IPv6; raises ValueError."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"--listen {text}: ADDRESS:PORT is wanted")
    return host, int(port)


def only_here(host: str) -> bool:
    """Say whether nobody but this machine's own programs reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_secret(path: str, shortest: int) -> str:
    """Return the one line of a file that not everybody may read; raises ValueError and OSError."""
    # Without waiting for a writer, should it be a FIFO.
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} is no file")
        if stat.S_IMODE(found.st_mode) & 0o007:
            raise ValueError(f"{path} is open to every user: chmod 600 {path}")
        text = file.read(_LARGEST).decode("ascii", "replace").strip()
    if len(text) < shortest or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(
            f"{path} has one line of at least {shortest} letters, digits and signs, such as "
            "`openssl rand -hex 32` prints"
        )
    return text
