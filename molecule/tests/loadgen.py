"""A steady load from outside: `loadgen.py --host ADDRESS --port PORT --rate 300 --log FILE`.

Standard library only, and nothing of what it looks at. Requests leave at their time whether or not
earlier ones were answered (an open loop): a site that stalls is seen with all who came meanwhile.
Every request becomes a line of FILE:

    {"at": UNIX_TIME, "kind": "get-kept", "ms": 3.1, "outcome": "ok", "detail": "",
     "version": "2", "retried": 0, "late_ms": 0.4}

`at` is the time at which it was sent, `late_ms` how much later than it was due; an outcome is ok,
refused, reset, timeout, status, content, protocol, or unsent (too many were waiting). It ends after
`--seconds`, or at SIGTERM when those on their way have their answers.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

from loadgen_kinds import MIX, UnexpectedError, Visit, Visitors
from loadgen_wire import WireError

_MOST_AT_ONCE = 1000


class Everybody(Protocol):
    """Those who visit a site: what they do, and how often (see loadgen_kinds)."""

    @property
    def mix(self) -> Mapping[str, int]:
        """How many of a hundred short requests are of each kind."""

    @property
    def long(self) -> Sequence[str]:
        """The kinds that take long, which come in turn."""

    def does(self, kind: str, number: int) -> Callable[[Visit], Awaitable[None]]:
        """Return what the visitor of this number does."""

    def close(self) -> None:
        """Let all connections go."""


def pattern(mix: Mapping[str, int] = MIX) -> list[str]:
    """Return a hundred kinds in a fixed order, evenly mixed."""
    due = sorted((i / n, kind) for kind, n in mix.items() for i in range(n))
    return [kind for _, kind in due]


class Load:
    """Sends requests and notes what became of them."""

    def __init__(self, visitors: Everybody, log: TextIO, timeout: float) -> None:
        self._visitors = visitors
        self._log = log
        self._timeout = timeout
        self._running: set[asyncio.Task[None]] = set()
        self.stopping = False

    def stop(self) -> None:
        """Send nothing more."""
        self.stopping = True

    async def run(self, rate: float, long_rate: float, seconds: float) -> None:
        """Send until the time is over or somebody says stop; wait for what is on its way."""
        kinds, long = pattern(self._visitors.mix), self._visitors.long
        flows = [self._flow(rate, lambda number: kinds[number % len(kinds)], seconds)]
        if long_rate:
            flows.append(self._flow(long_rate, lambda number: long[number % len(long)], seconds))
        await asyncio.gather(*flows)
        while self._running:
            await asyncio.wait(self._running)
        self._visitors.close()

    async def _flow(self, rate: float, kind: Callable[[int], str], seconds: float) -> None:
        began, number = time.monotonic(), 0
        while not self.stopping and number < seconds * rate:
            due = began + number / rate
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(min(early, 0.1))
                continue
            self._send(kind(number), number, due)
            number += 1

    def _send(self, kind: str, number: int, due: float) -> None:
        if len(self._running) >= _MOST_AT_ONCE:
            self._note(kind, time.monotonic(), due, Visit(), ("unsent", "too many were waiting"))
            return
        task = asyncio.create_task(self._visit(kind, self._visitors.does(kind, number), due))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _visit(self, kind: str, does: Callable[[Visit], Awaitable[None]], due: float) -> None:
        visit, sent = Visit(), time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                await does(visit)
            outcome = ("ok", "")
        except (OSError, ValueError, EOFError, WireError, UnexpectedError) as error:
            outcome = (_kind_of(error), str(error) or type(error).__name__)
        self._note(kind, sent, due, visit, outcome)

    def _note(
        self, kind: str, sent: float, due: float, visit: Visit, outcome: tuple[str, str]
    ) -> None:
        now = time.monotonic()
        line = {
            "at": round(time.time() - (now - sent), 4),
            "kind": kind,
            "ms": round((now - sent) * 1000, 2),
            "outcome": outcome[0],
            "detail": outcome[1],
            "version": visit.version,
            "retried": visit.retried,
            "late_ms": round((sent - due) * 1000, 2),
        }
        self._log.write(json.dumps(line) + "\n")


def _kind_of(error: Exception) -> str:
    if isinstance(error, UnexpectedError):
        return error.kind
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, (ConnectionError, EOFError)):
        return "reset"
    return "protocol" if isinstance(error, (WireError, ValueError)) else "refused"


async def _main(arguments: argparse.Namespace, visitors: Everybody) -> None:
    # A collection in the middle of a thousand requests would be seen as their latency.
    gc.freeze()
    with open(arguments.log, "a", encoding="utf-8", buffering=1) as log:
        load = Load(visitors, log, arguments.timeout)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, load.stop)
        await load.run(arguments.rate, arguments.long_rate, arguments.seconds)


def main(everybody: Callable[[str, int, Mapping[str, Any]], Everybody]) -> None:
    """Read the command line and send; visitors are made of host, port and what they know."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", required=True, help="an address, not a name")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=100.0, help="short requests a second")
    parser.add_argument(
        "--long-rate", type=float, default=1.5, help="downloads and streams a second"
    )
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for one request")
    parser.add_argument("--log", required=True, help="every request becomes a line of it")
    parser.add_argument("--known", type=Path, help="a JSON file with what visitors know")
    given = parser.parse_args()
    known = json.loads(given.known.read_text(encoding="utf-8")) if given.known else {}
    asyncio.run(_main(given, everybody(given.host, given.port, known)))


if __name__ == "__main__":
    main(lambda host, port, known: Visitors(host, port))
