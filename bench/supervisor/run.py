"""Measure the process supervisor, and its peers beside it, in one run.

    make bench-supervisor        or        .venv/bin/python bench/supervisor/run.py
        [--only NAME...] [--rounds 3] [--kills 20] [--burst 100] [--many 1000] [--megabytes 256]
        [--idle 10]

Every supervisor runs the same small program, which says in a FIFO that it runs; each service has a
log, and none is killed twice, so that nobody's restart delay counts. A setting stands behind a
name where it is not the default. The C floor restarts and does nothing else. The figures are also
in .state/bench/supervisor.json. It fails where something is wrong, never because something is slow.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.supervisor import peers  # noqa: E402
from bench.supervisor.subjects import SUBJECTS, Floor, Ours, Subject  # noqa: E402
from devtool.paths import STATE  # noqa: E402
from process_supervisor.client import ControlError  # noqa: E402
from process_supervisor.common import procfs  # noqa: E402

RESULT = STATE / "bench" / "supervisor.json"
SETTLED = 1.6  # seconds after which every peer takes a service for a running one
PATIENCE = 60.0
LINE = 100
MEASURES = {
    "kill": "SIGKILL of a service to its replacement, ms",
    "kill p95": "  p95",
    "burst": "all of --burst killed at once to all back, ms",
    "start": "--many started, s",
    "one": "status of one by API, ms",
    "all": "status of --many by API, ms",
    "all bare": "  without CPU and memory, as peers tell it",
    "cli": "status by command line, ms",
    "memory": "PSS with 3 services, MiB",
    "memory many": "PSS with --many services, MiB",
    "idle": "CPU while idle, ms in 30 s",
    "threads": "  threads and processes",
    "log": "log capture with rotation, MB/s",
    "log cpu": "  CPU of who captures, ms for 100 MB",
    "lost": "  bytes lost",
    "cut": "  files that end within a line",
    "adopted": "supervisor killed to all of --many adopted, ms",
}


class Gone(Exception):
    """A supervisor did not do what is measured."""


class Running:
    """A subject at work."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.reports = os.open(subject.report, os.O_RDWR | os.O_NONBLOCK)
        self.pids: dict[int, int] = {}
        self._rest = b""
        self.began = time.perf_counter()
        self.process = subject.launch()

    def read(self, patience: float = PATIENCE) -> list[int]:
        """Wait for services that say they run; return their numbers."""
        if not select.select([self.reports], [], [], patience)[0]:
            raise Gone(f"{self.subject.name}: no service reports")
        *lines, self._rest = (self._rest + os.read(self.reports, 1 << 20)).split(b"\n")
        found = {int(number): int(pid) for number, pid in map(bytes.split, lines)}
        self.pids.update(found)
        return list(found)

    def started(self) -> float:
        """Wait for the first report of all; return the seconds since the launch."""
        while len(self.pids) < self.subject.count:
            self.read()
        return time.perf_counter() - self.began

    def kill(self, numbers: list[int]) -> float:
        """Kill services; return the milliseconds until all are back."""
        wanted, begin = set(numbers), time.perf_counter()
        for number in numbers:
            os.kill(self.pids[number], signal.SIGKILL)
        while wanted:
            wanted -= set(self.read())
        return (time.perf_counter() - begin) * 1000

    def supervisors(self) -> list[int]:
        """The pids of everything but the services."""
        services = set(self.pids.values())
        return [pid for pid in family() if pid not in services]


def family() -> list[int]:
    """Every process below this one."""
    return procfs.descendants([os.getpid()])[1:]


@contextlib.contextmanager
def running(kind: type[Subject], count: int, flood: int = 0, port: int = 0) -> Iterator[Running]:
    """Have a supervisor with so many services, and nothing left of it afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    subject = Running(kind(directory, count, flood, port))
    try:
        yield subject
    finally:
        while left := family():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
        subject.process.poll()
        os.close(subject.reports)
        shutil.rmtree(directory)


def timed(action: Callable[[], object], times: int = 20) -> float:
    """The median of milliseconds that something takes."""
    spans = []
    for _ in range(times):
        begin = time.perf_counter()
        action()
        spans.append((time.perf_counter() - begin) * 1000)
    return statistics.median(spans)


def pss(pids: list[int]) -> float:
    """MiB of memory, what is shared by its share."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(text.split("\nPss:")[1].split()[0])
    return total / 1024


def cpu(pids: list[int]) -> float:
    """Milliseconds on a processor so far."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e6


def kills(kind: type[Subject], options: argparse.Namespace) -> dict[str, Any]:
    """Services killed one by one, then many at once, of several supervisors after each other."""
    spans: list[float] = []
    bursts = []
    for _ in range(options.rounds):
        with running(kind, options.kills + options.burst) as it:
            it.started()
            time.sleep(SETTLED)
            until = time.monotonic() + 10
            for number in range(options.kills):
                # Not in step with anybody's polling.
                time.sleep(0.02 + random.random() / 20)  # noqa: S311
                spans.append(it.kill([number]))
                if time.monotonic() > until:
                    break
            bursts.append(it.kill(list(range(options.kills, it.subject.count))))
    spans.sort()
    return {
        "kill": statistics.median(spans),
        "kill p95": spans[int(len(spans) * 0.95)],
        "burst": statistics.median(bursts),
    }


@contextlib.contextmanager
def answering() -> Iterator[int]:
    """Have a port that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def few(kind: type[Subject], options: argparse.Namespace) -> dict[str, Any]:
    """What three services take, and the log of one that writes much."""
    size = options.megabytes * 10**6 // LINE * LINE
    with answering() as port, running(kind, 3, size, port) as it:
        it.started()
        time.sleep(SETTLED)
        found: dict[str, Any] = {"cli": timed(lambda: command_line(it.subject), 5)}
        with contextlib.suppress(NotImplementedError):
            found["one"] = timed(it.subject.status_one, 50)
        pids = it.supervisors()
        found["memory"] = pss(pids)
        before = cpu(pids)
        time.sleep(options.idle)
        found["idle"] = (cpu(pids) - before) * 30 / options.idle
        found["threads"] = sum(len(os.listdir(f"/proc/{pid}/task")) for pid in pids)
        return found | flood(it, size)


def command_line(subject: Subject) -> None:
    """Run its client."""
    done = subprocess.run(subject.cli, check=False, capture_output=True)
    if done.returncode:
        raise Gone(f"{subject.cli}: {done.stdout!r} {done.stderr!r}")


def flood(it: Running, size: int) -> dict[str, Any]:
    """How fast a service can write its log, until the last byte is in the files."""
    pids = it.supervisors()
    used = cpu(pids)
    begin, seen, changed = time.perf_counter(), 0, time.monotonic()
    os.close(os.open(it.subject.go, os.O_WRONLY))
    while seen < size and time.monotonic() < changed + 3:
        held = 0
        with contextlib.suppress(FileNotFoundError):  # it is being rotated
            held = sum(path.stat().st_size for path in it.subject.logs())
        if held > seen:
            seen, changed = held, time.monotonic()
        time.sleep(0.003)
    took = time.perf_counter() - begin - (0 if seen >= size else 3)
    cut = 0
    for path in it.subject.logs():
        cut += path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    used = (cpu(pids) - used) / size * 1e8
    return {"log": seen / 1e6 / took, "log cpu": used, "lost": size - seen, "cut": cut}


def many(kind: type[Subject], options: argparse.Namespace) -> dict[str, Any]:
    """A thousand services."""
    count = min(options.many, kind.most)
    if count < options.many:
        return {}
    with running(kind, count) as it:
        found: dict[str, Any] = {"start": it.started()}
        time.sleep(SETTLED)
        found["memory many"] = pss(it.supervisors())
        with contextlib.suppress(NotImplementedError):
            found["all"] = timed(it.subject.status_all, 5)
        if isinstance(it.subject, Ours):
            client = it.subject.client
            found["all bare"] = timed(lambda: client.status(usage=False), 5)
            found["adopted"] = adopted(it.subject)
        return found


def adopted(subject: Ours) -> float:
    """SIGKILL of the supervisor until the next one answers for the same services."""
    before = [item["pid"] for item in subject.client.status()]
    main, begin = subject.client.info()["pid"], time.perf_counter()
    os.kill(main, signal.SIGKILL)
    while True:
        with contextlib.suppress(ControlError):
            if subject.client.info()["pid"] != main:
                break
        time.sleep(0.001)
    took = (time.perf_counter() - begin) * 1000
    if [item["pid"] for item in subject.client.status()] != before:
        raise Gone("a service was restarted")
    return took


def shown(value: Any) -> str:
    """A figure for the table."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:.2f}" if value < 10 and value % 1 else f"{value:,.0f}"


def table(columns: dict[str, dict[str, Any]]) -> str:
    """The figures in Markdown, with how many times ours others are."""
    ours = columns.get(Ours.name, {})
    rows = ["| | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 1) + "|"]
    for key, label in MEASURES.items():
        cells = []
        for name, column in columns.items():
            value, own = column.get(key), ours.get(key)
            ratio = f" ({value / own:.1f}x)" if value and own and name != Ours.name else ""
            cells.append(shown(value) + (ratio if key not in ("threads", "lost", "cut") else ""))
        rows.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", nargs="+", default=[], help="names or parts of names")
    parser.add_argument("--parts", nargs="+", default=["kills", "few", "many"])
    for name, default in (
        ("rounds", 3), ("kills", 20), ("burst", 100), ("many", 1000), ("megabytes", 256),
        ("idle", 10),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(peers.OURS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with nothing left behind
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: nothing gets away
    versions = peers.install() | {"Python": sys.version.split()[0]}
    columns: dict[str, dict[str, Any]] = {}
    for kind in SUBJECTS:
        label = kind.name + (f", {kind.setting}" if kind.setting != "default" else "")
        wanted = not options.only or any(word.lower() in label.lower() for word in options.only)
        if not wanted or (kind.needs and kind.needs not in versions):
            continue
        found: dict[str, Any] = {}
        for part in (kills, few, many) if kind is not Floor else (kills,):
            if part.__name__ in options.parts:
                found |= part(kind, options)
        columns[label] = found
        print(label, {key: shown(value) for key, value in found.items()}, flush=True)
        kept = {"at": time.time(), "versions": versions, "options": vars(options)}
        RESULT.write_text(json.dumps({**kept, "figures": columns}, indent=2) + "\n")
    print(f"\n{versions}\n{table(columns)}")


if __name__ == "__main__":
    main()
