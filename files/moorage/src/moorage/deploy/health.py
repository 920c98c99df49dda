"""Whether a new instance does what visitors will ask of it, before any of them does."""

from __future__ import annotations

import ctypes
import errno
import http.client
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from moorage.deploy.instance import Instance
from moorage.deploy.release import Release
from moorage.deploy.traffic import direct_targets, inner_targets
from moorage.probe import Target
from moorage.probe import smoke as ask
from moorage.release.manifest import Unit

_TIMEOUT_SECONDS = 1.0
_POLL_SECONDS = 0.1
# How long a service without a health check may take until it serves.
_PATIENCE_SECONDS = 30.0
_C = ctypes.CDLL(None, use_errno=True)
# CLONE_NEWNET of setns(2).
_NETWORK = 0x40000000


class Unfit(Exception):
    """An instance says that it is healthy and does not serve; the message tells what was asked."""


def answers(unit: Unit, instance: Instance) -> bool:
    """Tell whether the service's health URL answers well, past the engine's own checks.

    The engine asks at intervals, the first time half a second after the start; this is the same
    question without the wait. False also when there is no such URL.
    """
    if unit.health_url is None or instance.state != "running" or instance.restarts:
        return False
    peer = instance.peer(unit.health_url.port)
    if peer is None:
        return False
    address, _, port = peer.rpartition(":")
    connection = http.client.HTTPConnection(address, int(port), timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", unit.health_url.path)
        return 200 <= connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def smoke(
    release: Release,
    units: Sequence[Unit],
    slots: Mapping[str, str],
    timeout_seconds: float,
    *,
    moved: bool = False,
) -> None:
    """Ask new instances, past the edge, what the prober will ask; raises Unfit.

    Once, where a health check has said that they are ready; for a while where there is none. What
    starts only when it is handed over is asked with ``moved``, and then nothing else is.
    """
    checked = {service.name for service in release.manifest.services if service.health}
    sure: list[Target] = []
    unsure: list[Target] = []
    for unit in units:
        for target in direct_targets(release, unit, slots[unit.name]):
            if unit.moves(target.service) != moved:
                continue
            (sure if target.service in checked else unsure).append(target)
    wrong = _ask(sure, timeout_seconds, 0.0) or _ask(unsure, timeout_seconds, _PATIENCE_SECONDS)
    if wrong:
        said = "\n".join(f"  {line}" for line in wrong)
        raise Unfit(f"the new release says that it is healthy, and does not serve:\n{said}")


def smoke_within(release: Release, unit: Unit, pid: int, timeout_seconds: float) -> list[Target]:
    """Ask an instance the same where it has no port on the host: from within its own network.

    ``pid`` is its main process. Returns what was asked; raises Unfit, and OSError where that
    process is gone.
    """
    targets = inner_targets(release, unit)
    if not targets:
        return []
    # A thread is in a network of its own, and this one ends with the questions.
    with ThreadPoolExecutor(1) as apart:
        apart.submit(_enter_network, pid).result()
        wrong = apart.submit(_ask, targets, timeout_seconds, _PATIENCE_SECONDS).result()
    if wrong:
        said = "\n".join(f"  {line}" for line in wrong)
        raise Unfit(f"{unit.service} says that it is healthy, and does not serve:\n{said}")
    return targets


def _enter_network(pid: int) -> None:
    with open(f"/proc/{pid}/ns/net", "rb") as network:
        # The number may be somebody else's by now, and the host's own services are not meant.
        if os.path.samestat(os.fstat(network.fileno()), os.stat("/proc/self/ns/net")):
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), network.name)
        # os.setns is there from Python 3.12 on.
        if _C.setns(network.fileno(), _NETWORK):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), network.name)


def _ask(targets: Sequence[Target], timeout_seconds: float, patience_seconds: float) -> list[str]:
    deadline = time.monotonic() + patience_seconds
    while True:
        wrong = ask(targets, timeout_seconds) if targets else []
        if not wrong or time.monotonic() >= deadline:
            return wrong
        time.sleep(_POLL_SECONDS)
