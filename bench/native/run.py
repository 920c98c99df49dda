"""What stacks without containers take, beside the same stacks in containers, by process manager.

    make bench-host        or        .venv/bin/python bench/native/run.py [PART...] [--rounds 3]

The parts, all of them unless some are named:

    local      `make local STACK=chatbot` until a question is answered
    bare       a bare host until both stacks serve (site.yml), by role
    kill       SIGKILL of a process until a visitor is answered again
    memory     of managers and of chatbot after a number of questions; with and without jemalloc
    update     an update of harbour under a load, by phase
    servers    chatbot's answers a second under uWSGI, gunicorn, and uWSGI on SQLite

Two test hosts are brought to chatbot and harbour (the application of molecule/update) by the
documented playbook, one without containers, and that one from manager to manager. It takes about 20
minutes on a quiet machine. The figures are also in .state/bench/native.json. It fails where
something is wrong, such as a failed request, and never because something is slow.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "molecule" / "tests")]

from load import Seen, able, load  # noqa: E402

from bench.host import BenchError  # noqa: E402
from bench.native import local, servers  # noqa: E402
from bench.native.ways import HARBOUR, KILLED, PORTS, Way, by_role, hosts, is_own  # noqa: E402
from bench.rollout.run import medians, middle, say, shown  # noqa: E402
from bench.rollout.ways import Turn  # noqa: E402
from devtool.paths import STATE  # noqa: E402
from moorage.cli.tables import table  # noqa: E402

PARTS = ("local", "bare", "kill", "memory", "update", "servers")
_WITH_HOSTS = set(PARTS) - {"local"}
_RATE = 60
_QUESTIONS = 2000
_RESULT = STATE / "bench" / "native.json"

Lines = Mapping[str, Mapping[str, float | None]]


class Figures:
    """What was measured, kept as a file from part to part."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {"began": time.time(), "cores": os.cpu_count()}
        self.wrong: list[str] = []

    def add(self, title: str, columns: Lines, digits: int = 1, **more: Any) -> None:
        """Print a table, a column for each way, and keep it with what else belongs to it."""
        busy = os.getloadavg()[1]
        kept = {"load": busy, "columns": columns, **more}
        self._found[title] = kept
        _RESULT.parent.mkdir(parents=True, exist_ok=True)
        _RESULT.write_text(json.dumps(self._found, indent=1) + "\n", encoding="utf-8")
        names = list(dict.fromkeys(name for column in columns.values() for name in column))
        lines = [[n, *(shown(c.get(n), digits) for c in columns.values())] for n in names]
        say("")
        say(table([[f"{title} (load {busy:.1f})", *columns], *lines]))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="leave the hosts, and use them again")
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {sorted(unknown)[0]}; there are {', '.join(PARTS)}")
    wanted, figures = set(options.parts or PARTS), Figures()
    try:
        if "local" in wanted:
            found = local.measure(options.rounds)
            figures.add("make local, s", spread(found), rounds=found)
        if wanted & _WITH_HOSTS:
            with_hosts(wanted, figures, options)
    except BenchError as error:
        figures.wrong.append(str(error))
    for what in figures.wrong:
        say(f"FAILED: {what}")
    return 1 if figures.wrong else 0


def with_hosts(wanted: set[str], figures: Figures, options: argparse.Namespace) -> None:
    """Measure what takes a host; raises BenchError."""
    with tempfile.TemporaryDirectory() as work:
        found = hosts(Path(work))
        try:
            for host in found.values():
                if not options.keep or "bare" in wanted:
                    host.destroy()
                host.create()
            systemd, containers = Way(found["host"], "host"), Way(found["containers"], "containers")
            bare([systemd, containers], figures if "bare" in wanted else None)
            others = [Way(found["host"], "host", name) for name in ("supervisor", "own")]
            ways = [systemd, *others, containers]
            if wanted & {"kill", "memory", "update"}:
                each(ways, wanted, figures, options)
            if wanted & {"memory", "servers"}:
                systemd.bring()
                systemd.know()
            if "memory" in wanted:
                jemalloc(systemd, figures)
            if "servers" in wanted:
                rates = servers.measure(systemd.host, options.rounds)
                figures.add("chatbot, answers/s", spread(rates, worst=min), rounds=rates)
        finally:
            for host in found.values() if not options.keep else ():
                host.destroy()


def bare(ways: Sequence[Way], figures: Figures | None) -> None:
    """Bring the hosts to serving."""
    os.environ["ANSIBLE_CALLBACKS_ENABLED"] = "ansible.posix.profile_roles"
    columns: dict[str, dict[str, float | None]] = {}
    for way in ways:
        say(f"{way.label}: site.yml (some minutes where the host is bare) …")
        seconds, said = way.bring()
        columns[way.label] = {"whole": seconds, **by_role(said)}
        way.know()
        way.chat.ask(1, 1)
    del os.environ["ANSIBLE_CALLBACKS_ENABLED"]
    if figures:
        figures.add("a bare host until it serves, s", columns, 0)


def each(
    ways: Sequence[Way], wanted: set[str], figures: Figures, options: argparse.Namespace
) -> None:
    """Bring one way after the other, and measure it."""
    kills: dict[str, dict[str, list[float]]] = {}
    memory: dict[str, dict[str, float | None]] = {}
    turns: dict[str, list[Turn]] = {}
    visitors: dict[str, list[Seen]] = {}
    for way in ways:
        seconds, _ = way.bring()
        say(f"{way.label}: brought in {seconds:.0f} s")
        if "memory" in wanted:
            memory[way.label] = asked(way)
            say(f"{way.label}: {memory[way.label]}")
        if "kill" in wanted:
            kills[way.label] = {what: way.kill(what, options.kills) for what in KILLED}
            say(f"{way.label}: {kills[way.label]}")
        if "update" in wanted:
            turns[way.label], visitors[way.label] = updated(way, options.rounds)
            say(f"{way.label}: {visitors[way.label][-1].summary()}")
    if kills:
        for what in KILLED:
            found = {label: times[what] for label, times in kills.items()}
            figures.add(
                f"{what}: killed until served, ms", spread(found, worst=max), 0, kills=found
            )
    if memory:
        figures.add(f"PSS after {_QUESTIONS} questions, MiB", memory)
    if turns:
        report(turns, visitors, figures)


def asked(way: Way) -> dict[str, float | None]:
    """Start chatbot anew, ask it a number of questions, and return what is in memory then."""
    way.restart()
    way.chat.ask(_QUESTIONS)
    found = way.memory()
    both = {
        "beside the stack": sum(size for name, size in found.items() if not is_own(name)),
        "the stack": sum(size for name, size in found.items() if is_own(name)),
    }
    return {**found, **both}


def jemalloc(way: Way, figures: Figures) -> None:
    """Measure chatbot's memory with and without it, on the same questions."""
    columns = {"jemalloc": asked(way)}
    way.bring(jemalloc=False)
    columns["without"] = asked(way)
    way.bring()
    own = {label: {n: v for n, v in c.items() if is_own(n)} for label, c in columns.items()}
    for column in own.values():
        column["the stack"] = sum(size or 0.0 for size in column.values())
    figures.add(f"chatbot's PSS after {_QUESTIONS} questions, MiB", own)


def updated(way: Way, rounds: int) -> tuple[list[Turn], list[Seen]]:
    """Update harbour under a load, no greater one than the machine can take beside."""
    turns, visitors = [], []
    address, port = way.host.address, PORTS[HARBOUR]
    for _ in range(rounds):
        with load(address, port, rate=_RATE, most=able(address, port)) as running:
            running.wait_for(_RATE)
            turns.append(way.update())
            running.wait_for_more(_RATE)
        visitors.append(running.seen)
    return turns, visitors


def report(
    turns: Mapping[str, list[Turn]], visitors: Mapping[str, list[Seen]], figures: Figures
) -> None:
    """Print what updates came to."""
    columns: dict[str, dict[str, float | None]] = {}
    for label, found in turns.items():
        seen = visitors[label]
        for one in seen:
            if one.failed:
                figures.wrong.append(f"{label}: {one.summary()}; the first: {one.failed[0]}")
        columns[label] = {
            "playbook": middle([turn.whole for turn in found if turn.whole is not None]),
            "on the host": middle([turn.host for turn in found]),
            **medians(found),
            "longest gap": middle([s.longest_gap / 1000 for s in seen]),
            "requests": float(sum(len(s.requests) for s in seen)),
            "failed": float(sum(len(s.failed) for s in seen)),
        }
    figures.add("an update with visitors, s", columns, 2)


def spread(found: Mapping[str, Sequence[float]], worst: Any = max) -> Lines:
    """Return median and worst of each way."""
    return {
        way: {"median": statistics.median(seen), "worst": worst(seen)}
        for way, seen in found.items()
    }


if __name__ == "__main__":
    sys.exit(main())
