"""One run of a process: whether it is well, by the checks and the clock of our supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moorage.deploy.runtimes.entering import ENTER, entered
from moorage.release.native import Process
from moorage.watch import again
from process_supervisor.common import procfs
from process_supervisor.common.loop import EventLoop
from process_supervisor.config.health import HealthConfig
from process_supervisor.config.settings import ProcessConfig
from process_supervisor.service.health import HealthState, HealthWatch
from process_supervisor.service.states import Health

_LINES = 5
_RESTARTS = {"no": "never", "on-failure": "on-failure"}


class Run:
    """A main process while it lives; ``ended`` is called from the loop when it does not any more.

    ``told`` is called after every check whose outcome is another one than before.
    """

    def __init__(
        self,
        loop: EventLoop,
        process: Process,
        pid: int,
        ended: Callable[[], None],
        told: Callable[[Run], None],
        variables: Path,
        *,
        well: bool = False,
    ) -> None:
        """Begin to check; ``well`` is what a watcher before has found.

        ``variables`` is the file of its environment.

        Raises ProcessLookupError where it has ended, and ValueError for what cannot be checked.
        """
        self.process = process
        self.pid = pid
        self.heal_at: float | None = None
        self.forgiven = False
        self._loop, self._told = loop, told
        self._log: deque[str] = deque(maxlen=_LINES)
        self._watch: HealthWatch | None = None
        self._pidfd = os.pidfd_open(pid)
        self.started = loop.time() - _age(pid)
        loop.watch(self._pidfd, self._once(ended))
        self._over, self._whole = again.over_files(process), False
        self.rules = _configured(process, pid, variables)
        if self.rules.health_check is not None:
            self._begin(self.rules.health_check, Health.HEALTHY if well else Health.STARTING)

    def _once(self, ended: Callable[[], None]) -> Callable[[], None]:
        def over() -> None:
            self.end()
            ended()

        return over

    def _begin(self, check: HealthConfig, status: Health) -> None:
        state = _Told(check, self.started, status)
        state.told = self._said
        mark = procfs.family("moorage.watch", self.process.unit)
        self._watch = HealthWatch(self._loop, self.rules, check, mark, state, lambda old: None)

    def _said(self, reason: str) -> None:
        if reason:
            if self.process.check is not None and self.process.check.command:
                # Not by what its own surroundings are entered.
                reason = reason.replace(ENTER, self.process.check.command[0], 1)
            self._log.append(f"health check ({len(self._log) + 1}): {reason}")
        else:
            self._log.clear()
        self._told(self)

    @property
    def health(self) -> Health:
        """What the checks say."""
        return self._watch.health.status if self._watch else Health.NONE

    @property
    def reason(self) -> str:
        """Why the last check failed, empty when it did not."""
        return self._watch.health.reason if self._watch else ""

    def to_dict(self) -> dict[str, Any]:
        """Return what others read of it."""
        return {"pid": self.pid, "health": str(self.health), "log": list(self._log)}

    def put_back(self) -> str:
        """Have again what the host has lost of its mounts; returns what came of it, or nothing."""
        try:
            lost = again.missing(self._over, self.pid)
            # What is still being started has none of them yet.
            self._whole = self._whole or not lost
            if not lost or not self._whole:
                return ""
            namespace = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            try:
                # It lives, so it was its own.
                signal.pidfd_send_signal(self._pidfd, 0)
                again.put_back(lost, namespace)
            finally:
                os.close(namespace)
        except (OSError, subprocess.SubprocessError) as trouble:
            # Said once for each run: the next look would fail as this one did.
            self._over = []
            return f"what it has in the place of files of the host cannot be put back: {trouble}"
        return f"put back: {', '.join(mount.target for mount in lost)}"

    def end(self) -> None:
        """Check no more."""
        if self._watch is not None:
            self._watch.end()
        if self._pidfd >= 0:
            self._loop.unwatch(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


class _Told(HealthState):
    """A verdict that says what has changed it."""

    __slots__ = ("told",)
    told: Callable[[str], None]

    def succeeded(self) -> None:
        """Take note of a check that passed."""
        before = (self.status, self.reason)
        super().succeeded()
        if before != (self.status, self.reason):
            self.told("")

    def failed(self, now: float, reason: str) -> None:
        """Take note of a check that did not pass."""
        before = (self.status, self.reason)
        super().failed(now, reason)
        if before != (self.status, self.reason):
            self.told(reason)


def _age(pid: int) -> float:
    ticks = procfs.start_ticks(pid)
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    return max(0.0, now - ticks / procfs.TICKS) if ticks else 0.0


def _configured(process: Process, pid: int, variables: Path) -> ProcessConfig:
    """The process as our supervisor has it: what it checks, and when it starts one again."""
    return ProcessConfig(
        process.unit.replace("@", "."),
        ["-"],
        autorestart=_RESTARTS.get(process.restart, "always"),
        restart_limit=process.attempts,
        restart_reset_seconds=process.window,
        restart_delay=process.delay,
        restart_delay_max=process.delay_max,
        health_check=_check(process, pid, variables),
    )


def _check(process: Process, pid: int, variables: Path) -> dict[str, Any] | None:
    check = process.check
    if check is None:
        return None
    line = entered(process, pid, check.command, variables)
    command = {"type": "command", "command": line}
    return {
        **({"type": "http", "url": check.url} if check.url else command),
        "interval": check.interval,
        "timeout": check.timeout,
        "retries": check.retries,
        "start_period": check.start_period,
        "start_interval": check.start_interval,
        "restart_when_unhealthy": check.restart,
    }
