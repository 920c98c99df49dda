"""The runtimes of this host."""

from __future__ import annotations

from moorage.deploy.release import list_releases
from moorage.deploy.runtimes.base import Runtime
from moorage.deploy.runtimes.both import Both
from moorage.deploy.runtimes.docker import Docker
from moorage.deploy.runtimes.native import Native
from moorage.release.layout import Layout


def runtime(layout: Layout) -> Runtime:
    """Return what runs a stack's instances on this host, whatever its topology.

    A host that never had a container of the stack need not have an engine.
    """
    natives = {bool(release.manifest.manager) for release in list_releases(layout)}
    if True not in natives:
        return Docker()
    return Both(Native(layout), Docker()) if False in natives else Native(layout)
