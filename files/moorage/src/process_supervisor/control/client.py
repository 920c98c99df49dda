"""A client of the control socket: what the panel, the `moorage` command and the CLI use."""

from __future__ import annotations

import os
import socket
import time

from process_supervisor.config.places import DEFAULT_SOCKET, SOCKET_VARIABLE
from process_supervisor.control.protocol import ControlError, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["Client", "ControlError", "connect", "default_socket"]

# Far more than any answer has. Who has taken the socket's place could else fill our memory.
_LIMIT_BYTES = 32 * 2**20


def default_socket() -> str:
    """Return the socket's path from PROCESS_SUPERVISOR_SOCKET, else the usual one."""
    return os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET


def connect(connection: socket.socket, path: str) -> None:
    """Connect to the socket of this name, never to one that a link there leads to.

    Who may write the directory could else have root give its orders to somebody else's supervisor.
    """
    place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{place}")
    finally:
        os.close(place)


class Client:
    """Speaks to one supervisor; every call opens a connection of its own, so it is thread-safe.

    timeout is the seconds that the supervisor may take for an answer; calls that wait for an
    outcome (start, stop, restart) may take `wait` seconds more.
    """

    def __init__(self, path: str | None = None, timeout: float = 5.0) -> None:
        self.path = path or default_socket()
        self.timeout = timeout

    def call(self, op: str, extra_time: float = 0.0, **args: object) -> Any:
        """Send one request and return its result; raises ControlError."""
        given = {key: value for key, value in args.items() if value is not None}
        seconds = self.timeout + extra_time
        deadline = time.monotonic() + seconds
        with self._connect(seconds) as connection:
            self._send(connection, op, given)
            for message in self._messages(connection, deadline):
                return self._result(message)
        raise ControlError("protocol", f"{self.path}: closed the connection without an answer")

    def status(self, name: str | None = None, usage: bool = True) -> Any:
        """Return the status of one process (a dict), a group or all of them (a list of dicts).

        Without `usage` their CPU share and memory are left out, which take the most time.
        """
        return self.call("status", name=name, usage=None if usage else False)

    def start(
        self, name: str, who: str | None = None, reason: str | None = None, wait: float = 30.0
    ) -> Any:
        """Start a process, wait until it runs or cannot, and return its status.

        As with all of these, `GROUP:` or `GROUP:*` names a whole group: the result is a list then.
        """
        return self._act("start", name, who, reason, wait)

    def stop(
        self, name: str, who: str | None = None, reason: str | None = None, wait: float = 60.0
    ) -> Any:
        """Stop a process and keep it stopped; return its status once it is."""
        return self._act("stop", name, who, reason, wait)

    def restart(
        self, name: str, who: str | None = None, reason: str | None = None, wait: float = 60.0
    ) -> Any:
        """Stop a process if it runs, start it, and return its status."""
        return self._act("restart", name, who, reason, wait)

    def rolling_restart(
        self, name: str, who: str | None = None, reason: str | None = None, wait: float = 60.0
    ) -> Any:
        """Restart a group's processes, the next when the one before is well; return the statuses.

        `wait` is the seconds that each may take. Raises ControlError("failed") at the first that
        does not get healthy; the rest is left as it was.
        """
        found = self.status(name, usage=False)
        count = len(found) if isinstance(found, list) else 1
        return self.call(
            "rolling_restart", extra_time=wait * count, name=name, who=who, reason=reason, wait=wait
        )

    def reload(self, who: str | None = None, reason: str | None = None) -> dict[str, list[str]]:
        """Read the configuration file again; only processes whose settings changed restart."""
        result: dict[str, list[str]] = self.call("reload", who=who, reason=reason)
        return result

    def reopen(self) -> dict[str, Any]:
        """Open the log files anew, after something else has moved them away."""
        result: dict[str, Any] = self.call("reopen")
        return result

    def signal(self, name: str, signal: str, who: str | None = None) -> dict[str, Any]:
        """Send a signal, such as `HUP`, to the main process; return the status."""
        result: dict[str, Any] = self.call("signal", name=name, signal=signal, who=who)
        return result

    def logs(self, name: str, stream: str = "stdout", lines: int = 100) -> list[str]:
        """Return the last lines of a process's log file, across the rotated ones."""
        result: list[str] = self.call("logs", name=name, stream=stream, lines=lines)
        return result

    def log_times(self, name: str) -> dict[str, dict[str, str]]:
        """Return each stream's file, and marks of times in it: see output/times.py."""
        result: dict[str, dict[str, str]] = self.call("log_times", name=name)
        return result

    def history(self, name: str) -> dict[str, Any]:
        """Return `samples` of the last day, a minute each: time, CPU in per cent, bytes."""
        result: dict[str, Any] = self.call("history", name=name)
        return result

    def follow(self, name: str, stream: str = "stdout", lines: int = 10) -> Iterator[str]:
        """Yield the last lines and then each new one until the supervisor goes away."""
        with self._connect(self.timeout) as connection:
            self._send(connection, "follow", {"name": name, "stream": stream, "lines": lines})
            for message in self._messages(connection):
                connection.settimeout(None)
                if "line" in message:
                    yield str(message["line"])
                else:
                    self._result(message)

    def events(
        self, since: int = 0, limit: int = 100, after: float | None = None
    ) -> list[dict[str, Any]]:
        """Return the newest events whose `seq` is greater than since, oldest first.

        `after` is unix time: none before it.
        """
        result: list[dict[str, Any]] = self.call("events", since=since, limit=limit, after=after)
        return result

    def info(self) -> dict[str, Any]:
        """Return facts about the supervisor itself: pid, guardian's pid, versions, start time."""
        result: dict[str, Any] = self.call("info")
        return result

    def plugins(self) -> list[dict[str, Any]]:
        """Return the plug-ins: pid, what they do, calls, starts, trouble."""
        result: list[dict[str, Any]] = self.call("plugins")
        return result

    def alerts(self) -> dict[str, Any]:
        """Return `alerts` (what is wrong), `silences` (until when) and `channels`."""
        result: dict[str, Any] = self.call("alerts")
        return result

    def silence(
        self, name: str | None = None, seconds: float = 3600.0, who: str | None = None
    ) -> dict[str, Any]:
        """Tell nothing of a process, or of all, for so long; 0 ends that."""
        result: dict[str, Any] = self.call("silence", name=name, seconds=seconds, who=who)
        return result

    def test_alert(self, channel: str, who: str | None = None) -> dict[str, Any]:
        """Send a test message; the result says whether it was `sent`, and the `trouble` if not."""
        result: dict[str, Any] = self.call("test_alert", extra_time=60.0, channel=channel, who=who)
        return result

    def shutdown(self, who: str | None = None, reason: str | None = None) -> dict[str, Any]:
        """Ask the supervisor to stop everything, dependants first, and to end."""
        result: dict[str, Any] = self.call("shutdown", who=who, reason=reason)
        return result

    def _act(self, op: str, name: str, who: str | None, reason: str | None, wait: float) -> Any:
        return self.call(op, extra_time=wait, name=name, who=who, reason=reason, wait=wait)

    def _connect(self, timeout: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connect(connection, self.path)
        except OSError as error:
            connection.close()
            raise ControlError(
                "unreachable", f"no supervisor answers at {self.path}: {error.strerror or error}"
            ) from error
        return connection

    def _send(self, connection: socket.socket, op: str, args: dict[str, object]) -> None:
        try:
            connection.sendall(encode({"id": 1, "op": op, "args": args}))
        except OSError as error:
            raise ControlError("unreachable", f"{self.path}: {error}") from error

    def _messages(
        self, connection: socket.socket, deadline: float | None = None
    ) -> Iterator[dict[str, Any]]:
        buffer = b""
        while True:
            if len(buffer) > _LIMIT_BYTES:
                raise ControlError("protocol", f"{self.path}: an answer without an end")
            try:
                if deadline is not None:
                    # For all of it: byte by byte it would else never end.
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise TimeoutError
                    connection.settimeout(left)
                data = connection.recv(65536)
            except TimeoutError as error:
                raise ControlError("timeout", f"{self.path}: no answer in time") from error
            except OSError as error:
                raise ControlError("unreachable", f"{self.path}: {error}") from error
            if not data:
                return
            *complete, buffer = (buffer + data).split(b"\n")
            for line in complete:
                yield decode(line)

    @staticmethod
    def _result(message: dict[str, Any]) -> Any:
        if message.get("ok"):
            return message.get("result")
        given = message.get("error")
        error = given if isinstance(given, dict) else {}
        raise ControlError(str(error.get("code", "protocol")), str(error.get("message", message)))
