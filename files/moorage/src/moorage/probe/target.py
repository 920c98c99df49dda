"""What is asked and what came back: the plain data of the prober."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

#: What can go wrong with a request. ``status``: answered, but outside of what is expected.
FAILURES = ("refused", "reset", "timeout", "status", "protocol", "other")

#: The outcome of a request that was due and could not be sent in time.
UNSENT = "unsent"


@dataclass(frozen=True)
class Target:
    """One thing to ask for: a path of a service at an address, and the status codes that are well.

    ``host`` is the Host header, ``address:port`` when empty; ``expect`` an inclusive range.
    """

    service: str
    address: str
    port: int
    path: str
    method: str = "GET"
    host: str = ""
    expect: tuple[int, int] = (200, 399)

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Target:
        """Return the target that `to_dict` has written."""
        return cls(**{**entry, "expect": (int(entry["expect"][0]), int(entry["expect"][1]))})

    def to_dict(self) -> dict[str, Any]:
        """Return the target as plain data."""
        return asdict(self)

    def request(self, *, keep_alive: bool) -> bytes:
        """Return the request as it is sent (HTTP/1.1, RFC 9112)."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        lines = [
            f"{self.method} {self.path} HTTP/1.1",
            f"Host: {self.host or f'{address}:{self.port}'}",
            "User-Agent: moorage-probe",
            "Accept: */*",
            f"Connection: {'keep-alive' if keep_alive else 'close'}",
        ]
        if self.method in ("POST", "PUT", "PATCH"):
            lines.append("Content-Length: 0")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def __str__(self) -> str:
        return f"{self.service}: {self.method} http://{self.address}:{self.port}{self.path}"


class Sample(NamedTuple):
    """One request: when it was sent and ended (monotonic seconds), which target, how it ended.

    ``kind`` is empty for a success, else one of `FAILURES` or `UNSENT`; ``detail`` says what was
    seen. ``retried``: a kept-alive connection had been closed by the server, and the request was
    sent again on a fresh one. ``peer`` is who has answered, where the edge says it.
    """

    sent: float
    ended: float
    target: int
    kind: str = ""
    retried: bool = False
    detail: str = ""
    peer: str = ""


class Busy(NamedTuple):
    """A stretch of time (monotonic seconds) in which the host had no time to spare, and why."""

    began: float
    ended: float
    why: str


@dataclass(frozen=True)
class Figures:
    """What the requests of one window came to; times in milliseconds, ``seconds`` is its length.

    - ``requests``: sent ones whose end is known; ``pending``: sent ones that are still open.
    - ``failed``: how many, by kind; ``unsent``: due ones that could not be sent in time.
    - ``retried``: successes and failures that took a second connection (see `Sample`).
    - percentiles (nearest rank) are those of the successes; None without any.
    - ``longest_gap_ms``: the longest time that some service was without a success.
    - ``incomplete``: why the figures do not cover the whole window; empty when they do.
    - ``strained``: how many took most of their time while the host had none to spare, and
      ``strained_timeouts`` how many of these timed out; ``calm_p99_ms`` is of the successes among
      the others, and ``third_ms`` the third longest of them, or the shortest of fewer.
      ``half_ms``: what half of all requests did not exceed, a timeout being endless.
    - ``busy``: in what share of the window that was so; ``busy_why`` says what was seen.
    """

    requests: int
    failed: dict[str, int]
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    longest_gap_ms: float | None
    seconds: float
    examples: list[str]
    retried: int = 0
    unsent: int = 0
    pending: int = 0
    incomplete: str = ""
    max_ms: float | None = None
    strained: int = 0
    strained_timeouts: int = 0
    calm_p99_ms: float | None = None
    third_ms: float | None = None
    half_ms: float | None = None
    busy: float = 0.0
    busy_why: str = ""

    @property
    def failures(self) -> int:
        """How many requests failed, whatever the kind."""
        return sum(self.failed.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as a receipt holds them."""
        return {
            "requests": self.requests,
            "failed": dict(self.failed),
            "retried": self.retried,
            "unsent": self.unsent,
            "pending": self.pending,
            "p50_ms": self.p50_ms,
            "p95_ms": self.p95_ms,
            "p99_ms": self.p99_ms,
            "max_ms": self.max_ms,
            "longest_gap_ms": self.longest_gap_ms,
            "seconds": self.seconds,
            "examples": list(self.examples),
            "incomplete": self.incomplete,
            "busy": self.busy,
            "busy_why": self.busy_why,
        }
