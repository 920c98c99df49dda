"""Activation: make a release the running one, or leave everything as it was and say why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from moorage.deploy.docker import DockerError
from moorage.deploy.gate import GateClosed, wait_until_healthy
from moorage.deploy.journal import Journal
from moorage.deploy.layout import Layout
from moorage.deploy.lock import Locked, hold
from moorage.deploy.release import (
    Release,
    ReleaseError,
    current_release,
    list_releases,
    point_current_at,
    prune_releases,
    read_release,
)
from moorage.deploy.topology import Topology, driver
from process_supervisor.client import ControlError

FAILURES = (DockerError, GateClosed, ReleaseError, ControlError, OSError)


@dataclass(frozen=True)
class Request:
    """What is asked of an activation. Times are in seconds; ``keep`` counts releases.

    ``restart`` names services that start anew even where their part of the release is unchanged.
    """

    stack: str
    release: str
    who: str = "root"
    purpose: str = "deploy"
    keep: int = 5
    gate_timeout: float = 120.0
    start_timeout: float = 300.0
    lock_wait: float = 0.0
    restart: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """What became of it: ``activated``, ``unchanged``, ``restored``, ``failed`` or ``locked``.

    ``restored`` means that the release failed and the previous one runs again; ``failed`` that
    there was none to go back to, or that going back failed too.
    """

    outcome: str
    release: str
    previous: str | None = None
    changed: bool = False
    message: str = ""
    did: Mapping[str, Any] = field(default_factory=dict)
    pruned: list[str] = field(default_factory=list)
    phases: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the asked release runs now."""
        return self.outcome in ("activated", "unchanged")

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as plain data."""
        return asdict(self)


def activate(
    request: Request,
    layout: Layout,
    journal: Journal,
    find_driver: Callable[[str, Layout], Topology] = driver,
) -> Outcome:
    """Make the release of ``request`` the running one.

    Never raises for what can go wrong on a host: the outcome says it.
    """
    purpose = f"{request.purpose} of release {request.release}"
    try:
        with hold(layout.lock, purpose, request.who, request.lock_wait):
            outcome = _locked(request, layout, journal, find_driver)
    except Locked as locked:
        outcome = Outcome("locked", request.release, message=f"{layout.stack}: {locked}")
    outcome.phases = journal.phases
    journal.note("outcome", **outcome.to_dict())
    return outcome


def _locked(
    request: Request,
    layout: Layout,
    journal: Journal,
    find_driver: Callable[[str, Layout], Topology],
) -> Outcome:
    previous: Release | None = None
    try:
        with journal.phase("preflight"):
            release = read_release(layout, request.release)
            previous = current_release(layout)
            topology = find_driver(release.topology, layout)
            topology.preflight(release)
    except (*FAILURES, ValueError) as trouble:
        # Nothing was touched: what runs goes on running.
        kept = previous.id if previous else None
        return Outcome("failed", request.release, kept, message=str(trouble))
    try:
        did = _bring_up(topology, release, request, journal)
    except FAILURES as trouble:
        return _go_back(request, previous, str(trouble), layout, journal, find_driver)
    moved = previous is None or previous.id != release.id
    with journal.phase("switch"):
        if moved:
            point_current_at(layout, release)
        if previous is not None and previous.topology != release.topology:
            find_driver(previous.topology, layout).retire(previous)
        pruned = prune_releases(layout, request.keep)
        if moved:
            pruned += topology.prune(list_releases(layout))
    changed = moved or bool(did["changed"])
    return Outcome(
        "activated" if changed else "unchanged",
        release.id,
        previous.id if previous else None,
        changed,
        did=did,
        pruned=pruned,
    )


def _bring_up(
    topology: Topology, release: Release, request: Request, journal: Journal
) -> dict[str, Any]:
    with journal.phase("start"):
        did = topology.start(release, request.start_timeout)
        if request.restart:
            topology.restart(request.restart)
            did = {**did, "changed": True, "restarted": request.restart}
        journal.note("started", **did)
    with journal.phase("gate"):
        checks = wait_until_healthy(topology.checks, request.gate_timeout)
        journal.note("healthy", services={check.service: check.detail for check in checks})
    return did


def _go_back(
    request: Request,
    previous: Release | None,
    why: str,
    layout: Layout,
    journal: Journal,
    find_driver: Callable[[str, Layout], Topology],
) -> Outcome:
    journal.note("failed", message=why)
    if previous is None or previous.id == request.release:
        return Outcome("failed", request.release, changed=True, message=why)
    try:
        with journal.phase("restore"):
            topology = find_driver(previous.topology, layout)
            topology.start(previous, request.start_timeout)
            wait_until_healthy(topology.checks, request.gate_timeout)
            failed = read_release(layout, request.release)
            if failed.topology != previous.topology:
                find_driver(failed.topology, layout).retire(failed)
    except FAILURES as trouble:
        message = f"{why}\nand going back to release {previous.id} failed too: {trouble}"
        return Outcome("failed", request.release, previous.id, changed=True, message=message)
    message = f"{why}\nrelease {previous.id} runs again"
    return Outcome("restored", request.release, previous.id, changed=True, message=message)
