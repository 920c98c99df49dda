"""Which places of a host a stack may mount, and which are made for it where they are not there.

One function decides for controller and host; on the host it is asked about the path without links.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection

_PROCESS = re.compile(r"/proc/[^/]+/(?:task/[^/]+/)?(?:root|cwd|fd|map_files)(?:/|$)")
_SOCKETS = ("docker.sock", "containerd.sock")
# The engine's own: its data are the root of all containers.
_ENGINE = (
    "/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/etc/docker",
    "/etc/containerd", "/run/docker", "/run/containerd",
)  # fmt: skip
# Keys, programs that root runs, evidence.
_MOORAGE = (
    "/opt/moorage", "/run/moorage", "/var/lib/moorage", "/usr/local/lib/moorage",
)  # fmt: skip
# Where nothing is made that the system does not have: a typing error would stand there for ever.
_SYSTEM = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run", "/sbin",
    "/sys", "/usr", "/var/run", "/var/lib/dpkg", "/var/lib/apt", "/var/lib/systemd",
)  # fmt: skip
_ENGINE_IS_ROOT = "whoever reaches the engine's socket, read-only or not, is root on the host"


def refusal(
    source: str,
    base: str,
    stacks: Collection[str] = (),
    *,
    read_only: bool = False,
    making: bool = False,
) -> str:
    """Say why a stack whose directory is ``base`` may not mount an absolute path; "" if it may.

    ``stacks`` names the host's stacks, as far as they are known. ``making``: it would be made.
    """
    path = clean(source)
    if ".." in source.split("/"):
        return "leads upwards: write where it leads to"
    if reaches_engine(path):
        return _ENGINE_IS_ROOT
    # Readers of the logs of containers are usual.
    if not read_only and any(inside(path, place) for place in _ENGINE):
        return "is the container engine's own"
    own = clean(base)
    for place in (own, *_MOORAGE, *(posixpath.join(posixpath.dirname(own), s) for s in stacks)):
        if inside(path, place) or inside(place, path):
            whose = "this stack" if place == own else "another stack"
            return f"is, or holds, what is {'Moorage' if place in _MOORAGE else whose}'s own"
    if making and (path == "/" or any(inside(path, place) for place in _SYSTEM)):
        return "is not there, and nothing is made among what belongs to the system"
    return ""


def clean(path: str) -> str:
    """Return an absolute path without what says nothing."""
    return posixpath.normpath(f"/{path.lstrip('/')}")


def inside(path: str, place: str) -> bool:
    """Whether a path is a place, or lies below it."""
    return path == place or path.startswith("/" if place == "/" else f"{place}/")


def reaches_engine(source: str) -> bool:
    """Whether a path of the host is, or holds, a socket that commands the container engine."""
    path = clean(source)
    if _PROCESS.match(path):
        return True  # its root is the host's, or leads there
    return posixpath.basename(path) in _SOCKETS or any(
        inside(f"{run}/{socket}", path)
        for run in ("/run", "/var/run", "/run/containerd", "/var/run/containerd")
        for socket in _SOCKETS
    )
