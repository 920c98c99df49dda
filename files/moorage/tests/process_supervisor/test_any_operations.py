"""Operations that nobody has thought of: what runs at the end is what should, once each.

Real processes under a real supervisor and guardian, both of which are killed in between. Root has
their logs and the supervisor's state on a small disk of their own, which is full at times. `make
test` has some hundred operations, `make test-long` ten thousand.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some

from process_supervisor.common import procfs
from process_supervisor.control.client import ControlError

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig

_MANY = int(os.environ.get("MOORAGE_OPERATIONS", "160"))
_AT_ONCE = 40
# Each numbers its lines, and has left two behind who are not its children any more, or are deaf.
_TALK = "i=0; while :; do i=$((i+1)); echo $$ $i; sleep 0.05; done"
_SCRIPTS = {
    "plain": _TALK,
    "family": f"sleep 1000.1 & setsid -f sleep 1000.2; {_TALK}",
    "deaf": f"trap '' TERM INT HUP; setsid -f sh -c 'trap \"\" TERM; sleep 1000.3'; {_TALK}",
    "brief": "echo $$ 1; sleep 0.3; echo $$ 2",
}
_LEFT = {"plain": 0, "family": 2, "deaf": 1, "brief": 0}
_SIGNALS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}
_NAMES = some.sampled_from(list(_SCRIPTS))
_OPERATIONS = some.one_of(
    some.tuples(some.sampled_from(["start", "stop", "restart", "kill", "freeze"]), _NAMES),
    some.tuples(some.sampled_from(["take", "give"]), _NAMES),
    some.tuples(some.sampled_from(["supervisor", "guardian", "both", "all"]), some.just("")),
    some.tuples(some.sampled_from(["fill", "free"]), some.just("")),
)
_DISK_BYTES = 4 << 20


class World:
    """A supervisor, and what should be true of it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.client = rig.client
        self.wanted = dict.fromkeys(_SCRIPTS, True)
        self.disk = rig.path("disk")
        self.disk.mkdir()
        size = f"size={_DISK_BYTES}"
        mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.disk)]
        self.small = os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0
        rig.more = {"state_dir": str(self.disk / "state")}
        rig.start(*map(self.config, self.wanted))

    def config(self, name: str) -> dict[str, Any]:
        return {
            "name": name, "command": ["sh", "-c", _SCRIPTS[name]], "stop_grace": 0.2,
            "restart_limit": None, "restart_delay": 0.0, "restart_delay_max": 0.1,
            "stdout_logfile": str(self.disk / f"{name}.log"),
            "log_max_bytes": 2000, "log_backups": 1000,
        }  # fmt: skip

    def fill(self, full: bool) -> None:
        """Have the disk full, or as it was."""
        ballast = self.disk / "ballast"
        if full and self.small:
            with suppress(OSError), ballast.open("ab", buffering=0) as file:
                while file.write(b"x" * 4096):
                    pass
        elif not full:
            ballast.unlink(missing_ok=True)

    def unmount(self) -> None:
        if self.small:
            subprocess.run(["umount", "--lazy", str(self.disk)], check=True)

    def ask(self, verb: Callable[[], Any]) -> Any:
        """Have it done by whichever supervisor there is."""

        def answered() -> tuple[Any] | None:
            try:
                return (verb(),)
            except ControlError as trouble:
                if trouble.code not in ("unreachable", "protocol"):
                    raise
                if not self.rig.supervisors():
                    self.rig.start()  # as a service manager would
                return None

        return self.rig.until(answered, "an answer")[0]

    def do(self, operation: str, name: str) -> None:
        client, here = self.client, name in self.wanted
        if operation in ("start", "stop", "restart") and here:
            self.ask(lambda: getattr(client, operation)(name, wait=60))
            self.wanted[name] = operation != "stop"
        elif operation in _SIGNALS:
            self.signal(self.pids().get(name), _SIGNALS[operation])
        elif (operation == "take" and here) or (operation == "give" and not here):
            self.wanted = {n: up for n, up in self.wanted.items() if n != name}
            if operation == "give":
                self.wanted[name] = True
            self.rig.configure(*map(self.config, self.wanted))
            self.ask(client.reload)
        elif operation in ("fill", "free"):
            self.fill(operation == "fill")
        elif not name:
            self.kill(operation)

    @staticmethod
    def signal(pid: int | None, number: int) -> None:
        with suppress(ProcessLookupError):
            if pid:
                os.kill(pid, number)

    def pids(self) -> dict[str, int]:
        return {item["name"]: item["pid"] for item in self.ask(self.client.status)}

    def kill(self, whom: str) -> None:
        rig, info = self.rig, self.ask(self.client.info)
        if whom in ("guardian", "both"):
            self.signal(info["guardian_pid"], signal.SIGKILL)
        if whom in ("supervisor", "both"):
            self.signal(info["pid"], signal.SIGKILL)
        if whom == "all":
            for pid in self.pids().values():
                self.signal(pid, signal.SIGKILL)
        assert rig.guardian is not None
        rig.guardian.poll()

    def misfits(self) -> list[Any]:
        """What is not there as it should be, once, with nothing else."""
        found = (
            (status, self.rig.family(status["name"])) for status in self.ask(self.client.status)
        )
        return [
            (status["name"], status["state"], status["pid"], family)
            for status, pids in found
            if not self.fits(status, family := {pid: self.words(pid) for pid in pids})
        ]

    def fits(self, status: dict[str, Any], family: dict[int, list[bytes]]) -> bool:
        name, pid = status["name"], status["pid"]
        if not self.wanted.get(name):
            return pid is None and not family
        mains = list(family.values()).count([b"sh", b"-c", _SCRIPTS[name].encode(), b""])
        left = sum(each[:1] == [b"sleep"] and each[1][:5] == b"1000." for each in family.values())
        runs = mains == 1 and pid in family and status["state"] == "RUNNING"
        if name == "brief":
            runs = mains <= 1 and status["state"] in ("RUNNING", "STARTING", "BACKOFF")
        return runs and left <= _LEFT[name]

    def settles(self) -> None:
        seen = list[Any]()

        def look() -> bool:
            seen[:] = self.misfits()
            return not seen

        with suppress(AssertionError):
            self.rig.until(look, "")
        assert not seen, self.wanted

    @staticmethod
    def words(pid: int) -> list[bytes]:
        with suppress(OSError):
            return procfs.read(f"/proc/{pid}/cmdline").split(b"\0")
        return [b""]  # it has ended meanwhile

    def lines(self, name: str) -> None:
        """Make sure that none of a process's lines is lost or cut."""
        last = dict[str, int]()
        for line in b"".join(self.rig.log_files(self.disk / f"{name}.log")).decode().splitlines():
            pid, number = line.split()
            assert int(number) in (1, last.get(pid, 0) + 1), line
            last[pid] = int(number)


@given(some.lists(_OPERATIONS, min_size=_AT_ONCE, max_size=_AT_ONCE))
@settings(
    derandomize=True,
    max_examples=_MANY // _AT_ONCE,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # what fails is told as it was: playing it again takes minutes
    suppress_health_check=list(HealthCheck),
)
def test_what_runs_at_the_end_is_what_should(
    rigs: Callable[[], AbstractContextManager[Rig]], operations: list[tuple[str, str]]
) -> None:
    with rigs() as rig:
        world = World(rig)
        try:
            for number, (operation, name) in enumerate(operations, 1):
                world.do(operation, name)
                if number % 10 == 0:
                    world.settles()
            world.fill(False)
            for name in world.wanted:
                world.lines(name)
            world.ask(rig.client.shutdown)
            rig.until(lambda: not any(map(rig.family, _SCRIPTS)), "nothing is left")
        finally:
            world.unmount()
