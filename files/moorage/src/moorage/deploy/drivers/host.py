"""The topology host on a host: processes without containers, one a service."""

from __future__ import annotations

from moorage.deploy.drivers.containers import ContainersDriver


class HostDriver(ContainersDriver):
    """Driver of the topology host: a process is replaced as a container of its own is."""
