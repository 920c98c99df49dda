"""The supervisor itself, as the guardian starts it by way of boot.py.

Exit status: 0 after a shutdown, 73 when its files cannot be made or another supervisor runs on
the same run_dir, 78 for an unusable configuration. The guardian brings it back after any end but a
shutdown, unless it failed in this way at its first start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time

from process_supervisor.common import openfiles, procfs
from process_supervisor.common.loop import EventLoop
from process_supervisor.config.files import load
from process_supervisor.config.reader import ConfigError
from process_supervisor.config.settings import Config
from process_supervisor.control import operations
from process_supervisor.control.server import Server
from process_supervisor.guardian import guard
from process_supervisor.guardian.link import GuardianLink
from process_supervisor.service import spawn
from process_supervisor.supervisor import reload, resume
from process_supervisor.supervisor.store import kept_config
from process_supervisor.supervisor.supervisor import Supervisor

EXIT_BUSY, EXIT_CONFIG = 73, 78
LOCK_PATIENCE = 3.0


class Options:
    """What the guardian passes."""

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments
        self.config = [os.path.abspath(path) for path in guard.options(arguments, "--config")]
        self.run_dir = self._after("--run-dir")
        self.guardian = int(self._after("--guardian") or 0)
        self.files = self._after("--files")
        self.shutdown = "--shutdown" in arguments
        self.yaml = ["--yaml"] if "--yaml" in arguments else []

    def _after(self, name: str) -> str:
        arguments = self.arguments
        return arguments[arguments.index(name) + 1] if name in arguments else ""


def lock(run_dir: str) -> int | None:
    """Take the lock of a run_dir; None when another supervisor keeps it.

    Waits a little: the lock of a supervisor that was just killed is freed a moment later.
    """
    os.makedirs(run_dir, mode=0o755, exist_ok=True)
    fd = os.open(f"{run_dir}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(fd)
                return None
            time.sleep(0.02)
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def configuration(options: Options) -> Config:
    """Return the configuration: after a crash the one that was in use, else the file's."""
    kept = kept_config(options.run_dir, procfs.generation())
    if kept:
        # It does not fit when the supervisor itself was exchanged for another version.
        with contextlib.suppress(ConfigError):
            return Config(kept)
    return load(*options.config)


class Daemon:
    """A supervisor with its socket, its signals and its guardian."""

    def __init__(self, options: Options, config: Config) -> None:
        self.options = options
        self.loop = EventLoop()
        fd = guard.EXITS_FD if options.guardian else None
        self.supervisor = Supervisor(
            config, self.loop, GuardianLink(self.loop, options.guardian, fd)
        )
        supervisor = self.supervisor
        supervisor.events.files = config.events_mb
        supervisor.on_shutdown = lambda: supervisor.plugins.when_quiet(self.loop.stop)
        self.server = Server(self.supervisor, options.config, operations.dispatch)

    def run(self) -> int:
        """Supervise until a shutdown is complete."""
        # systemd ends a host by a SIGTERM to every process there is, so it also comes twice: from
        # the guardian, which had one too. That must not cut short anybody's grace period.
        self.loop.on_signal(signal.SIGTERM, self.supervisor.shutdown)
        for number in (signal.SIGINT, signal.SIGQUIT):
            self.loop.on_signal(number, self._interrupted)
        self.loop.on_signal(signal.SIGHUP, self._reload)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            self.loop.on_signal(number, self.supervisor.reopen)
        if self.options.guardian:
            self._watch_guardian()
        resume.begin(self.supervisor)
        self.loop.call_soon(lambda: reload.tell_exposed(self.supervisor))
        if self.options.shutdown:
            self.supervisor.shutdown()
        self.loop.run()
        self.server.close()
        self.supervisor.events.add("supervisor ended")
        return 0

    def _interrupted(self) -> None:
        # The second time it is from somebody who does not want to wait.
        self.supervisor.shutdown(grace=0.0 if self.supervisor.shutting_down else None)

    def _reload(self) -> None:
        try:
            reload.reload(self.supervisor, self.options.config)
        except ConfigError as error:
            self.supervisor.events.add("error", reason=f"reload: {error}")

    def _watch_guardian(self) -> None:
        """Become the guardian when it dies.

        This process is the parent of services, so it keeps their exit status by staying, as the
        guardian, and starting a new supervisor below it.
        """
        try:
            pidfd = os.pidfd_open(self.options.guardian)
        except ProcessLookupError:
            self._replace_guardian()
            return
        self.loop.watch(pidfd, self._replace_guardian)
        if os.getppid() != self.options.guardian:
            self._replace_guardian()

    def _replace_guardian(self) -> None:
        self.supervisor.events.add("guardian lost", reason="taking its place")
        self.supervisor.save()
        guard.become_subreaper()
        configs = [word for path in self.options.config for word in ("--config", path)]
        options = [*configs, *self.options.yaml, "--run-dir", self.options.run_dir]
        files = ["--files", self.options.files] if self.options.files else []
        guard.replace_by_guardian([*options, *files])


def main(arguments: list[str]) -> int:
    """Run the supervisor."""
    options = Options(arguments)
    spawn.be_alone()
    if options.files:
        openfiles.keep_for_programs(int(options.files))
    try:
        config = configuration(options)
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return EXIT_CONFIG
    try:
        if lock(config.run_dir) is None:
            print(f"supervisor: another one runs on {config.run_dir}", file=sys.stderr)
            return EXIT_BUSY
        daemon = Daemon(options, config)
        daemon.server.listen()
    except OSError as error:
        fix = "; set run_dir, state_dir and log_file to places that this user may write to"
        why = f"{error}{fix if isinstance(error, PermissionError) else ''}"
        print(f"supervisor: cannot start: {why}", file=sys.stderr)
        return EXIT_BUSY
    return daemon.run()
