"""One way to a control API, whatever answers at the socket."""

import os
import threading
from collections.abc import Iterator
from typing import Final

from moorage.common.unixhttp import ConnectionFailed, Exchange, NotHttp, TimedOut, request_bytes
from moorage.control.contract import (
    Action,
    Backups,
    ControlBackend,
    ControlError,
    Dependencies,
    Event,
    KnowsBackups,
    Sample,
    ServiceStatus,
    Stream,
    dependencies_of,
    history_of,
)
from moorage.control.http import HttpBackend
from moorage.control.merged import MergedBackend, Part
from moorage.control.process import ProcessBackend

VARIABLE: Final = "MOORAGE_CONTROL_SOCKET"
DEFAULT: Final = "/run/supervisor/control.sock"
_HTTP: Final = "unix+http://"
_SUPERVISOR: Final = "unix+supervisor://"


def connect(address: str | None = None, *, timeout: float = 5.0) -> ControlBackend:
    """Return the backend for an address; nothing is connected before the first call.

    Without an address it is MOORAGE_CONTROL_SOCKET's. `unix+http://PATH` is a gateway,
    `unix+supervisor://PATH` a process supervisor, and a bare PATH whichever of them answers there.
    Two of them with a comma between are shown as one.
    """
    address = address or os.environ.get(VARIABLE) or DEFAULT
    first, comma, second = address.partition(",")
    if comma:
        one, two = connect(first, timeout=timeout), connect(second, timeout=timeout)
        return MergedBackend(Part("supervisor", one), Part("gateway", two))
    if address.startswith(_HTTP):
        return HttpBackend(address.removeprefix(_HTTP), timeout=timeout)
    if address.startswith(_SUPERVISOR):
        return ProcessBackend(address.removeprefix(_SUPERVISOR), timeout=timeout)
    if not address.startswith("/"):
        raise ValueError(
            f"{VARIABLE}: {address!r} is neither a path nor {_HTTP}PATH nor {_SUPERVISOR}PATH"
        )
    return _Either(address, timeout)


class _Either:
    """Finds out at the first call that reaches somebody."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._lock = threading.Lock()
        self._found: ControlBackend | None = None

    def services(self) -> list[ServiceStatus]:
        return self._backend().services()

    def service(self, name: str) -> ServiceStatus:
        return self._backend().service(name)

    def perform(self, action: Action, name: str, *, who: str, reason: str = "") -> ServiceStatus:
        return self._backend().perform(action, name, who=who, reason=reason)

    def logs(
        self, name: str, *, stream: Stream = "stdout", lines: int = 100, times: bool = False
    ) -> list[str]:
        return self._backend().logs(name, stream=stream, lines=lines, times=times)

    def follow(
        self, name: str, *, stream: Stream = "stdout", lines: int = 100, times: bool = False
    ) -> Iterator[str | None]:
        return self._backend().follow(name, stream=stream, lines=lines, times=times)

    def events(self, *, since: int = 0, limit: int = 100) -> list[Event]:
        return self._backend().events(since=since, limit=limit)

    def backups(self) -> Backups:
        found = self._backend()
        return found.backups() if isinstance(found, KnowsBackups) else Backups()

    def dependencies(self) -> Dependencies:
        return dependencies_of(self._backend())

    def history(self, name: str) -> list[Sample]:
        return history_of(self._backend(), name)

    def _backend(self) -> ControlBackend:
        with self._lock:
            if self._found is None:
                if speaks_http(self._path, self._timeout):
                    self._found = HttpBackend(self._path, timeout=self._timeout)
                else:
                    self._found = ProcessBackend(self._path, timeout=self._timeout)
            return self._found


def speaks_http(path: str, timeout: float) -> bool:
    """Return whether HTTP is answered at this socket; raises ControlError when nothing is.

    The question is a request of HTTP, which a supervisor refuses with a line of JSON.
    """
    try:
        Exchange(path, request_bytes("GET", "/v1/events?limit=1"), timeout=timeout).close()
    except NotHttp:
        return False
    except TimedOut as error:
        raise ControlError("timeout", str(error), status=504, title="No outcome in time") from error
    except ConnectionFailed as error:
        raise ControlError(
            "unreachable", str(error), status=503, title="Control service not reachable"
        ) from error
    return True
