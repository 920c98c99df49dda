"""Measure the process supervisor, and Supervisor beside it where `supervisord` is installed.

    python bench/supervisor/run.py [--kills 50] [--idle 10] [--megabytes 200]

Every supervisor runs the same three services with logs. The first service writes a byte into a
FIFO when its program begins, so "replacement running" is what the service itself says.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2] / "files" / "moorage" / "src"
sys.path.insert(0, str(SOURCES))

from process_supervisor.client import Client, ControlError  # noqa: E402

NAMES = ("reporter", "second", "third")
LINE = "x" * 99
FLOOD = f"""
import sys
block = "{LINE}\\n" * 1000
for _ in range(int(sys.argv[1]) * 10):
    sys.stdout.write(block)
"""


def field(pid: int, name: str) -> int:
    """A number of /proc/PID/status."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name + ":"))


def poll(condition: Callable[[], object], timeout: float = 60.0) -> None:
    """Wait, looking every half millisecond: that is the resolution of what depends on it."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the supervisor did not get there")
        time.sleep(0.0005)


def gone(pid: int) -> bool:
    """Whether a process has ended and was reaped."""
    return not os.path.exists(f"/proc/{pid}")


class Subject:
    """One supervisor to be measured."""

    name = ""
    settles = 0.05  # seconds that a service has to run before its end is a crash of a running one

    def __init__(self, directory: Path, megabytes: int) -> None:
        self.directory = directory
        self.megabytes = megabytes
        self.fifo = directory / "up"
        os.mkfifo(self.fifo)
        self.reports = os.open(self.fifo, os.O_RDWR)
        self.process = self.launch()

    def commands(self) -> dict[str, list[str]]:
        """The three services, and a fourth that floods its log once it is started."""
        report = f"echo $$ >{self.fifo}; exec sleep 100000"
        services = {name: ["sleep", "100000"] for name in NAMES}
        services["reporter"] = ["/bin/sh", "-c", report]
        services["flood"] = [sys.executable, "-c", FLOOD, str(self.megabytes)]
        return services

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it."""
        raise NotImplementedError

    def main_pid(self) -> int:
        """The pid of the process that supervises."""
        return self.process.pid

    def start_flood(self) -> None:
        """Start the fourth service."""
        raise NotImplementedError

    def next_report(self) -> int:
        """Wait until the first service says its pid."""
        return int(os.read(self.reports, 64).split()[-1])

    def end(self) -> None:
        """Stop it and everything under it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        os.close(self.reports)


class Ours(Subject):
    """The supervisor of this repository, under its guardian."""

    name = "process_supervisor"

    def launch(self) -> subprocess.Popen[bytes]:
        self.client = Client(str(self.directory / "run" / "control.sock"))
        path = self.directory / "supervisor.json"
        processes = [
            {
                "name": name,
                "command": command,
                "autostart": name != "flood",
                "autorestart": "never" if name == "flood" else "always",
                # Every kill shall be answered at once; by default the second one in a minute waits.
                "restart_limit": None,
                "restart_backoff": 1.0,
                "stdout_logfile": str(self.directory / f"{name}.log"),
            }
            for name, command in self.commands().items()
        ]
        section = {
            "run_dir": str(self.directory / "run"),
            "pids_file": str(self.directory / "pids.env"),
            "log_file": str(self.directory / "supervisor.log"),
        }
        config = {"version": 1, "supervisor": section, "processes": processes}
        path.write_text(json.dumps(config), encoding="utf-8")
        return subprocess.Popen(
            [sys.executable, "-m", "process_supervisor.init", "--config", str(path)],
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
            stderr=subprocess.DEVNULL,
        )

    def main_pid(self) -> int:
        found: list[int] = []

        def ask() -> bool:
            try:
                found.append(self.client.info()["pid"])
            except ControlError:
                return False
            return True

        poll(ask)
        return found[0]

    def start_flood(self) -> None:
        self.client.start("flood")

    def pids(self) -> list[int]:
        """The services' pids."""
        return [item["pid"] for item in self.client.status()]


class Supervisor(Subject):
    """Supervisor, as it is configured by default."""

    name = "Supervisor"
    settles = 1.2  # startsecs is 1 by default

    def launch(self) -> subprocess.Popen[bytes]:
        path = self.directory / "supervisord.conf"
        text = (
            f"[supervisord]\nnodaemon=true\nlogfile={self.directory}/supervisord.log\n"
            f"pidfile={self.directory}/supervisord.pid\n"
            f"[unix_http_server]\nfile={self.directory}/s.sock\n"
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = "
            "supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[supervisorctl]\nserverurl=unix://{self.directory}/s.sock\n"
        )
        for name, command in self.commands().items():
            words = " ".join(f"'{word}'" if " " in word else word for word in command)
            if name == "flood":
                script = self.directory / "flood.py"
                script.write_text(FLOOD, encoding="utf-8")
                words = f"{sys.executable} {script} {self.megabytes}"
            text += (
                f"[program:{name}]\ncommand={words.replace('%', '%%')}\nredirect_stderr=true\n"
                f"stdout_logfile={self.directory}/{name}.log\nstdout_logfile_maxbytes=0\n"
                f"autostart={str(name != 'flood').lower()}\n"
                f"autorestart={str(name != 'flood').lower()}\n"
            )
        path.write_text(text, encoding="utf-8")
        command = [str(shutil.which("supervisord", path=search_path())), "-n", "-c", str(path)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start_flood(self) -> None:
        ctl = str(shutil.which("supervisorctl", path=search_path()))
        words = [ctl, "-c", str(self.directory / "supervisord.conf"), "start", "flood"]
        # It reports a failure, because the flood is over before startsecs is.
        subprocess.run(words, check=False, stdout=subprocess.DEVNULL)


def search_path() -> str:
    """PATH, with the programs of this very Python first."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def restarts(subject: Subject, kills: int) -> str:
    """SIGKILL of the service until its replacement runs."""
    pid, spans = subject.next_report(), []
    for _ in range(kills):
        # Some distance between kills, not in step with anybody's polling.
        time.sleep(subject.settles + random.random())  # noqa: S311
        begin = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        pid = subject.next_report()
        spans.append((time.perf_counter() - begin) * 1000)
    spans.sort()
    return f"{statistics.median(spans):.2f} ms (p90 {spans[int(len(spans) * 0.9)]:.2f})"


def memory(subject: Subject) -> str:
    """Resident memory of the supervisor, and of its guardian where it has one."""
    main = subject.main_pid()
    text = f"{field(main, 'VmRSS') / 1024:.1f} MiB"
    if main != subject.process.pid:
        text += f" + guardian {field(subject.process.pid, 'VmRSS') / 1024:.1f}"
    return text


def wakeups(subject: Subject, seconds: float) -> str:
    """Voluntary context switches while nothing happens."""
    pids = {subject.main_pid(), subject.process.pid}
    time.sleep(1)
    before = {pid: field(pid, "voluntary_ctxt_switches") for pid in pids}
    time.sleep(seconds)
    count = sum(field(pid, "voluntary_ctxt_switches") - before[pid] for pid in pids)
    return f"{count} in {seconds:g} s"


def return_time(subject: Subject) -> str:
    """SIGKILL of the supervisor until the next one has adopted the services and answers."""
    if not isinstance(subject, Ours):
        return "does not come back"
    spans = []
    for _ in range(5):
        pids, main = subject.pids(), subject.main_pid()
        begin = time.perf_counter()
        os.kill(main, signal.SIGKILL)
        poll(partial(gone, main))
        subject.main_pid()
        spans.append((time.perf_counter() - begin) * 1000)
        if subject.pids() != pids:
            raise AssertionError("a service was restarted")
        # Beyond init.QUICK: a supervisor that dies soon after its start is held back.
        time.sleep(5.2)
    return f"{statistics.median(spans):.0f} ms"


def throughput(subject: Subject) -> str:
    """How fast a service can write its log, until the last byte is in the file."""
    size = subject.megabytes * 10 * 1000 * (len(LINE) + 1)
    path = subject.directory / "flood.log"
    begin = time.perf_counter()
    subject.start_flood()
    poll(lambda: path.exists() and path.stat().st_size >= size)
    return f"{size / 1e6 / (time.perf_counter() - begin):.0f} MB/s"


def measure(kind: type[Subject], options: argparse.Namespace) -> list[str]:
    """All figures of one supervisor."""
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    subject = kind(directory, options.megabytes)
    try:
        figures = [restarts(subject, options.kills), memory(subject)]
        figures += [wakeups(subject, options.idle), return_time(subject), throughput(subject)]
        return figures
    finally:
        subject.end()
        shutil.rmtree(directory)


def main() -> None:
    """Print the figures side by side."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--idle", type=float, default=10.0)
    parser.add_argument("--megabytes", type=int, default=200)
    options = parser.parse_args()
    kinds: list[type[Subject]] = [Ours]
    if shutil.which("supervisord", path=search_path()):
        kinds.append(Supervisor)
    labels = (
        "SIGKILL to replacement running, median",
        "resident memory, three services",
        "wake-ups while idle",
        "SIGKILL of the supervisor to adopted",
        "log throughput",
    )
    columns = [measure(kind, options) for kind in kinds]
    print(f"{'Python ' + sys.version.split()[0]:40}" + "".join(f"{k.name:32}" for k in kinds))
    for row, label in enumerate(labels):
        print(f"{label:40}" + "".join(f"{column[row]:32}" for column in columns).rstrip())


if __name__ == "__main__":
    main()
