"""The control API over HTTP on a Unix socket, as a backend: what the panel uses of a gateway."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from moorage.common.unixhttp import Answer, ConnectionFailed, Exchange, TimedOut, ask, request_bytes
from moorage.control.contract import (
    Action,
    Attempt,
    Backups,
    ControlError,
    Dependencies,
    Event,
    ExitStatus,
    Health,
    Sample,
    ServiceStatus,
    State,
    Stream,
)

# How often a follower hears that there is nothing new, should the server itself fall silent.
QUIET_SECONDS = 15.0
_MAX_ANSWER = 64 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class HttpBackend:
    """Speaks to one server of the control API; each call is a connection, so threads share it."""

    def __init__(
        self, socket_path: str, *, timeout: float = 10.0, action_timeout: float = 180.0
    ) -> None:
        """Use the socket at this path; it need not be there yet. Actions wait for an outcome."""
        self._path = socket_path
        self._timeout = timeout
        self._action_timeout = action_timeout

    def services(self) -> list[ServiceStatus]:
        """Return all services, in the stack's order."""
        return [service_status(raw) for raw in self._get("/v1/services")["services"]]

    def service(self, name: str) -> ServiceStatus:
        """Return one service."""
        return service_status(self._get(_of(name)))

    def perform(self, action: Action, name: str, *, who: str, reason: str = "") -> ServiceStatus:
        """Start, stop or restart a service and return its status afterwards."""
        body = json.dumps({"who": who, "reason": reason}).encode("ascii")
        request = request_bytes("POST", _of(name, action), body)
        return service_status(self._call(request, self._action_timeout))

    def logs(
        self, name: str, *, stream: Stream = "stdout", lines: int = 100, times: bool = False
    ) -> list[str]:
        """Return the last lines of a service's log."""
        query = _log_query(stream, lines, times)
        try:
            found: list[str] = self._get(_of(name, "logs"), **query)["lines"]
        except ControlError as error:
            if not times or error.status != 400:
                raise
            # A gateway of before knows nothing of times.
            return [f"- {line}" for line in self.logs(name, stream=stream, lines=lines)]
        return found

    def follow(
        self, name: str, *, stream: Stream = "stdout", lines: int = 100, times: bool = False
    ) -> Iterator[str | None]:
        """Give the last lines and each new one; None now and then while there is none.

        Ends by itself when the server ends the stream, after five minutes.
        """
        target = f"{_of(name, 'logs/follow')}?{urlencode(_log_query(stream, lines, times))}"
        try:
            yield from self._follow(target)
        except ControlError as error:
            if not times or error.status != 400:
                raise
            for line in self.follow(name, stream=stream, lines=lines):
                yield line if line is None else f"- {line}"

    def _follow(self, target: str) -> Iterator[str | None]:
        try:
            with Exchange(self._path, request_bytes("GET", target), timeout=self._timeout) as call:
                if call.status != 200:
                    raise _problem(Answer(call.status, call.headers, call.read(_MAX_ANSWER)))
                yield from _lines(call.stream(QUIET_SECONDS))
        except ConnectionFailed as error:
            raise _failed(error) from error

    def events(self, *, since: int = 0, limit: int = 100) -> list[Event]:
        """Return what happened after the given event, oldest first."""
        found = self._get("/v1/events", since=since, limit=min(max(limit, 1), 500))["events"]
        return [Event(**raw) for raw in found]

    def backups(self) -> Backups:
        """Return how the last backup went, and its proof."""
        try:
            found = self._get("/v1/backups")
        except ControlError as error:
            if error.status != 404:
                raise
            # A gateway of before knows nothing of them.
            return Backups()
        return Backups(**{name: Attempt(**raw) for name, raw in found.items() if raw})

    def dependencies(self) -> Dependencies:
        """Return which service waits for which, and for what."""
        try:
            found: Dependencies = self._get("/v1/dependencies")["dependencies"]
        except ControlError as error:
            if error.status != 404:
                raise
            # A gateway of before knows nothing of them.
            return {}
        return found

    def history(self, name: str) -> list[Sample]:
        """Return what a service used over the last day."""
        try:
            found = self._get(_of(name, "history"))["samples"]
        except ControlError as error:
            # A gateway of before has nothing there, and does not say which service is meant.
            if error.status != 404 or error.service:
                raise
            return []
        return [Sample(**raw) for raw in found]

    def health(self) -> dict[str, Any]:
        """Return what the server says of itself."""
        found: dict[str, Any] = self._get("/v1/health")
        return found

    def metrics(self) -> str:
        """Return the metrics, in Prometheus' text format."""
        return self._ask(request_bytes("GET", "/v1/metrics"), self._timeout).body.decode()

    def _get(self, path: str, **query: object) -> Any:
        target = path + ("?" + urlencode(query) if query else "")
        return self._call(request_bytes("GET", target), self._timeout)

    def _call(self, request: bytes, timeout: float) -> Any:
        try:
            return self._ask(request, timeout).json()
        except ConnectionFailed as error:
            raise _failed(error) from error

    def _ask(self, request: bytes, timeout: float) -> Answer:
        try:
            answer = ask(self._path, request, timeout=timeout, limit=_MAX_ANSWER)
        except ConnectionFailed as error:
            raise _failed(error) from error
        if answer.status != 200:
            raise _problem(answer)
        return answer


def service_status(raw: Mapping[str, Any]) -> ServiceStatus:
    """Turn a service in JSON into the contract's."""
    ended = raw["exit"]
    return ServiceStatus(
        **{
            **raw,
            "state": State(raw["state"]),
            "health": Health(raw["health"]),
            "exit": ExitStatus(**ended) if ended else None,
            "ports": tuple(raw["ports"]),
            "log_tail": tuple(raw["log_tail"]),
        }
    )


def _of(name: str, what: str = "") -> str:
    if not _NAME.fullmatch(name):
        detail = f"there is no service {name!r}"
        raise ControlError("not_found", detail, status=404, service=name)
    return f"/v1/services/{name}" + (f"/{what}" if what else "")


def _log_query(stream: Stream, lines: int, times: bool) -> dict[str, object]:
    return {"stream": stream, "lines": lines, **({"times": 1} if times else {})}


def _lines(pieces: Iterator[bytes | None]) -> Iterator[str | None]:
    buffer = b""
    for piece in pieces:
        if piece is None:
            yield None
            continue
        *blocks, buffer = (buffer + piece).split(b"\n\n")
        for block in blocks:
            kind, _, data = block.partition(b"\ndata: ")
            if kind == b"event: line":
                yield str(json.loads(data))
            elif kind == b"event: problem":
                raise _from_document(json.loads(data), 502)
            elif kind.startswith(b":"):
                yield None


def _problem(answer: Answer) -> ControlError:
    try:
        document = json.loads(answer.body)
    except ValueError:
        document = None
    return _from_document(document, answer.status)


def _from_document(document: object, status: int) -> ControlError:
    if not isinstance(document, dict):
        return ControlError("protocol", f"an answer {status} without a reason", status=502)
    service = document.get("service")
    return ControlError(
        str(document.get("code", "protocol")),
        str(document.get("detail", "")),
        status=int(document.get("status", status)),
        title=str(document.get("title", "")),
        service=str(service) if service else None,
    )


def _failed(error: ConnectionFailed) -> ControlError:
    if isinstance(error, TimedOut):
        return ControlError("timeout", str(error), status=504, title="No outcome in time")
    return ControlError(
        "unreachable", str(error), status=503, title="Control service not reachable"
    )
