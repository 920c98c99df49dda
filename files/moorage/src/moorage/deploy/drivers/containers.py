"""The containers topology on a host: one container a service, a gateway beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from moorage.deploy.drivers.base import Driver
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release


class ContainersDriver(Driver):
    """Driver of the containers topology."""

    def stale(
        self, release: Release, instances: Mapping[str, Instance], restart: Collection[str]
    ) -> set[str]:
        """Return the containers of services that have to start anew."""
        return {
            unit.name
            for unit in release.manifest.units
            if unit.service in restart and (unit.rolled or unit.singleton or unit.one_off)
        }
