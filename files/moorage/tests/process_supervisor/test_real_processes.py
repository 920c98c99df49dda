"""Real children: starting, stopping, crashing, dependencies, health, reload."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from files.moorage.tests.process_supervisor.conftest import until
from process_supervisor.common import procfs
from process_supervisor.control.client import ControlError
from process_supervisor.service import status as status_module
from process_supervisor.service.leftovers import families, kill_all, remaining
from process_supervisor.service.spawn import RLIMIT_LOCKS
from process_supervisor.service.status import Usage, measure
from process_supervisor.supervisor.store import variable_name

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig


def sleeper(name: str = "sleeper", **settings: Any) -> dict[str, Any]:
    """A process that only sleeps."""
    return {"name": name, "command": ["sleep", "1000"], **settings}


def shell(name: str, script: str, **settings: Any) -> dict[str, Any]:
    """A process that runs a shell script."""
    return {"name": name, "command": ["sh", "-c", script], **settings}


def python(name: str, script: str, **settings: Any) -> dict[str, Any]:
    """A process that runs a Python script."""
    return {"name": name, "command": [sys.executable, "-c", script], **settings}


def pids_of(rig: Rig) -> dict[str, int]:
    """What pids.env says."""
    lines = rig.path("pids.env").read_text().splitlines()
    return {name: int(pid) for name, _, pid in (line.partition("=") for line in lines)}


def test_a_killed_process_is_replaced_at_once_and_pids_env_follows(rig: Rig) -> None:
    rig.start(sleeper(), sleeper("other-one"))
    pid, other = rig.pid("sleeper"), rig.pid("other-one")
    assert pids_of(rig) == {"SLEEPER_PID": pid, "OTHER_ONE_PID": other}
    assert variable_name("other-one") == "OTHER_ONE_PID"
    os.kill(pid, signal.SIGKILL)
    new = rig.new_pid("sleeper", pid)
    expected = {"SLEEPER_PID": new, "OTHER_ONE_PID": other}
    rig.until(lambda: pids_of(rig) == expected, "the file follows")
    status = rig.status("sleeper")
    assert status["restarts"] == 1
    assert rig.status("other-one")["restarts"] == 0
    ends = [event["exit"] for event in rig.client.events() if event.get("to") == "BACKOFF"]
    assert [end["signal"] for end in ends] == [signal.SIGKILL]


def test_status_tells_what_the_kernel_knows(rig: Rig) -> None:
    burn = "x = bytearray(50_000_000)\nwhile True: pass"
    rig.start(python("burner", burn, ports=[5000]))
    rig.until(lambda: rig.status("burner")["memory_bytes"] > 50e6, "the memory shows")
    rig.until(lambda: rig.status("burner")["cpu_percent"] > 20, "the load shows")
    before = time.time()
    status = rig.status("burner")
    assert status["ports"] == [5000]
    assert before - 1 < status["started_at"] + status["uptime"] < time.time() + 1


def test_what_all_use_is_told_as_what_one_uses_or_left_out(rig: Rig) -> None:
    hold = "x = bytearray(50_000_000)\nimport time\ntime.sleep(100000)"
    script = f'{sys.executable} -c "{hold}" & echo held; wait'.replace("\n", ";")
    rig.start({"name": "holder", "command": ["sh", "-c", script]}, shell("other", "sleep 100000"))
    rig.until(lambda: rig.status("holder")["memory_bytes"] > 50e6, "its child's memory shows")
    holder, other = rig.client.status()
    assert holder["memory_bytes"] > 50e6 > other["memory_bytes"] > 0
    # The same, whether children are looked for or all processes are read.
    pid, everybody = holder["pid"], procfs.Everybody(procfs.all_pids())
    assert measure(pid, everybody)[1] == pytest.approx(measure(pid)[1], rel=0.2)
    for status in (rig.client.status(usage=False)[0], rig.client.status("holder", usage=False)):
        assert {"cpu_percent", "memory_bytes"} & set(status) == set()
        assert (status["state"], status["pid"]) == ("RUNNING", pid)


def tried(rig: Rig, name: str) -> bool:
    return bool(rig.status(name)["restarts"] > 15)


def test_without_a_limit_a_process_is_tried_until_its_dependency_is_there(rig: Rig) -> None:
    ready = rig.path("ready")
    need = f"test -e {ready} || exit 1"
    unlimited = {"restart_limit": None, "restart_delay": 0.02, "restart_delay_max": 0.1}
    rig.start(
        shell("migrate", need, autorestart="on-failure", **unlimited),
        shell("feeder", f"{need}; exec sleep 1000", **unlimited),
        sleeper("front", depends_on={"migrate": "completed"}),
    )
    for name in ("migrate", "feeder"):
        rig.until(partial(tried, rig, name), f"{name} is tried on")
        assert rig.status(name)["state"] != "FATAL"
    assert rig.status("front")["state"] == "STARTING"
    ready.touch()
    rig.in_state("front", "RUNNING")
    rig.in_state("feeder", "RUNNING")
    assert rig.status("migrate")["exit"]["code"] == 0


def test_who_waits_for_a_one_off_that_gave_up_goes_on_when_it_succeeds(rig: Rig) -> None:
    need = f"test -e {rig.path('ready')} || exit 1"
    rig.start(
        shell("migrate", need, autorestart="on-failure", restart_limit=1),
        sleeper("front", depends_on={"migrate": "completed"}),
    )
    rig.in_state("migrate", "FATAL")
    rig.path("ready").touch()
    rig.client.start("migrate")
    rig.in_state("front", "RUNNING")


@pytest.mark.parametrize("policy", ["never", "on-failure"])
def test_after_a_boot_a_one_off_is_tried_until_its_dependency_is_there(
    rig: Rig, policy: str
) -> None:
    ready = rig.path("ready")
    ready.touch()
    once = shell("migrate", f"test -e {ready} || exit 1", autorestart=policy, restart_limit=1)
    rig.start(once, sleeper("front", depends_on={"migrate": "completed"}))
    rig.in_state("front", "RUNNING")
    rig.shut_down()
    ready.unlink()
    rig.start()
    rig.until(lambda: rig.status("migrate")["restarts"] > 3, "it is tried again")
    assert rig.status("front")["state"] == "STARTING"
    ready.touch()
    rig.in_state("front", "RUNNING")
    # Another command has not succeeded yet: its first failure counts as the file says.
    rig.configure({**once, "command": ["false"]}, *rig.processes[1:])
    rig.client.reload()
    rig.client.restart("migrate")
    rig.in_state("migrate", "EXITED" if policy == "never" else "FATAL")


def test_a_crash_loop_ends_fatal_with_reason_and_last_lines(rig: Rig) -> None:
    rig.start(
        shell("broken", "echo useless; echo cannot find my database >&2; exit 3",
              restart_limit=3, restart_reset_seconds=60),
        {"name": "absent", "command": ["/no/such/program"], "restart_limit": 2},
        sleeper("lost", working_dir="/no/such/directory", autorestart="never"),
    )  # fmt: skip
    status = rig.in_state("broken", "FATAL")
    assert status["reason"] == (
        "3 restarts without a run of 60 s reached restart_limit; last: exited with status 3"
    )
    assert status["log_tail"] == ["cannot find my database"] * 4
    assert status["exit"]["code"] == 3
    assert status["wanted"] == "up"
    absent = rig.in_state("absent", "FATAL")
    assert "cannot run /no/such/program: No such file or directory" in absent["reason"]
    lost = rig.in_state("lost", "FATAL")
    assert (
        lost["reason"] == "cannot enter working_dir /no/such/directory: No such file or directory"
    )
    rig.kill_supervisor()
    assert rig.status("broken")["state"] == "FATAL"
    assert rig.status("broken")["log_tail"] == status["log_tail"]
    assert rig.client.start("broken")["state"] in ("RUNNING", "BACKOFF")


def test_completed_failed_and_repeated_ends(rig: Rig) -> None:
    rig.start(
        shell("once", "exit 0", autorestart="on-failure"),
        shell("never", "exit 4", autorestart="never"),
        shell("second-try", "test -e tried && exit 0; touch tried; exit 1",
              autorestart="on-failure", working_dir=str(rig.directory)),
    )  # fmt: skip
    assert rig.in_state("once", "EXITED")["restarts"] == 0
    assert rig.in_state("never", "EXITED")["exit"]["code"] == 4
    status = rig.in_state("second-try", "EXITED")
    assert (status["restarts"], status["exit"]["code"]) == (1, 0)
    rig.kill_supervisor()
    assert rig.states("once").count("RUNNING") == 1


def test_stop_is_polite_then_kills_the_whole_group(rig: Rig) -> None:
    rig.start(
        shell("polite", "trap 'echo goodbye; exit 0' TERM; echo up; while :; do sleep 0.05; done"),
        shell("deaf", "trap '' TERM; sleep 1000 & echo up; while :; do sleep 0.05; done",
              stop_grace=0.3),
        shell("quit", "trap 'echo quit; exit 7' QUIT; echo up; while :; do sleep 0.05; done",
              stop_signal="QUIT"),
        shell("wrapper", "sleep 1000; true"),
    )  # fmt: skip
    for name in ("polite", "deaf", "quit"):
        rig.until(partial(rig.client.logs, name), f"{name} is up")
    assert rig.client.stop("polite")["exit"]["code"] == 0
    assert rig.client.logs("polite") == ["up", "goodbye"]
    begin = time.monotonic()
    status = rig.client.stop("deaf")
    assert status["exit"]["signal"] == signal.SIGKILL
    assert 0.3 <= time.monotonic() - begin < 9, "which is less than the usual grace"
    assert rig.client.stop("quit")["exit"]["code"] == 7
    assert rig.client.stop("wrapper")["state"] == "STOPPED"
    for name in ("polite", "deaf", "quit", "wrapper"):
        assert rig.family(name) == []
    assert pids_of(rig) == {}


def test_a_stopped_main_process_can_still_be_stopped(rig: Rig) -> None:
    rig.start(sleeper(stop_grace=30))
    os.kill(rig.pid("sleeper"), signal.SIGSTOP)
    begin = time.monotonic()
    assert rig.client.stop("sleeper")["exit"]["signal"] == signal.SIGTERM
    assert time.monotonic() - begin < 20


ESCAPE = """
import os, sys, time
def escape(depth):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execvpe("sleep", ["sleep", "1000"], {"PATH": os.environ["PATH"]})
        os._exit(0)
for depth in range(3):
    escape(depth)
print("escaped", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("how", ["stop", "crash", "crash of an adopted one"])
def test_children_that_escape_by_setsid_are_found(rig: Rig, how: str) -> None:
    rig.start(python("escaper", ESCAPE), sleeper("bystander"))
    rig.until(lambda: "escaped" in rig.client.logs("escaper"), "children escaped")
    main, bystander = rig.pid("escaper"), rig.pid("bystander")
    escaped = rig.until(
        lambda: (lambda found: found if len(found) == 3 else None)(
            [pid for pid in rig.family("escaper") if pid != main]
        ),
        "three escaped children",
    )
    if how == "stop":
        rig.client.stop("escaper")
        assert rig.family("escaper") == []
    else:
        if how != "crash":
            rig.kill_supervisor()
        os.kill(main, signal.SIGKILL)
        rig.new_pid("escaper", main)
    assert not [pid for pid in escaped if rig.alive(pid)]
    assert rig.pid("bystander") == bystander


BOMB = """
import os, time
end = time.monotonic() + 20
def spread():
    # Bounded: some thirty at a time, each in a session of its own, replacing themselves for ever.
    while time.monotonic() < end:
        if os.fork():
            os._exit(0)
        os.setsid()
        time.sleep(0.02)
for _ in range(30):
    if os.fork() == 0:
        spread()
        os._exit(0)
print("lit", flush=True)
time.sleep(1000)
"""


def test_a_bounded_fork_bomb_is_stopped(rig: Rig) -> None:
    rig.start(python("bomb", BOMB, stop_grace=0.2))
    rig.until(lambda: "lit" in rig.client.logs("bomb"), "the bomb is lit")
    assert rig.client.stop("bomb", wait=15)["state"] == "STOPPED"
    assert rig.family("bomb") == []


def test_nobody_is_killed_before_all_are_frozen(rig: Rig) -> None:
    # What is not frozen forks on while the others are looked for.
    spawn = partial(subprocess.Popen, ["sleep", "600"])
    family = [spawn()]

    def state(child: subprocess.Popen[str]) -> str:
        facts = procfs.stat(child.pid)
        return facts.state if facts else ""

    def look() -> list[int]:
        if len(family) > 1:
            rig.until(lambda: state(family[-2]) == "T", "the one before is frozen", timeout=10)
        if len(family) < 4:
            family.append(spawn())
        return [child.pid for child in family[:-1]]

    try:
        found = kill_all(look)
        assert set(found) == {child.pid for child in family[:-1]}
        assert [child.wait() for child in family[:-1]] == [-signal.SIGKILL] * 3
    finally:
        for child in family:
            child.kill()
            child.wait()


class Listed:
    """Listings as the kernel may give them, and the real processes that they are of."""

    def __init__(self) -> None:
        self.mark = procfs.family("listed", "bomb")
        self.alive = self.spawn()
        self.ended = self.spawn()
        os.kill(self.ended, signal.SIGKILL)
        os.waitid(os.P_PID, self.ended, os.WEXITED | os.WNOWAIT)

    def spawn(self) -> int:
        """Start a process that carries the marker."""
        limits = (self.mark, resource.RLIM_INFINITY)
        return subprocess.Popen(
            ["sleep", "600"], preexec_fn=lambda: resource.setrlimit(RLIMIT_LOCKS, limits)
        ).pid

    def reap(self) -> None:
        """Have the one that has ended be gone."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.ended, 0)


@pytest.fixture
def listed() -> Iterator[Listed]:
    found = Listed()
    yield found
    os.kill(found.alive, signal.SIGKILL)
    os.waitpid(found.alive, 0)
    found.reap()


def test_who_was_born_after_the_listing_is_found(listed: Listed) -> None:
    # It forked and ended after it was listed: its child is in the next listing only.
    listings = iter([[listed.ended], [listed.ended, listed.alive]])
    assert remaining(lambda: next(listings), listed.mark) == [listed.alive]


def test_who_is_left_out_of_a_listing_while_others_end_is_found(listed: Listed) -> None:
    def listings() -> Iterator[list[int]]:
        yield [listed.ended]
        listed.reap()  # as it is listed: the kernel then goes on one place too far
        yield [listed.ended]
        yield [listed.alive]

    found = listings()
    assert remaining(lambda: next(found), listed.mark) == [listed.alive]


def test_that_nobody_is_left_is_seen_among_others_that_come_and_go(listed: Listed) -> None:
    other = procfs.family("listed", "other")
    assert remaining(lambda: [listed.ended, listed.alive], other) == []
    numbers = itertools.count(1 << 22)
    assert remaining(lambda: [next(numbers)], other) == []


def test_the_marks_of_all_are_found_together(listed: Listed) -> None:
    # As of one: not before two listings are the same, and nobody of them was reaped.
    listings = iter([[listed.ended], [listed.ended, listed.alive], [listed.ended, listed.alive]])
    assert listed.mark in families(lambda: next(listings))
    assert listed.mark not in families(list)


def test_whom_a_turn_of_the_loop_left_behind_is_looked_for_in_each(rig: Rig) -> None:
    # Both end in one turn; the family of one is ended, and the other starts without waiting.
    leave = "setsid sleep 100000 & echo left $!; exec sleep 100000"
    rig.start(
        {"name": "leaves", "command": ["sh", "-c", leave]},
        {"name": "alone", "command": ["sleep", "100000"]},
    )
    rig.until(lambda: "left" in rig.path("leaves.log").read_text(), "it has a child")
    left = int(rig.path("leaves.log").read_text().split()[1])
    pids = {name: rig.pid(name) for name in ("leaves", "alone")}
    supervisor = rig.answering()["pid"]
    os.kill(supervisor, signal.SIGSTOP)
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    os.kill(supervisor, signal.SIGCONT)
    for name, pid in pids.items():
        rig.new_pid(name, pid)
    rig.until(lambda: not rig.alive(left), "what was left behind is gone")


def test_dependencies_decide_the_order_of_start_and_stop(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve = (
        "import socket, time, os\nwhile not os.path.exists('go'): time.sleep(0.01)\n"
        f"s = socket.create_server(('127.0.0.1', {port}))\nwhile True: s.accept()[0].close()"
    )
    check = {"type": "tcp", "port": port, "start_interval": 0.05, "start_period": 60}
    here = str(rig.directory)
    rig.start(
        sleeper("web", depends_on={"database": "healthy", "migrate": "completed"}),
        sleeper("worker", depends_on={"web": "started"}),
        shell("migrate", "exit 0", autorestart="on-failure", depends_on={"database": "healthy"}),
        python("database", serve, health_check=check, working_dir=here),
    )
    status = rig.in_state("web", "STARTING")
    assert status["reason"] == "waiting for database to be healthy (its health is starting)"
    assert rig.status("worker")["reason"] == "waiting for web to be started (it is STARTING)"
    assert rig.client.start("worker")["state"] == "STARTING"
    rig.path("go").touch()
    rig.pid("worker")
    assert rig.status("database")["health"] == "healthy"
    assert rig.shut_down() == 0
    log = rig.path("supervisor.log").read_text()
    order = [line.split()[1] for line in log.splitlines() if "-> RUNNING" in line]
    assert order == ["database:", "migrate:", "web:", "worker:"]
    stopped = [line.split()[1] for line in log.splitlines() if "STOPPING -> STOPPED" in line]
    assert stopped == ["worker:", "web:", "database:"]


def test_a_dependency_that_an_operator_stopped_is_named(rig: Rig) -> None:
    rig.start(sleeper("a"), sleeper("b", depends_on={"a": "started"}))
    rig.pid("b")
    rig.client.stop("a")
    rig.client.stop("b")
    reason = rig.client.start("b")["reason"]
    assert reason == "waiting for a to be started (it is STOPPED, stopped by an operator)"
    rig.client.start("a")
    assert rig.pid("b")


def test_an_unhealthy_process_is_restarted(rig: Rig) -> None:
    check = {"type": "command", "command": ["test", "-e", str(rig.path("well"))],
             "interval": 0.05, "retries": 2, "start_period": 0}  # fmt: skip
    rig.path("well").touch()
    rig.start(sleeper(health_check=check),
              sleeper("left", health_check={**check, "restart_when_unhealthy": False}))  # fmt: skip
    pid, left = rig.pid("sleeper"), rig.pid("left")
    rig.until(lambda: rig.status("sleeper")["health"] == "healthy", "it is healthy")
    rig.path("well").unlink()
    rig.until(lambda: rig.status("sleeper")["restarts"] >= 1, "it is restarted")
    rig.path("well").touch()
    assert rig.new_pid("sleeper", pid)
    reasons = [event.get("reason", "") for event in rig.client.events(limit=1000)]
    assert any(reason.startswith("unhealthy: test exited with 1") for reason in reasons)
    assert rig.pid("left") == left


def test_a_check_by_a_command_knows_whom_it_asks(rig: Rig) -> None:
    own = ["sh", "-c", f"echo $$ > {rig.path('pid')}; exec sleep 1000"]
    asks = ["sh", "-c", f'test "$PROCESS_SUPERVISOR_PID" = "$(cat {rig.path("pid")})"']
    check = {"type": "command", "command": asks, "interval": 0.05, "start_interval": 0.05}
    rig.start({**sleeper(health_check=check), "command": own})
    rig.until(lambda: rig.status("sleeper")["health"] == "healthy", "it is healthy")


def test_reload_touches_only_what_changed(rig: Rig) -> None:
    processes = [sleeper("same"), sleeper("longer"), sleeper("tuned"), sleeper("gone")]
    rig.start(*processes)
    before = {name: rig.pid(name) for name in ("same", "longer", "tuned", "gone")}
    rig.configure(
        sleeper("same"),
        {**sleeper("longer"), "command": ["sleep", "2000"]},
        sleeper("tuned", restart_limit=99, log_max_bytes=5000),
        sleeper("new"),
    )
    found = rig.client.reload()
    assert {what: names for what, names in found.items() if names} == {
        "added": ["new"], "removed": ["gone"], "changed": ["longer", "tuned"],
        "unchanged": ["same"], "restarted": ["longer"],
    }  # fmt: skip
    assert rig.new_pid("longer", before["longer"])
    assert rig.pid("same") == before["same"]
    assert rig.pid("tuned") == before["tuned"]
    assert rig.pid("new")
    rig.until(lambda: len(rig.client.status()) == 4, "the removed one is gone")
    assert not rig.alive(before["gone"])
    assert not (rig.run_dir / "fifo" / "gone.stdout").exists()


def test_more_backups_are_kept_from_a_reload_on(rig: Rig) -> None:
    loud = "while :; do echo 0123456789012345678901234567890123456789; sleep 0.002; done"
    rig.start(shell("loud", loud, log_max_bytes=200, log_backups=1))
    rig.until(rig.path("loud.log.1").exists, "rotation")
    pid = rig.pid("loud")
    rig.configure(shell("loud", loud, log_max_bytes=200, log_backups=3))
    rig.client.reload()
    rig.until(rig.path("loud.log.3").exists, "more backups", timeout=20)
    assert rig.pid("loud") == pid
    assert not rig.path("loud.log.4").exists()


def test_a_broken_file_changes_nothing_on_reload_or_after_a_crash(rig: Rig) -> None:
    rig.start(sleeper())
    pid = rig.pid("sleeper")
    rig.config_path.write_text('{"version": 1, "processes": [{"name": "sleeper"}]}')
    with pytest.raises(ControlError, match="process sleeper: command: is required") as caught:
        rig.client.reload()
    assert caught.value.code == "config"
    rig.kill_supervisor()
    assert rig.pid("sleeper") == pid


def test_signals_to_a_process_and_to_the_supervisor(rig: Rig) -> None:
    rig.start(shell("hup", "trap 'echo hup' HUP; echo up; while :; do sleep 0.02; done"))
    rig.until(lambda: rig.client.logs("hup") == ["up"], "it is up")
    rig.client.signal("hup", "HUP")
    rig.until(lambda: rig.client.logs("hup") == ["up", "hup"], "the signal arrived")
    rig.configure(*rig.processes, sleeper("added"))
    assert rig.guardian is not None
    rig.guardian.send_signal(signal.SIGHUP)
    rig.until(lambda: len(rig.client.status()) == 2, "HUP reloads")
    rig.client.stop("added")
    with pytest.raises(ControlError, match="added does not run"):
        rig.client.signal("added", "HUP")


def test_environment_directory_and_outputs(rig: Rig) -> None:
    script = "echo $A $PROCESS_SUPERVISOR_NAME; pwd; echo oops >&2; echo again >/dev/stdout"
    both = str(rig.path("both.log"))
    rig.start(
        shell("env", script, autorestart="never", environment={"A": "1 2"}, working_dir="/usr"),
        shell("both", "echo 1; echo 2 >&2; echo 3", autorestart="never", stdout_logfile=both,
              stderr_logfile=both),
        shell("quiet", "echo x", autorestart="never", stdout_logfile=None, stderr_logfile=None),
    )  # fmt: skip
    for name in ("env", "both", "quiet"):
        rig.in_state(name, "EXITED")
    assert rig.client.logs("env") == ["1 2 env", "/usr", "again"]
    assert rig.client.logs("env", "stderr") == ["oops"]
    assert rig.client.logs("both") == ["1", "2", "3"]
    with pytest.raises(ControlError, match="quiet's stdout is not logged"):
        rig.client.logs("quiet")


def test_no_service_gets_files_that_the_guardian_was_given(rig: Rig) -> None:
    rig.start(shell("lists", "ls /proc/self/fd; echo all; exec sleep 100000"),
              by=["sh", "-c", 'exec "$@" 9</dev/null', "sh"])  # fmt: skip
    rig.until(lambda: rig.path("lists.log").read_text().endswith("all\n"), "all of them")
    # And the list's own.
    listed = rig.path("lists.log").read_text().split()
    assert listed == ["0", "1", "2", "3", "all"]


def test_nothing_wakes_up_while_nothing_happens(rig: Rig) -> None:
    rig.start(sleeper("a"), sleeper("b"), sleeper("c"))
    info = rig.answering()

    def switches() -> list[int]:
        found = []
        for pid in (info["pid"], info["guardian_pid"]):
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                found += [int(line.split()[1]) for line in file if "voluntary_ctxt" in line]
        return found

    last = [switches(), time.monotonic()]

    def quiet() -> bool:
        now = switches()
        if now != last[0]:
            last[:] = [now, time.monotonic()]
        return time.monotonic() - float(last[1]) > 1.5  # type: ignore[arg-type]

    rig.until(quiet, "1.5 s without a single wake-up", timeout=30, pause=0.05)


def test_another_user_is_roots_to_give(rig: Rig) -> None:
    os.chmod(rig.directory, 0o755)
    # Opening /dev/stdout again needs the FIFO to belong to that user.
    script = "id -u; id -g; echo again >/dev/stdout; exec sleep 1000"
    rig.start(shell("other", script, user="65534:65533", restart_limit=0))
    if os.geteuid() == 0:
        rig.until(lambda: len(rig.client.logs("other")) == 3, "it says who it is")
        assert rig.client.logs("other") == ["65534", "65533", "again"]
        assert os.stat(f"/proc/{rig.pid('other')}").st_uid == 65534
        rig.kill_supervisor()
        assert rig.client.stop("other")["state"] == "STOPPED"
    else:
        reason = rig.in_state("other", "FATAL")["reason"]
        assert "only root can run a process as user 65534:65533" in reason


def test_a_yaml_configuration(rig: Rig) -> None:
    rig.config_path = rig.path("supervisor.yaml")
    rig.start(sleeper())
    pid = rig.pid("sleeper")
    rig.kill_supervisor()
    text = rig.config_path.read_text().replace("1000", "2000")
    rig.config_path.write_text(f"# JSON is YAML, comments are not JSON\n{text}")
    assert rig.client.reload()["restarted"] == ["sleeper"]
    rig.new_pid("sleeper", pid)


def test_all_children_are_listed_where_the_kernel_gives_a_page_at_a_time() -> None:
    """A page holds some 680 pids: after a supervisor's end its guardian may have more children."""
    fork = "import os, time\nfor _ in range(900):\n    if not os.fork():\n        time.sleep(600)\n"
    parent = subprocess.Popen(
        [sys.executable, "-c", fork + "time.sleep(600)"], start_new_session=True
    )
    try:
        until(lambda: len(procfs.children(parent.pid) or ()) == 900, "all are children")
        assert procfs.children(parent.pid, single=True) == procfs.children(parent.pid)
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()


def test_who_asks_again_at_once_gets_the_same_look_and_a_new_process_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(status_module, "SHORTEST_SPAN", 600.0)
    usage = Usage()
    few: Any = [None] * 10_000  # more than there are here, so all are read
    look = usage.everybody_for(few)
    assert look is not None
    assert usage.everybody_for(few) is look
    child = subprocess.Popen(["sleep", "600"])
    try:
        assert child.pid not in look.facts
        until(lambda: measure(child.pid, look)[1] > 0, "its memory is measured")
    finally:
        child.kill()
        child.wait()
