"""The control API for services that run under the process supervisor, by its Unix socket."""

import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from moorage.control.contract import (
    PATIENCE_SECONDS,
    Action,
    ControlError,
    Dependencies,
    Event,
    ExitStatus,
    GroupAction,
    Groups,
    Health,
    Sample,
    ServiceStatus,
    State,
    Stream,
)
from process_supervisor.control.client import Client, connect
from process_supervisor.control.client import ControlError as Refusal
from process_supervisor.control.protocol import decode, encode

Read = TypeVar("Read")
_BEYOND = 1 << 63

# How often a follower hears that there is nothing new.
QUIET_SECONDS = 1.0
# What each of a group may take to become healthy in a rolling restart.
ROLLING_SECONDS = 60.0
_STATUS = {
    "bad-request": (400, "Bad request"),
    "not-found": (404, "No such service"),
    "conflict": (409, "Not possible now"),
    "config": (409, "Configuration refused"),
    "failed": (409, "Did not get well"),
    "timeout": (504, "No outcome in time"),
    "unreachable": (503, "Supervisor not reachable"),
    "protocol": (502, "Answer not understood"),
}


class ProcessBackend:
    """Speaks to one supervisor; safe to share between threads, as each call is a connection."""

    def __init__(self, socket_path: str, *, timeout: float = 5.0) -> None:
        """Use the socket at this path; it need not be there yet."""
        self._path = socket_path
        self._client = Client(socket_path, timeout=timeout)
        self._timeout = timeout

    def services(self) -> list[ServiceStatus]:
        """Return all processes, in the order of the configuration."""
        try:
            return [_understood(service_status, raw) for raw in _entries(self._client.status())]
        except Refusal as error:
            raise _problem(error) from error

    def service(self, name: str) -> ServiceStatus:
        """Return one process."""
        try:
            return _understood(service_status, self._client.status(name))
        except Refusal as error:
            raise _problem(error, name) from error

    def perform(self, action: Action, name: str, *, who: str, reason: str = "") -> ServiceStatus:
        """Start, stop or restart a process and return its status afterwards."""
        verbs = {
            "start": self._client.start,
            "stop": self._client.stop,
            "restart": self._client.restart,
        }
        try:
            act = verbs[action]
            raw = act(name, who=who, reason=reason or None, wait=PATIENCE_SECONDS)
        except Refusal as error:
            if error.code != "timeout":
                raise _problem(error, name) from error
        else:
            return _understood(service_status, raw)
        # It goes on, for as long as the process may take, unless the supervisor does not answer.
        return self.service(name)

    def groups(self) -> Groups:
        """Return the groups of the configuration."""
        found: Groups = {}
        try:
            for raw in _entries(self._client.status(usage=False)):
                name, group = _understood(_grouped, raw)
                if group:
                    found.setdefault(group, []).append(name)
        except Refusal as error:
            raise _problem(error) from error
        return found

    def perform_all(
        self, action: GroupAction, group: str, *, who: str, reason: str = ""
    ) -> list[ServiceStatus]:
        """Do it to all of a group, or one after the other, and return their status afterwards."""
        wait = ROLLING_SECONDS if action == "rolling-restart" else PATIENCE_SECONDS
        facts = {"name": f"{group}:", "who": who, "reason": reason or None, "wait": wait}
        try:
            try:
                op = action.replace("-", "_")
                found = self._client.call(op, PATIENCE_SECONDS - self._timeout, **facts)
            except Refusal as error:
                if error.code != "timeout":
                    raise
                found = self._client.status(f"{group}:")  # it goes on
            return [_understood(service_status, raw) for raw in _entries(found)]
        except Refusal as error:
            raise _problem(error) from error

    def logs(
        self, name: str, *, stream: Stream = "stdout", lines: int = 100, times: bool = False
    ) -> list[str]:
        """Return the last lines of a process's log."""
        _one_file(name, stream)
        try:
            found = [str(line) for line in _entries(self._client.logs(name, stream, lines))]
        except Refusal as error:
            raise _problem(error, name) from error
        return [f"- {line}" for line in found] if times else found

    def follow(
        self, name: str, *, stream: Stream = "stdout", lines: int = 100, times: bool = False
    ) -> Iterator[str | None]:
        """Give the last lines and each new one; None after QUIET_SECONDS without one."""
        _one_file(name, stream)
        try:
            for line in self._follow({"name": name, "stream": stream, "lines": lines}):
                # The supervisor keeps what a process writes as it is, without a time.
                yield line if line is None or not times else f"- {line}"
        except Refusal as error:
            raise _problem(error, name) from error

    def dependencies(self) -> Dependencies:
        """Return which process waits for which, and for what."""
        try:
            found = _entries(self._client.status(usage=False))
            return dict(_understood(_needs, raw) for raw in found)
        except Refusal as error:
            raise _problem(error) from error

    def history(self, name: str) -> list[Sample]:
        """Return what a process used over the last day."""
        try:
            found = self._client.history(name)
            return _understood(_samples, found)
        except Refusal as error:
            # A supervisor of before has no such operation.
            if error.code == "bad-request":
                return []
            raise _problem(error, name) from error

    def events(self, *, since: int = 0, limit: int = 100) -> list[Event]:
        """Return the supervisor's events after the given one, oldest first."""
        try:
            found = _entries(self._client.events(since=since, limit=limit))
            return [_understood(_event, raw) for raw in found]
        except Refusal as error:
            raise _problem(error) from error

    def _follow(self, args: dict[str, object]) -> Iterator[str | None]:
        # The client's own `follow` waits without end; a web server must notice a reader who left.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(self._timeout)
            try:
                connect(connection, self._path)
                connection.sendall(encode({"id": 1, "op": "follow", "args": args}))
                connection.settimeout(QUIET_SECONDS)
                yield from _lines(connection)
            except OSError as error:
                raise Refusal("unreachable", f"{self._path}: {error.strerror or error}") from error


def _understood(read: Callable[[Any], Read], raw: Any) -> Read:
    """Read a part of an answer: whoever has the socket may say anything."""
    try:
        return read(raw)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise Refusal("protocol", f"not what a supervisor answers: {error!r}"[:200]) from None


def _entries(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise Refusal("protocol", "not what a supervisor answers: a list is wanted")
    return found


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> float | None:
    if value is None:
        return None
    # Neither infinite nor none at all nor of a thousand digits.
    if not -_BEYOND < value < _BEYOND:
        raise ValueError("a number beyond reason")
    return float(value)


def _whole(value: Any) -> int | None:
    found = _number(value)
    return None if found is None else int(found)


def _one_file(name: str, stream: Stream) -> None:
    if stream == "all":
        detail = f"{name} writes stdout and stderr into two files: ask for one of them"
        raise ControlError("conflict", detail, title="Not possible now", service=name)


def _lines(connection: socket.socket) -> Iterator[str | None]:
    buffer = b""
    while True:
        try:
            data = connection.recv(65536)
        except TimeoutError:
            yield None
            continue
        if not data:
            raise Refusal("unreachable", "the supervisor has ended the log")
        *complete, buffer = (buffer + data).split(b"\n")
        for line in complete:
            message = decode(line)
            if "line" in message:
                yield str(message["line"])
            elif not message.get("ok"):
                error = message.get("error")
                fields = error if isinstance(error, dict) else {}
                raise Refusal(str(fields.get("code")), str(fields.get("message")))


def service_status(raw: Mapping[str, Any]) -> ServiceStatus:
    """Turn the supervisor's status of one process into the contract's."""
    ended = raw.get("exit")
    return ServiceStatus(
        name=str(raw["name"]),
        state=State(raw["state"].lower()),
        health=Health(raw.get("health") or "none"),
        wanted="down" if raw.get("wanted") == "down" else "up",
        pid=_whole(raw.get("pid")),
        started_at=_number(raw.get("started_at")),
        uptime=_number(raw.get("uptime")) or 0.0,
        restarts=_whole(raw.get("restarts")) or 0,
        exit=ExitStatus(ended.get("code"), ended.get("signal"), ended.get("at")) if ended else None,
        reason=_text(raw.get("reason")),
        cpu_percent=_number(raw.get("cpu_percent")),
        memory_bytes=_whole(raw.get("memory_bytes")),
        ports=tuple(raw.get("ports") or ()),
        log_tail=tuple(raw.get("log_tail") or ()),
    )


def _needs(raw: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    needs = raw.get("depends_on") or {}
    return str(raw["name"]), {str(name): str(how) for name, how in needs.items()}


def _grouped(raw: Mapping[str, Any]) -> tuple[str, str]:
    return str(raw["name"]), str(raw.get("group") or "")


def _samples(raw: Mapping[str, Any]) -> list[Sample]:
    return [
        Sample(_number(at) or 0.0, _number(percent) or 0.0, _whole(size) or 0)
        for at, percent, size in raw["samples"]
    ]


def _event(raw: Mapping[str, Any]) -> Event:
    known = {"seq", "at", "event", "process", "who", "reason", "from", "to", "exit"}
    facts = [f"{name} {value}" for name, value in raw.items() if name not in known]
    if "to" in raw:
        facts.insert(0, f"{raw.get('from', '')} → {raw['to']}".lower())
    return Event(
        sequence=_whole(raw["seq"]) or 0,
        at=_number(raw["at"]) or 0.0,
        service=str(raw.get("process") or ""),
        kind=str(raw["event"]),
        message=", ".join(facts),
        who=_text(raw.get("who")),
        reason=_text(raw.get("reason")),
    )


def _problem(error: Refusal, service: str | None = None) -> ControlError:
    status, title = _STATUS.get(error.code, (500, "Failed"))
    code = error.code.replace("-", "_")
    return ControlError(code, error.message, status=status, title=title, service=service)
