"""What the control API's server and what it serves agree upon."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from moorage.control.contract import ControlError
from moorage.control.wire import Request, Response


@dataclass(frozen=True)
class Limits:
    """What clients may take. Seconds and numbers."""

    connections: int = 1000
    read_seconds: float = 5.0
    write_seconds: float = 10.0
    linger_seconds: float = 1.0
    stream_seconds: float = 300.0
    drain_seconds: float = 5.0
    reads: int = 16
    actions: int = 8
    actions_waiting: int = 32
    streams: int = 32


@dataclass(frozen=True)
class Job:
    """What a request comes down to: a complete answer, or a stream of pieces of its body."""

    kind: Literal["read", "act", "stream"]
    run: Callable[[], Response | Iterator[bytes]]
    seconds: float = 0.0


class Application(Protocol):
    """What the server serves."""

    def resolve(self, request: Request) -> Job:
        """Return what is to be done; at once, as it runs in the loop. Raises ControlError."""
        ...

    def answered(
        self,
        peer: Mapping[str, int | str],
        request: Request | None,
        status: int,
        error: ControlError | None,
    ) -> None:
        """Hear of each answer; `request` is None where it was not even well formed."""
        ...
