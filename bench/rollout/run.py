"""What an update costs its visitors: Moorage in both topologies, beside Compose and a start.sh.

    make bench-rollout        or        .venv/bin/python bench/rollout/run.py [--rounds 3] [--keep]

One test host is provisioned with the documented playbooks, and one tiny application runs on it
four times: as containers and as a unified container under Moorage, under `docker compose up -d`,
and below a start.sh that is stopped and started. Rounds of all four alternate. Each round sends a
steady load from this machine (molecule/tests/loadgen.py, nothing of Moorage's) through an idle
time, a change to another image (which is there already) with other settings, a run that changes
nothing, and the way back. Medians over the rounds; failed and sent requests are sums.

Ansible runs on the machine of the host here, and visitors feel what it takes of the processors. So
what they met while the host was at it alone stands beside what they met during the whole command.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "molecule" / "tests")]

from load import Load, Seen, load  # noqa: E402

from bench.host import BenchError, Host  # noqa: E402
from bench.rollout.ways import HERE, Compose, Moorage, Turn  # noqa: E402
from moorage.cli.tables import table  # noqa: E402

_RATE = 150
_IDLE_SECONDS = 3.0
# A command may return before visitors are served again: what they see in this time belongs to it.
_AFTER_SECONDS = 2.0


@dataclass
class Results:
    """What one way of updating came to, round by round; latencies and gaps in milliseconds."""

    changes: list[Turn] = field(default_factory=list)
    ways_back: list[Turn] = field(default_factory=list)
    no_change: list[float] = field(default_factory=list)
    restarted: int = 0
    idle: list[Seen] = field(default_factory=list)
    during: list[Seen] = field(default_factory=list)
    on_host: list[Seen] = field(default_factory=list)
    during_back: list[Seen] = field(default_factory=list)

    @property
    def by_phase(self) -> bool:
        """Whether it is known how long each phase took."""
        return any(turn.phases for turn in self.changes)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--keep", action="store_true", help="leave the test host, for a look or more"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        host = Host(
            "bench-rollout",
            Path(work),
            ["skiff", "barge"],
            moorage_stacks_dirs=[str(HERE / "stacks")],
            skiff_topology="containers",
            barge_topology="unified",
        )
        try:
            say("a test host, provisioned (some minutes) …")
            if not args.keep:
                host.destroy()
            host.create()
            seconds, _ = host.play("site.yml")
            say(f"site.yml: {seconds:.0f} s")
            measure(host, args.rounds)
        except BenchError as error:
            say(f"FAILED: {error}")
            return 1
        finally:
            if not args.keep:
                host.destroy()
    return 0


def measure(host: Host, rounds: int) -> None:
    """Run all rounds and print the tables."""
    ours = [
        Moorage(host, "skiff", "containers", 5001),
        Moorage(host, "barge", "unified", 5002),
    ]
    plain = [
        Compose(host, "docker compose up -d", "plain.yml", 5003, stop=False),
        Compose(host, "start.sh, stop and start", "start_sh.yml", 5004, stop=True),
    ]
    images = [stack.prepare() for stack in ours]
    for other in plain:
        other.prepare(images[0])
    start_up = statistics.median(host.start_up() for _ in range(max(3, rounds)))
    ways: list[Moorage | Compose] = [*ours, *plain]
    results = {way.label: Results() for way in ways}
    for number in range(rounds):
        for way in ways:
            say(f"round {number + 1} of {rounds}: {way.label}")
            one_round(way, host.address, results[way.label])
    report(results, start_up, rounds)


def one_round(way: Moorage | Compose, address: str, results: Results) -> None:
    """Idle, change, no change, and back, under one load."""
    with load(address, way.port, rate=_RATE, long_rate=0) as running:
        quiet = time.time()
        time.sleep(_IDLE_SECONDS)
        spans = [(quiet, time.time())]
        results.changes.append(timed(way.change, spans, running))
        seconds, restarted = way.no_change()
        results.no_change.append(seconds)
        results.restarted += restarted
        results.ways_back.append(timed(way.back, spans, running))
    results.idle.append(running.seen.between(*spans[0]))
    results.during.append(running.seen.between(*spans[1]))
    change = results.changes[-1]
    results.on_host.append(running.seen.between(change.began, change.ended))
    results.during_back.append(running.seen.between(*spans[2]))


def timed(do: Callable[[], Turn], spans: list[tuple[float, float]], running: Load) -> Turn:
    """Do something and note from when to when visitors may have felt it."""
    began = time.time()
    turn = do()
    time.sleep(_AFTER_SECONDS)
    spans.append((began, time.time()))
    return turn


def report(results: dict[str, Results], start_up: float, rounds: int) -> None:
    """Print what was measured."""
    say("")
    say(f"medians of {rounds} rounds at {_RATE} requests/s; an empty play takes {start_up:.2f} s")
    say(f"machine: {os.cpu_count()} cores, load average {os.getloadavg()[1]:.1f}")
    columns = [column(found, start_up) for found in results.values()]
    lines = [[name, *(cells[name] for cells in columns)] for name in columns[0]]
    say(table([["", *results], *lines]))
    phases = {way: medians(found.changes) for way, found in results.items() if found.by_phase}
    names = list(dict.fromkeys(name for found in phases.values() for name in found))
    say("")
    lines = [[name, *(f"{found.get(name, 0):.2f}" for found in phases.values())] for name in names]
    say(table([["phases of a change on the host, s", *phases], *lines]))


def column(found: Results, start_up: float) -> dict[str, str]:
    """Return what one way came to, by the name of the line."""
    whole = middle([turn.whole for turn in found.changes if turn.whole is not None])
    back = middle([turn.whole for turn in found.ways_back if turn.whole is not None])
    return {
        "change: playbook, s": shown(whole),
        "change: beyond an empty play, s": shown(None if whole is None else whole - start_up),
        "change: on the host, s": shown(middle([turn.host for turn in found.changes])),
        "change: failed of sent": failed(found.during),
        "idle: p99, ms": shown(middle([seen.percentile(0.99) for seen in found.idle]), 1),
        "change: p99, ms": shown(middle([seen.percentile(0.99) for seen in found.during]), 1),
        "idle: longest gap, ms": shown(middle([seen.longest_gap for seen in found.idle]), 0),
        "on the host: p99, ms": shown(middle([seen.percentile(0.99) for seen in found.on_host]), 1),
        "change: longest gap, ms": shown(middle([seen.longest_gap for seen in found.during]), 0),
        "on the host: longest gap, ms": shown(
            middle([seen.longest_gap for seen in found.on_host]), 0
        ),
        "no change, s": shown(middle(found.no_change)),
        "no change: restarted": f"{found.restarted} of {len(found.no_change)}",
        "rollback: playbook, s": shown(back),
        "rollback: on the host, s": shown(middle([turn.host for turn in found.ways_back])),
        "rollback: failed of sent": failed(found.during_back),
    }


def failed(seen: Sequence[Seen]) -> str:
    """Return how many of all requests failed."""
    return f"{sum(len(s.failed) for s in seen)} of {sum(len(s.requests) for s in seen)}"


def medians(turns: Sequence[Turn]) -> dict[str, float]:
    """Return the median of each phase, in the order of the first turn."""
    names = list(dict.fromkeys(name for turn in turns for name in turn.phases))
    return {name: statistics.median(turn.phases.get(name, 0.0) for turn in turns) for name in names}


def middle(values: Sequence[float]) -> float | None:
    """Return the median, None of nothing."""
    return statistics.median(values) if values else None


def shown(value: float | None, digits: int = 2) -> str:
    """Return a number as the table shows it."""
    return "-" if value is None else f"{value:.{digits}f}"


def say(text: str) -> None:
    """Print at once: whoever waits sees where it is."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
