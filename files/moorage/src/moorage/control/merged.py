"""Several control APIs as one: the supervisor's processes, and the containers beside them."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

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
    State,
    Stream,
    dependencies_of,
    history_of,
)

# A number of the merged events holds the numbers of both up to there; it stays exact in JSON.
_RADIX = 10**8


@dataclass(frozen=True)
class Part:
    """One of them; what is not known while it is silent is told under its name."""

    name: str
    backend: ControlBackend


class MergedBackend:
    """Asks two backends; safe to share between threads if they are.

    A service is that one's who knows it. One that does not answer is a service of its own, with
    the reason, and does not hide the other.
    """

    def __init__(self, first: Part, second: Part) -> None:
        """Ask nothing yet. Where both know a name it is the first one's."""
        self.parts = (first, second)

    def services(self) -> list[ServiceStatus]:
        """Return the services of both; raises ControlError when neither answers."""
        found: list[ServiceStatus] = []
        troubles: list[ControlError] = []
        for part in self.parts:
            try:
                own = part.backend.services()
            except ControlError as trouble:
                troubles.append(trouble)
                own = [_silent(part.name, trouble)]
            known = {status.name for status in found}
            found += [status for status in own if status.name not in known]
        if len(troubles) == len(self.parts):
            raise troubles[0]
        return found

    def service(self, name: str) -> ServiceStatus:
        """Return one service."""
        return self._of(name)[1]

    def perform(self, action: Action, name: str, *, who: str, reason: str = "") -> ServiceStatus:
        """Have the one that knows the service do it."""
        return self._of(name)[0].perform(action, name, who=who, reason=reason)

    def logs(
        self, name: str, *, stream: Stream = "stdout", lines: int = 100, times: bool = False
    ) -> list[str]:
        """Return the last lines of a service's log."""
        return self._of(name)[0].logs(name, stream=stream, lines=lines, times=times)

    def follow(
        self, name: str, *, stream: Stream = "stdout", lines: int = 100, times: bool = False
    ) -> Iterator[str | None]:
        """Give the last lines and each new one."""
        yield from self._of(name)[0].follow(name, stream=stream, lines=lines, times=times)

    def events(self, *, since: int = 0, limit: int = 100) -> list[Event]:
        """Return what happened in both after the given event, oldest first."""
        marks = list(divmod(since, _RADIX))
        lists: list[list[Event]] = []
        troubles: list[ControlError] = []
        for part, mark in zip(self.parts, marks, strict=True):
            try:
                lists.append(part.backend.events(since=mark, limit=limit))
            except ControlError as trouble:
                troubles.append(trouble)
                lists.append([])
        if len(troubles) == len(self.parts):
            raise troubles[0]
        return _merged(lists, marks)[-limit:]

    def backups(self) -> Backups:
        """Return what the one says that knows of them."""
        for part in self.parts:
            with suppress(ControlError):
                backend = part.backend
                found = backend.backups() if isinstance(backend, KnowsBackups) else Backups()
                if found != Backups():
                    return found
        return Backups()

    def dependencies(self) -> Dependencies:
        """Return what both know of them; raises ControlError when one does not answer."""
        first, second = (dependencies_of(part.backend) for part in self.parts)
        return second | first

    def history(self, name: str) -> list[Sample]:
        """Return what a service used over the last day."""
        return history_of(self._of(name)[0], name)

    def _of(self, name: str) -> tuple[ControlBackend, ServiceStatus]:
        """Return who knows a service, and its status; raises what the last one said."""
        trouble: ControlError | None = None
        for part in self.parts:
            try:
                return part.backend, part.backend.service(name)
            except ControlError as found:
                # That one does not know it says less than that the other one does not answer.
                if trouble is None or trouble.code == "not_found":
                    trouble = found
        assert trouble is not None
        raise trouble


def _merged(lists: Sequence[list[Event]], marks: Sequence[int]) -> list[Event]:
    """Return both by time, each in its own order, with numbers that hold those of both."""
    left = [list(events) for events in lists]
    at = [
        events[0].sequence - 1 if events else mark for events, mark in zip(left, marks, strict=True)
    ]
    found = []
    while any(left):
        number = min((n for n in range(len(left)) if left[n]), key=lambda n: left[n][0].at)
        event = left[number].pop(0)
        at[number] = event.sequence
        found.append(replace(event, sequence=at[0] * _RADIX + at[1]))
    return found


def _silent(name: str, trouble: ControlError) -> ServiceStatus:
    reason = f"does not answer, so what it knows of is not shown: {trouble.detail}"
    return ServiceStatus(name=name, state=State.FATAL, reason=reason)
