"""A one-off command in the environment of a service: where it runs, and with what."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.deploy.drivers.base import Driver, FindDriver
from moorage.deploy.release import Release, current_release
from moorage.release.layout import Layout
from moorage.release.manifest import Unit


class ExecuteError(Exception):
    """The command cannot be run; the message says why."""


def command_in(
    layout: Layout,
    service: str,
    command: Sequence[str],
    find_driver: FindDriver,
    *,
    terminal: bool = False,
) -> list[str]:
    """Return the command line that runs ``command`` as the service would.

    In the running instance of the service; a process of one that holds several gets that
    process's directory, environment and user. Where no instance of it runs, a throw-away one is
    made of the same description. Its exit status is the command's. Raises ExecuteError.
    """
    release = current_release(layout)
    if release is None or not release.manifest.complete:
        raise ExecuteError(f"no release of {layout.stack} runs here: deploy it first")
    unit = _unit(release, service)
    here = find_driver(release.topology, layout)
    instance = next(
        (
            found
            for found in here.runtime.instances(layout.stack)
            if found.name == unit.name and found.state == "running"
        ),
        None,
    )
    if instance is not None:
        beside = here.surroundings(release, unit, service)
        return here.runtime.within(
            instance.name, command, beside, interactive=True, terminal=terminal
        )
    if unit.processes:
        raise ExecuteError(
            f"{service} is a process of {unit.name}, which does not run: start it with "
            f"`{' '.join(here.runtime.by_hand('start', unit.name))}`, or deploy"
        )
    return apart(here, release, service, command, terminal=terminal)


def apart(
    by: Driver, release: Release, service: str, command: Sequence[str], *, terminal: bool = False
) -> list[str]:
    """Return the command line that runs ``command`` in a throw-away instance like the service's.

    The release need not be the running one. Raises ExecuteError.
    """
    unit = _unit(release, service)
    beside = by.surroundings(release, unit, service)
    return by.runtime.apart(release, unit, command, beside, terminal=terminal)


def _unit(release: Release, service: str) -> Unit:
    units = release.manifest.units
    for unit in units:
        if unit.serves(service):
            return unit
    known = sorted({entry.name for entry in release.manifest.services})
    raise ExecuteError(
        f"{release.manifest.stack} has no service {service!r}: it has {', '.join(known)}"
    )
