"""What a status call costs, with few services and with many, and what the gateway takes of memory.

    .venv/bin/python bench/control/run.py [--services 4 100] [--calls 500]

Starts containers (of a few hundred kilobytes each) and a supervisor of its own, and removes them.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "files/moorage/src"
sys.path[:0] = [str(SOURCES), str(ROOT / "files/moorage/tests/control")]

from control_rig import eventually  # noqa: E402
from gateway_rig import ENGINE, STACK, Gateway, Stack, receive  # noqa: E402

from moorage.control.http import HttpBackend  # noqa: E402
from moorage.control.process import ProcessBackend  # noqa: E402

_LOAD = {
    "nothing": "",
    "the gateway's client of the engine": (
        "from moorage.control.engine import Engine; Engine({engine!r}).inspect({name!r})"
    ),
    "the standard library's http.client": (
        "import http.client, json, socket\n"
        "c = http.client.HTTPConnection('x'); c.sock = socket.socket(socket.AF_UNIX)\n"
        "c.sock.connect({engine!r}); c.request('GET', '/containers/{name}/json')\n"
        "json.loads(c.getresponse().read())"
    ),
    "the Docker SDK": (
        "import docker; docker.APIClient('unix://' + {engine!r}).inspect_container({name!r})"
    ),
}
_MEMORY = (
    "\nfor line in open('/proc/self/smaps_rollup'):\n"
    "    if line.startswith(('Rss', 'Pss:')): print(line.split()[1])"
)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, nargs="+", default=[4, 100])
    parser.add_argument("--calls", type=int, default=500)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        _processes(directory, args.services, args.calls)
        _containers(directory, args.services, args.calls)
    return 0


def _processes(directory: Path, numbers: list[int], calls: int) -> None:
    for number in numbers:
        with _supervisor(directory / f"p{number}", number) as path:
            backend = ProcessBackend(path)
            _report(f"supervisor, {number} services, all", backend.services, calls)
            _report(f"supervisor, {number} services, one", partial(backend.service, "s0"), calls)


def _containers(directory: Path, numbers: list[int], calls: int) -> None:
    stack = Stack(directory)
    made = 0
    try:
        for number in sorted(numbers):
            for new in range(made, number):
                stack.add(f"s{new}", "exec sleep 3600")
            made = number
            run = directory / f"g{number}"
            run.mkdir()
            gateway = Gateway(run, stack.release, ENGINE)
            try:
                _gateway(gateway, number, calls)
            finally:
                gateway.stop()
        _libraries()
    finally:
        stack.remove()


def _gateway(gateway: Gateway, number: int, calls: int) -> None:
    client = HttpBackend(gateway.socket)
    client.health()
    print(f"gateway, {number} services: {gateway.resident() / 1e6:.1f} MB after its first answer")
    _report(f"gateway, {number} services, all", client.services, calls)
    _report(f"gateway, {number} services, one", lambda: client.service("s0"), calls)
    begun = time.monotonic()
    _at_once(gateway.socket, 1000)
    seconds = time.monotonic() - begun
    print(
        f"gateway, {number} services: 1000 calls for all at once in {seconds:.2f} s, "
        f"{gateway.resident() / 1e6:.1f} MB after that"
    )


def _at_once(path: str, number: int) -> None:
    clients = [socket.socket(socket.AF_UNIX) for _ in range(number)]
    for client in clients:
        client.settimeout(60)
        client.connect(path)
        client.sendall(b"GET /v1/services HTTP/1.1\r\nHost: x\r\n\r\n")
    for client in clients:
        if not receive(client).startswith(b"HTTP/1.1 200"):
            raise SystemExit("not answered")
        client.close()


def _libraries() -> None:
    for what, code in _LOAD.items():
        program = code.format(engine=ENGINE, name=f"{STACK}-s0") + _MEMORY
        printed = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
            capture_output=True,
            text=True,
            check=True,
        )
        rss, pss = (int(line) / 1e3 for line in printed.stdout.split())
        print(f"Python with {what}: {rss:.1f} MB resident, {pss:.1f} MB of them its share")


def _report(what: str, call: Callable[[], object], calls: int) -> None:
    call()
    times = []
    for _ in range(calls):
        begun = time.perf_counter()
        call()
        times.append((time.perf_counter() - begun) * 1e3)
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    print(f"{what}: p50 {p50:.2f} ms, p99 {p99:.2f} ms of {calls} calls", flush=True)


@contextmanager
def _supervisor(directory: Path, number: int) -> Iterator[str]:
    directory.mkdir()
    path = str(directory / "control.sock")
    config = {
        "version": 1,
        "supervisor": {
            "socket": path,
            "run_dir": str(directory),
            "state_dir": str(directory / "state"),
            "log_file": str(directory / "supervisor.log"),
            "pids_file": str(directory / "pids.env"),
        },
        "processes": [{"name": f"s{n}", "command": ["sleep", "3600"]} for n in range(number)],
    }
    file = directory / "supervisor.json"
    file.write_text(json.dumps(config))
    process = subprocess.Popen(
        [sys.executable, "-m", "process_supervisor.init", "--config", str(file)],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SOURCES)},
        stdout=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: _running(path) == number, "all run", 60)
        yield path
    finally:
        process.terminate()
        process.wait(60)


def _running(path: str) -> int:
    try:
        return sum(service.running for service in ProcessBackend(path).services())
    except Exception:
        return -1


if __name__ == "__main__":
    threading.stack_size(256 << 10)
    sys.exit(main())
