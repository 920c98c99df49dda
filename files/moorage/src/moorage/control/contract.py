"""The contract between those who control services and the topology that runs them.

Plain data and a protocol, standard library only: the panel, the CLI and a gateway all speak this,
and each topology has one backend that honours it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol, get_args, runtime_checkable

# Whoever asked is answered by then, also by way of a browser and a proxy in between.
PATIENCE_SECONDS = 20.0

# A proof comes every night, of a backup of the same night.
OLD_PROOF_SECONDS = 2 * 86_400.0

Action = Literal["start", "stop", "restart"]
ACTIONS: tuple[Action, ...] = get_args(Action)
GroupAction = Literal["start", "stop", "restart", "rolling-restart"]
GROUP_ACTIONS: tuple[GroupAction, ...] = get_args(GroupAction)
# Both at once are known of containers alone: a process writes them into two files.
Stream = Literal["stdout", "stderr", "all"]


class State(StrEnum):
    """What a service is doing; the supervisor's states, in which the others are expressed."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    EXITED = "exited"
    FATAL = "fatal"


class Health(StrEnum):
    """What a service's own health check says."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True)
class ExitStatus:
    """How a service last ended: a status or a signal, and when (seconds since 1970)."""

    code: int | None = None
    signal: int | None = None
    at: float | None = None


@dataclass(frozen=True)
class ServiceStatus:
    """One service as it is now. Times in seconds, memory in bytes, CPU in per cent of one core."""

    name: str
    state: State
    health: Health = Health.NONE
    wanted: Literal["up", "down"] = "up"
    pid: int | None = None
    started_at: float | None = None
    uptime: float = 0.0
    restarts: int = 0
    exit: ExitStatus | None = None
    reason: str | None = None
    cpu_percent: float | None = None
    memory_bytes: int | None = None
    ports: tuple[int, ...] = ()
    image: str | None = None
    log_tail: tuple[str, ...] = ()

    @property
    def running(self) -> bool:
        """Whether it has a process that is meant to go on."""
        return self.state in (State.RUNNING, State.STARTING)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**asdict(self), "ports": list(self.ports), "log_tail": list(self.log_tail)}


@dataclass(frozen=True)
class Event:
    """Something that happened to a service; `sequence` grows by one with each."""

    sequence: int
    at: float
    service: str
    kind: str
    message: str = ""
    who: str | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Attempt:
    """How the last backup went, or the last proof of one, and why it failed.

    ``finished`` is when; ``made`` is when the newest backup was made that is complete, or proven.
    Both in seconds since 1970, 0 where there is none.
    """

    ok: bool
    finished: float
    made: float
    message: str = ""


@dataclass(frozen=True)
class Backups:
    """What is known of a stack's backups; None of what was never tried."""

    backup: Attempt | None = None
    proof: Attempt | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def split_time(line: str) -> tuple[str, str]:
    """Take a line with a time apart; the time is empty where it is not known."""
    at, _, text = line.partition(" ")
    return "" if at == "-" else at, text


class ControlError(Exception):
    """A refused or failed request, in the fields of a problem document (RFC 9457)."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int = 409,
        title: str = "",
        service: str | None = None,
    ) -> None:
        """Keep the fields; `code` is a stable word, `detail` a sentence for a person."""
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = status
        self.title = title or code.replace("_", " ")
        self.service = service

    def to_problem(self) -> Mapping[str, Any]:
        """Return the problem document."""
        problem: dict[str, Any] = {
            "type": f"urn:moorage:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.service:
            problem["service"] = self.service
        return problem


@runtime_checkable
class ControlBackend(Protocol):
    """What a topology offers. Every method raises ControlError and is bounded in time."""

    def services(self) -> list[ServiceStatus]:
        """Return all services of the stack, in its own order."""
        ...

    def service(self, name: str) -> ServiceStatus:
        """Return one service."""
        ...

    def perform(self, action: Action, name: str, *, who: str, reason: str = "") -> ServiceStatus:
        """Do it and return the status afterwards.

        Waits for the outcome, but not longer than PATIENCE_SECONDS: what takes longer because the
        service may take longer to end goes on, and the status says so (`stopping`, and its reason).
        """
        ...

    def logs(
        self, name: str, *, stream: Stream = "stdout", lines: int = 100, times: bool = False
    ) -> list[str]:
        """Return the last lines of a service's log.

        With `times` each begins with when it was written (`2026-11-29T00:35:55.123Z`), or with `-`
        where that is not known, and a blank.
        """
        ...

    def follow(
        self, name: str, *, stream: Stream = "stdout", lines: int = 100, times: bool = False
    ) -> Iterator[str | None]:
        """Give the last lines and then each new one; None now and then, while there is none.

        The Nones let the reader find out that nobody listens any more. Close the iterator to stop.
        """
        ...

    def events(self, *, since: int = 0, limit: int = 100) -> list[Event]:
        """Return what happened after the event with this sequence number, oldest first."""
        ...


@runtime_checkable
class KnowsBackups(Protocol):
    """A backend that knows of the stack's backups."""

    def backups(self) -> Backups:
        """Return how the last one went, and its proof."""
        ...


# Of each service that depends on others: whom on, and what it waits for there.
Dependencies = dict[str, dict[str, str]]


@runtime_checkable
class KnowsDependencies(Protocol):
    """A backend that knows which service waits for which."""

    def dependencies(self) -> Dependencies:
        """Return all services that are known of, also those that wait for none."""
        ...


def dependencies_of(backend: ControlBackend) -> Dependencies:
    """Return the dependencies, none where they are not known; raises ControlError."""
    return backend.dependencies() if isinstance(backend, KnowsDependencies) else {}


# Of each group its services.
Groups = dict[str, list[str]]


@runtime_checkable
class KnowsGroups(Protocol):
    """A backend some of whose services are a group, of which one may do something to all."""

    def groups(self) -> Groups:
        """Return the groups; a service without one is in none."""
        ...

    def perform_all(
        self, action: GroupAction, group: str, *, who: str, reason: str = ""
    ) -> list[ServiceStatus]:
        """Do it and return how all of the group are afterwards; waits as `perform` does.

        `rolling-restart` restarts each when the one before is healthy, and fails at the first that
        is not; it goes on after the wait, and ends with an event.
        """
        ...


def groups_of(backend: ControlBackend) -> Groups:
    """Return the groups, none where there are no such things; raises ControlError."""
    return backend.groups() if isinstance(backend, KnowsGroups) else {}


@dataclass(frozen=True)
class Sample:
    """What a service used in a minute: its end in seconds since 1970; units as in ServiceStatus."""

    at: float
    cpu_percent: float
    memory_bytes: int


@runtime_checkable
class KnowsHistory(Protocol):
    """A backend that knows what services have used."""

    def history(self, name: str) -> list[Sample]:
        """Return the samples of the last day, oldest first; none while a service did not run."""
        ...


def history_of(backend: ControlBackend, name: str) -> list[Sample]:
    """Return what a service has used, nothing where that is not known; raises ControlError."""
    return backend.history(name) if isinstance(backend, KnowsHistory) else []


@runtime_checkable
class Announces(Protocol):
    """A backend that learns of events as they happen."""

    def wait(self, since: int, timeout: float) -> None:
        """Return when there is an event after the given one, or after so many seconds."""
        ...
