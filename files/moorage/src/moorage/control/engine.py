"""The engine's API, as far as controlling services needs it, and not one call more.

The Docker SDK would do the same with the whole API at hand and 20 MB of memory in each gateway
(docs/control-api.md has the figures). Here a request to the engine can only be one of the
templates below: creating, exec, archive and export cannot even be expressed, and what goes into a
template is an id of 64 hexadecimal digits, a container's name or a number.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import quote

from moorage.common import dockerapi
from moorage.common.unixhttp import Answer, ConnectionFailed, Exchange, TimedOut, ask, request_bytes
from moorage.control.contract import ControlError

Verb = Literal["start", "stop", "restart"]

_ID = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,127}")
_CALL_SECONDS = 10.0
_ANSWER_BYTES = 4 << 20
_DONE, _ALREADY = 204, 304


class Engine:
    """Speaks to one engine; each call is a connection, so threads share it."""

    def __init__(self, path: str = dockerapi.SOCKET) -> None:
        """Use the socket at this path; nothing is connected yet."""
        self._path = path
        self._prefix = ""

    def inspect(self, name: str) -> dict[str, Any] | None:
        """Return what the engine knows of the container of this name, None when there is none.

        The engine also takes the beginning of an id for a name: compare `Name` and `Id`.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no container's name")
        answer = self._get(f"/containers/{name}/json")
        if answer.status == 404:
            return None
        found: dict[str, Any] = self._content(answer)
        return found

    def act(self, verb: Verb, container: str, seconds: float) -> None:
        """Start, stop or restart a container, by its id; returns when that is done."""
        target = {
            "start": f"/containers/{_id(container)}/start",
            "stop": f"/containers/{_id(container)}/stop",
            "restart": f"/containers/{_id(container)}/restart",
        }[verb]
        answer = self._ask("POST", target, seconds)
        if answer.status not in (_DONE, _ALREADY):
            self._content(answer)

    def usage(self, container: str) -> dict[str, Any]:
        """Return one reading of a container's counters, without the second for a second one."""
        found: dict[str, Any] = self._content(
            self._get(f"/containers/{_id(container)}/stats?stream=false&one-shot=true")
        )
        return found

    def logs(self, container: str, lines: int) -> Iterator[bytes]:
        """Give the last lines of both streams, in the engine's framing, each after its time."""
        target = (
            f"/containers/{_id(container)}/logs?stdout=1&stderr=1&timestamps=1&tail={int(lines)}"
        )
        return (piece for piece in self._stream(target, _CALL_SECONDS) if piece is not None)

    def follow(self, container: str, since_ns: int, quiet: float) -> Iterator[bytes | None]:
        """Give what was and is written from a time on, likewise; None after quiet seconds.

        Ends with the container.
        """
        begin = f"since={_seconds(since_ns)}"
        return self._stream(
            f"/containers/{_id(container)}/logs?stdout=1&stderr=1&timestamps=1&follow=1&{begin}",
            quiet,
        )

    def events(
        self, labels: Mapping[str, str], since_ns: int, quiet: float
    ) -> Iterator[dict[str, Any] | None]:
        """Give events of containers with these labels after a time; None after quiet seconds."""
        wanted = {
            "type": ["container"],
            "label": [f"{name}={value}" for name, value in labels.items()],
        }
        filters = quote(json.dumps(wanted, separators=(",", ":")), safe="")
        buffer = b""
        target = f"/events?since={_seconds(since_ns)}&filters={filters}"
        for piece in self._stream(target, quiet):
            if piece is None:
                yield None
                continue
            *complete, buffer = (buffer + piece).split(b"\n")
            for line in complete:
                if line:
                    yield json.loads(line)

    def _get(self, target: str) -> Answer:
        return self._ask("GET", target, _CALL_SECONDS)

    def _ask(self, method: Literal["GET", "POST"], target: str, seconds: float) -> Answer:
        request = request_bytes(method, self._version() + target, version="1.0")
        try:
            return ask(self._path, request, timeout=seconds, limit=_ANSWER_BYTES)
        except ConnectionFailed as error:
            raise _failed(error, seconds) from error

    def _stream(self, target: str, quiet: float) -> Iterator[bytes | None]:
        request = request_bytes("GET", self._version() + target, version="1.0")
        try:
            with Exchange(self._path, request, timeout=_CALL_SECONDS) as call:
                if call.status != 200:
                    body = call.read(_ANSWER_BYTES)
                    self._content(Answer(call.status, call.headers, body))
                yield from call.stream(quiet)
        except ConnectionFailed as error:
            raise _failed(error, _CALL_SECONDS) from error

    def _version(self) -> str:
        if not self._prefix:
            try:
                self._prefix = dockerapi.prefix(self._path, _CALL_SECONDS)
            except ConnectionFailed as error:
                raise _failed(error, _CALL_SECONDS) from error
        return self._prefix

    def _content(self, answer: Answer) -> Any:
        if answer.status < 300:
            try:
                return answer.json()
            except ConnectionFailed as error:
                raise _failed(error, 0) from error
        try:
            said = str(json.loads(answer.body)["message"])
        except (ValueError, KeyError, TypeError):
            said = f"the engine answered {answer.status}"
        # An upgraded engine may not speak the version of before.
        self._prefix = ""
        missing = answer.status == 404
        raise ControlError(
            "not_found" if missing else "engine_refused",
            said,
            status=404 if missing else 409 if answer.status < 500 else 502,
        )


def _seconds(nanoseconds: int) -> str:
    # Not by way of a float, which has no room for nanoseconds since 1970.
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError(f"{text!r} is no container's id")
    return text


def _failed(error: ConnectionFailed, seconds: float) -> ControlError:
    if isinstance(error, TimedOut):
        detail = f"the engine did not answer within {seconds:g} s"
        return ControlError("timeout", detail, status=504, title="No outcome in time")
    return ControlError(
        "unreachable", f"the engine: {error}", status=503, title="Engine not reachable"
    )
