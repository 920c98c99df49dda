"""A load in a process of its own, and what it saw; see loadgen.py for what it sends."""

from __future__ import annotations

import http.client
import json
import math
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from support import wait_until

_GENERATOR = Path(__file__).with_name("loadgen.py")
_LONG = {"download", "events", "websocket"}
# Each of them is one request in some dozens.
_SURE_OF_ALL_KINDS = 600
# Longer than the longest download, its timeout included, on a machine that has little time.
_END_SECONDS = 60
# As many at once as show what two processors can do.
_ASKING = 8
# Of what the machine can serve: the rest is for what is done meanwhile, builds and starts.
_SHARE = 0.3


@dataclass(frozen=True)
class Seen:
    """Requests, in the order in which they ended.

    ``share`` of those that were wished for were meant to be sent, and ``due`` in that time.
    """

    requests: Sequence[dict[str, Any]]
    share: float = 1.0
    due: float = math.inf

    def between(self, start: float, end: float) -> Seen:
        """Return those that were sent within this time."""
        return Seen([r for r in self.requests if start <= r["at"] <= end], self.share, self.due)

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Return those without a right answer."""
        return [r for r in self.requests if r["outcome"] != "ok"]

    @property
    def versions(self) -> set[str]:
        """Return the versions that have answered."""
        return {r["version"] for r in self.requests if r["version"]}

    @property
    def retried(self) -> int:
        """Return how many were sent again after a kept connection had been closed."""
        return sum(r["retried"] for r in self.requests)

    def percentile(self, share: float) -> float:
        """Return a percentile (nearest rank) in ms of all answers that are meant to be short."""
        times = sorted(r["ms"] for r in self.requests if r["kind"] not in _LONG)
        return float(times[max(0, math.ceil(share * len(times)) - 1)]) if times else math.nan

    @property
    def longest_gap(self) -> float:
        """Return the longest time in ms without a right answer to a short request."""
        short = (r for r in self.requests if r["outcome"] == "ok" and r["kind"] not in _LONG)
        ends = sorted(r["at"] + r["ms"] / 1000 for r in short)
        return max((b - a for a, b in pairwise(ends)), default=math.inf) * 1000

    def summary(self) -> str:
        """Return one line for a person."""
        kinds = Counter(r["outcome"] for r in self.failed)
        wrong = ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "none"
        late = max((r["late_ms"] for r in self.requests), default=0.0)
        return (
            f"{len(self.requests)} requests, failed: {wrong}, retried: {self.retried}, "
            f"p50 {self.percentile(0.5):.1f} ms, p99 {self.percentile(0.99):.1f} ms, "
            f"longest gap {self.longest_gap:.0f} ms (sent at most {late:.0f} ms late)"
        )

    def assert_none_failed(self, at_least: int, kinds: Collection[str] = _LONG) -> None:
        """Make sure that so many were sent and all were answered rightly.

        What went on meanwhile may have been over sooner than that takes: then half of what was due
        in that time is enough. ``kinds`` have to be among them where enough were sent for that to
        be certain: which one is next is chance.
        """
        shown = [{k: r[k] for k in ("at", "kind", "ms", "outcome", "detail")} for r in self.failed]
        assert not shown, f"{self.summary()}; the first: {shown[:8]}"
        wanted = min(at_least * self.share, self.due / 2)
        assert len(self.requests) >= wanted, f"{self.summary()}; {wanted:.0f} were wanted"
        sure = len(self.requests) >= _SURE_OF_ALL_KINDS
        missing = set(kinds) - {r["kind"] for r in self.requests} if sure else set()
        assert not missing, f"none of these kinds was sent: {sorted(missing)}"


class Load:
    """A load that is running."""

    def __init__(self, log: Path, rate: float, share: float) -> None:
        self._log = log
        self._rate = rate
        self._share = share
        self._began = time.monotonic()
        self._ended: Seen | None = None

    @property
    def seen(self) -> Seen:
        """Return what has ended until now."""
        if self._ended is not None:
            return self._ended
        # The last line may be on its way.
        lines = self._log.read_text(encoding="utf-8").split("\n")[:-1]
        due = self._rate * (time.monotonic() - self._began)
        return Seen([json.loads(line) for line in lines], self._share, due)

    def end(self, seconds: float) -> None:
        """Keep what was seen: nothing more comes, and it was sent in so many seconds."""
        self._ended = replace(self.seen, due=self._rate * seconds)

    def wait_for(self, number: int, seconds: float = 120) -> None:
        """Wait until so many requests have ended, or what the rate allows of them."""
        self._wait_until(math.ceil(number * self._share), seconds)

    def wait_for_more(self, number: int, seconds: float = 120) -> None:
        """Wait until so many more have ended than until now, or what the rate allows of them."""
        self._wait_until(self._count() + math.ceil(number * self._share), seconds)

    def _wait_until(self, number: int, seconds: float) -> None:
        wait_until(
            f"{number} requests were sent",
            lambda: self._count() >= number,
            seconds=seconds,
            # Each look reads all that was written.
            every=0.25,
        )

    def _count(self) -> int:
        return self._log.read_bytes().count(b"\n")


@contextmanager
def load(
    host: str,
    port: int,
    *,
    rate: float,
    long_rate: float = 1.5,
    generator: Path = _GENERATOR,
    known: dict[str, Any] | None = None,
    most: float | None = None,
) -> Iterator[Load]:
    """Send requests while the block runs; afterwards all of them have ended.

    ``generator`` is the program that sends them, ``known`` what its visitors know. ``most`` is the
    rate that the machine is able to take beside what the block does.
    """
    wished, rate = rate, min(rate, most or rate)
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "requests.jsonl"
        log.touch()
        argv = [sys.executable, str(generator), "--host", host, "--port", str(port)]
        argv += ["--rate", str(rate), "--long-rate", str(long_rate), "--log", str(log)]
        if known:
            # Passwords, perhaps: no argument, which everybody on this machine sees.
            secrets = Path(directory) / "known.json"
            secrets.touch(mode=0o600)
            secrets.write_text(json.dumps(known), encoding="utf-8")
            argv += ["--known", str(secrets)]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        running = Load(log, rate, rate / wished)
        try:
            running.wait_for(10, seconds=60)
            began = time.monotonic()
            yield running
            seconds = time.monotonic() - began
            # Whoever came last is waited for.
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=_END_SECONDS)
            assert process.returncode == 0, errors.decode()
            running.end(seconds)
        finally:
            process.kill()
            process.wait()


def served_per_second(host: str, port: int, path: str = "/", seconds: float = 2.0) -> float:
    """Return how many answers a second a few visitors get who ask one time after another."""
    until = time.monotonic() + seconds

    def visit() -> int:
        count = 0
        connection = http.client.HTTPConnection(host, port, timeout=30)
        while time.monotonic() < until:
            connection.request("GET", path)
            connection.getresponse().read()
            count += 1
        connection.close()
        return count

    with ThreadPoolExecutor(_ASKING) as pool:
        asked = [pool.submit(visit) for _ in range(_ASKING)]
        return sum(visitor.result() for visitor in asked) / seconds


@cache
def able(host: str, port: int) -> float:
    """Return the rate that a host can take beside a rollout, measured when it is first asked."""
    found = _SHARE * served_per_second(host, port)
    assert found > 0, f"{host} answers nobody on port {port}"
    return found
