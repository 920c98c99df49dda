"""The runtimes of this host."""

from __future__ import annotations

from moorage.deploy.runtimes.base import Runtime
from moorage.deploy.runtimes.docker import Docker


def runtime() -> Runtime:
    """Return what runs instances on this host, whatever their stack's topology."""
    return Docker()
