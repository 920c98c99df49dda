"""The control API's requests, each turned into one call of a backend.

The table below is all there is: no part of a request becomes part of another one. A service's
name is looked up in the stack's own list by the backend.
"""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from moorage.control import metrics
from moorage.control.arguments import number, only, query_of, stream_of, who_and_reason
from moorage.control.audit import Audit, Bucket
from moorage.control.combine import Combined
from moorage.control.contract import (
    ACTIONS,
    GROUP_ACTIONS,
    Announces,
    Backups,
    ControlBackend,
    ControlError,
    GroupAction,
    KnowsGroups,
    ServiceStatus,
    State,
    dependencies_of,
    groups_of,
    history_of,
)
from moorage.control.serving import Job
from moorage.control.sse import ALIVE, RETRY, log_stream, message
from moorage.control.wire import Refused, Request, Response, json_response

SERVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MAX_LINES = 2000
MAX_EVENTS = 500
MAX_SECONDS = 300
MAX_SINCE = 999_999_999_999_999
# How often a backend that does not announce events is asked for new ones.
_POLL_SECONDS = 1.0
_QUIET_SECONDS = 10.0


@dataclass(frozen=True)
class Rates:
    """How many actions may be asked for: at once, and a second in the long run."""

    stack_burst: float = 30
    stack_rate: float = 1.0
    service_burst: float = 6
    service_rate: float = 0.2


class Api:
    """The control API on one backend."""

    def __init__(
        self,
        backend: ControlBackend,
        *,
        stack: str,
        kind: Literal["process", "docker"],
        audit: Audit,
        rates: Rates | None = None,
        backups: Callable[[], Backups] = Backups,
    ) -> None:
        """Serve `backend`, which is of this kind; nothing is asked of it yet."""
        self._backend = backend
        self._stack = stack
        self._kind = kind
        self._audit = audit
        self._rates = rates or Rates()
        self._known_backups = backups
        self._counters = metrics.Counters()
        self._all = Combined(backend.services)
        self._list = Combined(
            lambda: json_response({"services": [s.to_dict() for s in backend.services()]})
        )
        self._stack_bucket = Bucket(self._rates.stack_burst, self._rates.stack_rate)
        self._buckets: dict[str, Bucket] = {}
        self._fixed: dict[str, Callable[[Request], Job]] = {
            "/v1/health": self._health,
            "/v1/backups": self._backups,
            "/v1/services": self._services,
            "/v1/dependencies": self._dependencies,
            "/v1/groups": self._groups,
            "/v1/events": self._events,
            "/v1/events/follow": self._follow_events,
            "/v1/metrics": self._metrics,
        }
        self._of_service: dict[str, Callable[[Request, str], Job]] = {
            "": self._service,
            "history": self._history,
            "logs": self._logs,
            "logs/follow": self._follow_logs,
        }

    def resolve(self, request: Request) -> Job:
        """Return what the request asks for; raises ControlError."""
        fixed = self._fixed.get(request.path)
        if fixed is not None:
            only(request, "GET")
            return fixed(request)
        root, _, rest = request.path.removeprefix("/v1/").partition("/")
        name, _, what = rest.partition("/")
        if root in ("services", "groups") and request.path.startswith("/v1/") and rest:
            if not SERVICE_NAME.fullmatch(name):
                raise ControlError("not_found", f"there is no {root[:-1]} {name!r}", status=404)
            if root == "groups":
                if what in GROUP_ACTIONS:
                    only(request, "POST")
                    return self._act(request, what, name, of_group=True)
                raise ControlError("not_found", "there is nothing at this path", status=404)
            if what in self._of_service:
                only(request, "GET")
                return self._of_service[what](request, name)
            if what in ACTIONS:
                only(request, "POST")
                return self._act(request, what, name)
        raise ControlError("not_found", "there is nothing at this path", status=404)

    def answered(
        self,
        peer: Mapping[str, int | str],
        request: Request | None,
        status: int,
        error: ControlError | None,
    ) -> None:
        """Count the answer; note it when the request was denied."""
        self._counters.request(status)
        if error is None or not 400 <= status < 500 or isinstance(error, _Noted):
            return
        what = f"{request.method} {request.path}" if request else "not well formed"
        self._audit.refused(peer, what, error)

    # Observation

    def _health(self, request: Request) -> Job:
        query_of(request)

        def run() -> Response:
            services = self._all.get()
            return json_response(
                {
                    "status": "ok",
                    "stack": self._stack,
                    "backend": self._kind,
                    "services": len(services),
                    "running": sum(service.running for service in services),
                }
            )

        return Job("read", run)

    def _metrics(self, request: Request) -> Job:
        query_of(request)

        def run() -> Response:
            events = self._backend.events(limit=MAX_EVENTS)
            text = metrics.text({self._stack: (self._all.get(), events)}) + self._counters.text()
            return Response(200, text.encode(), metrics.CONTENT_TYPE)

        return Job("read", run)

    def _backups(self, request: Request) -> Job:
        query_of(request)
        return Job("read", lambda: json_response(self._known_backups().to_dict()))

    def _services(self, request: Request) -> Job:
        query_of(request)
        return Job("read", self._list.get)

    def _dependencies(self, request: Request) -> Job:
        query_of(request)
        return Job("read", lambda: json_response({"dependencies": dependencies_of(self._backend)}))

    def _groups(self, request: Request) -> Job:
        query_of(request)
        return Job("read", lambda: json_response({"groups": groups_of(self._backend)}))

    def _service(self, request: Request, name: str) -> Job:
        query_of(request)
        return Job("read", lambda: json_response(self._backend.service(name).to_dict()))

    def _history(self, request: Request, name: str) -> Job:
        query_of(request)

        def run() -> Response:
            self._backend.service(name)
            found = history_of(self._backend, name)
            return json_response({"samples": [asdict(sample) for sample in found]})

        return Job("read", run)

    # Actions

    def _act(self, request: Request, action: GroupAction, name: str, of_group: bool = False) -> Job:
        query_of(request)
        who, reason = who_and_reason(request)
        peer = dict(request.peer)

        def run() -> Response:
            begun = time.monotonic()
            facts = {
                "who": who,
                "peer": peer,
                "action": action,
                # As the supervisor's command line has it.
                "service": f"{name}:" if of_group else name,
                "reason": reason,
            }
            try:
                self._audit.check()
                self._allow(name, of_group)
                found = self._perform(action, name, of_group, who, reason)
            except ControlError as error:
                result = "denied" if error.status in (404, 429) else "failed"
                self._counters.action(action, result)
                self._audit.note(
                    **facts,
                    result=result,
                    status=error.status,
                    code=error.code,
                    detail=error.detail,
                    seconds=round(time.monotonic() - begun, 3),
                )
                raise _Noted.of(error) from error
            self._counters.action(action, "done")
            seconds = round(time.monotonic() - begun, 3)
            result = "under way" if any(s.state is State.STOPPING for s in found) else "done"
            states = ", ".join(dict.fromkeys(str(status.state) for status in found))
            self._audit.note(**facts, result=result, state=states, seconds=seconds)
            every = [status.to_dict() for status in found]
            return json_response({"services": every} if of_group else every[0])

        return Job("act", run)

    def _perform(
        self, action: GroupAction, name: str, of_group: bool, who: str, reason: str
    ) -> list[ServiceStatus]:
        backend = self._backend
        if of_group and isinstance(backend, KnowsGroups):
            return backend.perform_all(action, name, who=who, reason=reason)
        assert action != "rolling-restart"
        return [backend.perform(action, name, who=who, reason=reason)]

    def _allow(self, name: str, of_group: bool) -> None:
        # Asked first, so that only services and groups of the stack get a bucket of their own.
        if not of_group:
            self._backend.service(name)
        elif name not in groups_of(self._backend):
            raise ControlError("not_found", f"there is no group {name}", status=404)
        rates = self._rates
        key = f"{name}:" if of_group else name
        bucket = self._buckets.setdefault(key, Bucket(rates.service_burst, rates.service_rate))
        seconds = bucket.take() or self._stack_bucket.take()
        if seconds:
            detail = f"too many actions on {name}: the next in {math.ceil(seconds)} s"
            raise Refused(
                "too_many_actions",
                detail,
                status=429,
                service=name,
                headers={"Retry-After": str(math.ceil(seconds))},
            )

    # Logs and events

    def _logs(self, request: Request, name: str) -> Job:
        query = query_of(request, "stream", "lines", "times")
        stream = stream_of(query)
        lines = number(query, "lines", 100, 0, MAX_LINES)
        times = bool(number(query, "times", 0, 0, 1))

        def run() -> Response:
            self._backend.service(name)
            if not lines:
                return json_response({"lines": []})
            found = self._backend.logs(name, stream=stream, lines=lines, times=times)
            return json_response({"lines": found})

        return Job("read", run)

    def _follow_logs(self, request: Request, name: str) -> Job:
        query = query_of(request, "stream", "lines", "seconds", "times")
        stream = stream_of(query)
        lines = number(query, "lines", 100, 0, MAX_LINES)
        times = bool(number(query, "times", 0, 0, 1))
        seconds = number(query, "seconds", MAX_SECONDS, 0, MAX_SECONDS)

        def run() -> Iterator[bytes]:
            self._backend.service(name)
            if not seconds:
                found = self._backend.logs(name, stream=stream, lines=lines, times=times)
                return log_stream(iter(found))
            return log_stream(self._backend.follow(name, stream=stream, lines=lines, times=times))

        return Job("stream", run, seconds)

    def _events(self, request: Request) -> Job:
        query = query_of(request, "since", "limit")
        since = number(query, "since", 0, 0, MAX_SINCE)
        limit = number(query, "limit", 100, 1, MAX_EVENTS)

        def run() -> Response:
            found = self._backend.events(since=since, limit=limit)
            return json_response({"events": [event.to_dict() for event in found]})

        return Job("read", run)

    def _follow_events(self, request: Request) -> Job:
        query = query_of(request, "since", "seconds")
        since = number(query, "since", 0, 0, MAX_SINCE)
        seconds = number(query, "seconds", MAX_SECONDS, 0, MAX_SECONDS)

        def run() -> Iterator[bytes]:
            self._backend.events(since=since, limit=1)
            return self._event_stream(since, seconds)

        return Job("stream", run, seconds)

    def _event_stream(self, since: int, seconds: int) -> Iterator[bytes]:
        end = time.monotonic() + seconds
        yield RETRY
        heard = time.monotonic()
        try:
            while True:
                for event in self._backend.events(since=since, limit=MAX_EVENTS):
                    since, heard = event.sequence, time.monotonic()
                    yield f"id: {since}\n".encode() + message("event", event.to_dict())
                now = time.monotonic()
                if now >= end:
                    return
                if now - heard >= _QUIET_SECONDS:
                    heard = now
                    yield ALIVE
                self._wait(since, min(end - now, _QUIET_SECONDS))
        except ControlError as error:
            yield message("problem", dict(error.to_problem()))

    def _wait(self, since: int, seconds: float) -> None:
        if isinstance(self._backend, Announces):
            self._backend.wait(since, seconds)
        else:
            time.sleep(min(seconds, _POLL_SECONDS))


class _Noted(Refused):
    """A refusal that is in the audit log already."""

    @classmethod
    def of(cls, error: ControlError) -> "_Noted":
        headers = error.headers if isinstance(error, Refused) else {}
        return cls(
            error.code,
            error.detail,
            status=error.status,
            title=error.title,
            service=error.service,
            headers=headers,
        )
