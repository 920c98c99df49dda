"""The stack `harbour` on a host: what is seen of it from outside and inside, and its playbooks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import testinfra
from load import Load, load
from playbook import ROOT, Played, command, play
from support import Machine, wait_until

STACK, PORT = "harbour", 5000
BASE = f"/opt/{STACK}"
MARKER, RESERVATION = f"{BASE}/.rollout.json", f"{BASE}/.reservation.json"
POOLS = f"/opt/moorage/edge/pools/{STACK}.json"
# The lock, empty while nobody has it, and what workers write who find another one at work.
HELD = f"{BASE}/.lock {BASE}/data/state/overlaps.jsonl"
# What a rollout must not touch when it fails before its switch.
SERVING = ("web", "worker", "unified")


@dataclass(frozen=True)
class Beat:
    """One run of the worker: its version, and from when to when it was at work (Unix seconds)."""

    run: str
    version: str
    first: float
    last: float


class Harbour(Machine):
    """A host that serves harbour."""

    def __init__(self, name: str) -> None:
        super().__init__(testinfra.get_host(f"docker://{name}"), name)

    # -- what visitors see ----------------------------------------------------------------

    def version(self) -> str:
        """Return the version that answers a visitor."""
        with urllib.request.urlopen(f"http://{self.address}:{PORT}/version", timeout=5) as answer:
            return str(json.loads(answer.read())["version"])

    @contextmanager
    def visited(self, rate: float = 60) -> Iterator[Load]:
        """Send a steady load while the block runs."""
        with load(self.address, PORT, rate=rate) as running:
            yield running

    # -- what there is on the host --------------------------------------------------------

    def pools(self) -> dict[str, list[str]]:
        """Return where the edge sends visitors: what it does, and has kept for its next start."""
        kept: dict[str, list[str]] = json.loads(self.sh(f"cat {POOLS}"))["pools"]
        stacks = json.loads(self.sh("moorage edge status --json"))["stacks"]
        (entry,) = [found for found in stacks if found["stack"] == STACK]
        assert {name: list(peers) for name, peers in entry["pools"].items()} == kept
        return kept

    def serving_containers(self) -> dict[str, str]:
        """Return the ids of the containers that do the work, by name."""
        found = self.container_ids(STACK)
        return {n: i for n, i in found.items() if n.split("-")[1] in SERVING}

    def assert_in_order(self) -> None:
        """Make sure that nothing of a rollout is left, and that the edge knows what there is."""
        names = set(self.container_ids(STACK))
        assert not [name for name in names if name.endswith("-next")], names
        left = self.sh(f"ls -A {BASE}; cat {HELD} 2>/dev/null | sed 's/^/said: /'").splitlines()
        assert not {Path(MARKER).name, Path(RESERVATION).name}.intersection(left), left
        assert not [line for line in left if line.startswith("said: ")], left
        ports = self.published()
        for peer in [peer for peers in self.pools().values() for peer in peers]:
            assert peer in ports, f"the edge sends visitors to {peer}; there are: {ports}"

    def published(self) -> set[str]:
        """Return where the host has ports of the stack's own services, as address:port."""
        if self.topology(STACK) == "host":
            ports = [p for found in self.instances(STACK).values() for p in found["published"]]
            return {f"{port['address']}:{port['port']}" for port in ports}
        label = f"--filter label=moorage.stack={STACK}"
        shown = self.sh(f"docker ps {label} --format '{{{{.Ports}}}}'")
        return set(re.findall(r"([0-9.]+:[0-9]+)->", shown))

    def in_order(self) -> bool:
        """Tell the same, for waiting."""
        self.assert_in_order()
        return True

    def beats(self) -> list[Beat]:
        """Return the runs of the worker in the order of their first heartbeats."""
        runs: dict[str, Beat] = {}
        for line in self.sh(f"cat {BASE}/data/state/heartbeats.jsonl").splitlines():
            seen = json.loads(line)
            run, at = seen["run"], seen["at"]
            first = runs[run].first if run in runs else at
            runs[run] = Beat(run, seen["version"], first, at)
        return list(runs.values())

    def receipt(self) -> dict[str, Any]:
        """Return the newest receipt of the running release."""
        found: dict[str, Any] = json.loads(self.sh(f"cat {BASE}/current/receipt.json"))
        return found

    def schema(self) -> int:
        """Return the revision of the database."""
        script = "import sqlite3; c = sqlite3.connect('/opt/harbour/data/state/harbour.db')"
        ask = "print(c.execute('SELECT number FROM revision').fetchone()[0])"
        return int(self.sh(f'python3 -c "{script}; {ask}"'))


@dataclass
class Operator:
    """Runs playbooks on hosts in one topology; remembers which build runs."""

    topology: str
    build: dict[str, str] = field(default_factory=dict)
    said: str = ""
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(2, 1000)))

    def next_version(self) -> str:
        """Return a version that was never there."""
        return f"{self.topology[0]}{next(self._numbers)}"

    def options(self, build: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        """Return the extra variables of a playbook for a build, by default the running one."""
        return {
            "stack": STACK,
            "harbour_topology": self.topology,
            "harbour_variables": self.build if build is None else {**self.build, **build},
            **more,
        }

    def update(self, host: str, build: dict[str, str] | None = None, **more: Any) -> Played:
        """Update; the build counts as the running one when that went well."""
        played = play("playbooks/update.yml", "--limit", host, **self.options(build, **more))
        if played.status == 0 and build:
            self.build |= build
        return played

    def scale(self, host: str, service: str, replicas: int, **more: Any) -> Played:
        """Have a service run so often."""
        options = {**self.options(), "service": service, "replicas": replicas, **more}
        return play("playbooks/scale.yml", "--limit", host, **options)

    def dry_run(self, host: str, build: dict[str, str]) -> Played:
        """Show what an update to this build would do."""
        options = self.options(build)
        return play("playbooks/update.yml", "--limit", host, "--check", "--diff", **options)

    def rollback(self, host: str, **more: Any) -> Played:
        """Go back; what runs then is for the caller to note in `build`."""
        return play("playbooks/rollback.yml", "--limit", host, **self.options(**more))

    @contextmanager
    def updating(
        self, host: str, build: dict[str, str], **more: Any
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start an update and leave it alone; at the end of the block it is killed.

        What it printed until then is `said` afterwards.
        """
        options = self.options(build, **more)
        argv, environment = command("playbooks/update.yml", "--limit", host, **options)
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                argv,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                kill(process)
                output.seek(0)
                self.said = output.read().decode("utf-8", "replace")


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a playbook with all that it has started on this machine."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for_phase(
    machine: Harbour, process: subprocess.Popen[bytes], what: str, test: str, *arguments: str
) -> None:
    """Wait until a shell test holds on the host, as long as the playbook runs."""
    # The host looks by itself, for some seconds at a time: to ask it anew for each look takes a
    # processor from the update that is waited for.
    looks = f"for look in $(seq 100); do if {test}; then exit; fi; sleep 0.02; done; exit 1"

    def look() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"the playbook ended with {process.returncode} before: {what}")
        return bool(machine.host.run(looks, *arguments).rc == 0)

    wait_until(what, look, seconds=60, every=0)


def outer_file(machine: Harbour, path: str) -> bytes:
    """Return the bytes of a file of the host."""
    argv = ["docker", "exec", machine.name, "cat", path]
    return subprocess.run(argv, capture_output=True, check=True).stdout
