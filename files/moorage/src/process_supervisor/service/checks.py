"""Running one health check without ever blocking the loop."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket

from process_supervisor.service.spawn import SpawnError, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from typing import Protocol

    from process_supervisor.common.loop import EventLoop
    from process_supervisor.config.health import HealthConfig
    from process_supervisor.config.settings import ProcessConfig

    Done = Callable[[str | None], None]

    class Running(Protocol):
        """A check in progress."""

        def cancel(self) -> None: ...

    Ask = Callable[[str, Done], Running]

MOST_OUTPUT = 2048
PID_VARIABLE = "PROCESS_SUPERVISOR_PID"
"""Of the environment of a check by a command: the main process of what it asks."""


class Unknown(str):
    """Why a check says nothing about the process: nobody could ask it."""

    __slots__ = ()


class Check:
    """One check in progress; calls done(None) when it passed, done(reason) when not, once."""

    def __init__(self, loop: EventLoop, config: HealthConfig, done: Done) -> None:
        self._loop = loop
        self._config = config
        self._done: Done | None = done
        reason = f"no answer within {config.timeout:g} s"
        self._timer = loop.call_later(config.timeout, lambda: self.finish(reason))

    def finish(self, reason: str | None) -> None:
        """Report the outcome and free everything."""
        done, self._done = self._done, None
        self.cancel()
        if done is not None:
            done(reason)

    def cancel(self) -> None:
        """End without a report."""
        self._done = None
        self._timer.cancel()
        self._release()

    def _release(self) -> None:
        raise NotImplementedError


class NetworkCheck(Check):
    """Connects by TCP and, for http, reads the status line of a GET: 2xx and 3xx pass.

    HTTP is spoken here because the library's client brings ssl and email: 6 MB.
    """

    def __init__(self, loop: EventLoop, config: HealthConfig, done: Done) -> None:
        self._socket: socket.socket | None = None
        self._received = b""
        super().__init__(loop, config, done)
        address = numeric(config.host)
        if address is not None:
            loop.call_soon(lambda: self._connect(address))
        else:
            self._resolve()

    def _resolve(self) -> None:
        # getaddrinfo may ask a name server and block for seconds, so it gets a thread.
        import threading

        def look_up() -> None:
            try:
                found = socket.getaddrinfo(self._config.host, None, type=socket.SOCK_STREAM)
                address = str(found[0][4][0])
            except OSError as error:
                reason = f"cannot resolve {self._config.host}: {error.strerror}"
                self._loop.call_from_thread(lambda: self.finish(reason))
                return
            self._loop.call_from_thread(lambda: self._connect(address))

        threading.Thread(target=look_up, daemon=True).start()

    def _connect(self, address: str) -> None:
        if self._done is None:
            return
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            self._socket.setblocking(False)
            code = self._socket.connect_ex((address, self._config.port))
        except OSError as error:
            code = error.errno or errno.EIO
        if code not in (0, errno.EINPROGRESS):
            self.finish(self._where(os.strerror(code)))
            return
        assert self._socket is not None
        self._loop.watch(self._socket.fileno(), on_write=self._connected)

    def _connected(self) -> None:
        assert self._socket is not None
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.finish(self._where(os.strerror(code)))
        elif self._config.type == "tcp":
            self.finish(None)
        else:
            self._request()

    def _request(self) -> None:
        assert self._socket is not None
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        lines = (
            f"GET {self._config.path} HTTP/1.1",
            f"Host: {host}:{self._config.port}",
            "User-Agent: process_supervisor",
            "Accept: */*",
            "Connection: close",
        )
        try:
            # A request of this size fits the empty send buffer of a new connection.
            self._socket.sendall("\r\n".join((*lines, "", "")).encode())
        except OSError as error:
            self.finish(self._where(str(error.strerror)))
            return
        self._loop.watch(self._socket.fileno(), on_read=self._answered)

    def _answered(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(4096)
        except OSError as error:
            self.finish(self._where(str(error.strerror)))
            return
        self._received += data
        line, newline, _ = self._received.partition(b"\r\n")
        if not newline and data and len(self._received) < 4096:
            return
        self.finish(judge(line))

    def _where(self, problem: str) -> str:
        return f"{self._config.host}:{self._config.port}: {problem}"

    def _release(self) -> None:
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None


class CommandCheck(Check):
    """Runs a command as the process's user: exit status 0 passes."""

    def __init__(
        self,
        loop: EventLoop,
        config: HealthConfig,
        done: Done,
        process: ProcessConfig,
        mark: int,
        pid: int,
    ) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._pidfd = self._output = -1
        self._said = b""
        super().__init__(loop, config, done)
        output, end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output, False)
        try:
            self._child = run(process, config.command, (end, end), mark, {PID_VARIABLE: str(pid)})
        except SpawnError as error:
            os.close(output)
            reason = str(error)
            loop.call_soon(lambda: self.finish(reason))
            return
        finally:
            os.close(end)
        self._output = output
        self._pidfd = os.pidfd_open(self._child.pid)
        loop.watch(output, self._read)
        loop.watch(self._pidfd, self._ended)

    def _read(self) -> None:
        try:
            data = os.read(self._output, 65536)
        except BlockingIOError:
            return
        self._said = (self._said + data)[-MOST_OUTPUT:]
        if not data:
            self._loop.unwatch(self._output)

    def _ended(self) -> None:
        assert self._child is not None
        self._read()
        # Before the wait: until then the pid, and so the group's number, cannot be another's.
        kill_group(self._child.pid)
        status = self._child.wait()
        if status == 0:
            self.finish(None)
            return
        ending = f"exited with {status}" if status > 0 else f"was killed by signal {-status}"
        said = self._said.decode("utf-8", "replace").strip()[-200:]
        self.finish(f"{self._config.command[0]} {ending}" + (f": {said}" if said else ""))

    def _release(self) -> None:
        if self._child is None or self._pidfd < 0:
            return
        self._loop.unwatch(self._output)
        os.close(self._output)
        pidfd, self._pidfd = self._pidfd, -1
        kill(self._loop, self._child, pidfd)


def kill(
    loop: EventLoop,
    child: subprocess.Popen[bytes],
    pidfd: int,
    reaped: Callable[[], object] = lambda: None,
) -> None:
    """Kill a child and its group, and reap it; closes its pidfd and calls back when it is done."""

    def reap() -> None:
        child.wait()
        loop.unwatch(pidfd)
        os.close(pidfd)
        reaped()

    if child.returncode is not None:
        reap()
        return
    kill_group(child.pid)
    # Even SIGKILL may take a while (a process in the kernel's hands), so wait in the loop.
    loop.watch(pidfd, reap)


def kill_group(pid: int) -> None:
    """Kill a process group with SIGKILL, if it is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def judge(line: bytes) -> str | None:
    """Return None for a status line that means healthy, else what is wrong with it."""
    words = line.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        return f"not an HTTP answer: {line[:60]!r}"
    status = int(words[1])
    return None if 200 <= status < 400 else f"HTTP status {status}"


def numeric(host: str) -> str | None:
    """Return an address that needs no resolver, None when the host is a name."""
    if host == "localhost":
        return "127.0.0.1"
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
            return host
        except OSError:
            continue
    return None


def no_plugin(plugin: str, done: Done) -> Running:
    """Ask nobody: for who has no plug-ins."""
    raise ValueError(f"there are no plug-ins here, so no {plugin}")


def begin(
    loop: EventLoop,
    config: HealthConfig,
    done: Done,
    process: ProcessConfig,
    mark: int,
    pid: int,
    ask: Ask = no_plugin,
) -> Running:
    """Start the check that a configuration describes; ask() asks a plug-in."""
    if config.type == "plugin":
        return ask(config.plugin, done)
    if config.type == "command":
        return CommandCheck(loop, config, done, process, mark, pid)
    return NetworkCheck(loop, config, done)
