"""What must survive: killed supervisors, killed guardians, operators' decisions, log lines."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from process_supervisor.common import procfs
from process_supervisor.control.client import ControlError
from process_supervisor.supervisor.store import Store

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig

SLEEPER: dict[str, Any] = {"name": "sleeper", "command": ["sleep", "1000"]}


def last_exit(rig: Rig, name: str) -> dict[str, Any]:
    """How a process ended last."""
    ends = [
        event["exit"] for event in rig.client.events(limit=1000)
        if event.get("process") == name and "exit" in event
    ]  # fmt: skip
    found: dict[str, Any] = ends[-1]
    return found


def test_services_outlive_the_supervisor_and_are_adopted(rig: Rig) -> None:
    rig.start(SLEEPER, {**SLEEPER, "name": "other"})
    before = {item["name"]: item for item in rig.client.status()}
    begin = time.monotonic()
    rig.kill_supervisor()
    assert time.monotonic() - begin < 10
    for name, old in before.items():
        new = rig.status(name)
        for key in ("pid", "started_at", "restarts", "state"):
            assert new[key] == old[key]
        assert new["uptime"] >= old["uptime"]


def test_an_adopted_process_that_dies_is_replaced_and_its_end_is_known(rig: Rig) -> None:
    wait = "trap 'exit 42' USR1; echo up; while :; do sleep 0.02; done"
    rig.start({"name": "waiter", "command": ["sh", "-c", wait]})
    rig.until(lambda: rig.client.logs("waiter") == ["up"], "the trap is set")
    pid = rig.pid("waiter")
    rig.kill_supervisor()
    os.kill(pid, signal.SIGUSR1)
    new = rig.new_pid("waiter", pid)
    assert last_exit(rig, "waiter")["code"] == 42
    rig.kill_supervisor()
    os.kill(new, signal.SIGKILL)
    rig.new_pid("waiter", new)
    assert last_exit(rig, "waiter")["signal"] == signal.SIGKILL


def freeze_guardian(rig: Rig) -> int:
    """Stop the guardian and kill the supervisor, so that there is none for a while."""
    info = rig.answering()
    held = Path(f"/proc/{info['guardian_pid']}/fd")
    fifos = {str(path) for path in (rig.run_dir / "fifo").iterdir()}
    # It opens them a moment after a start; before that nobody would keep what is in them.
    rig.until(lambda: fifos <= {os.readlink(fd) for fd in held.iterdir()}, "FIFOs are held")
    os.kill(info["guardian_pid"], signal.SIGSTOP)
    os.kill(info["pid"], signal.SIGKILL)
    rig.until(lambda: not rig.alive(info["pid"]), "the supervisor is dead")
    return int(info["guardian_pid"])


def test_what_ends_while_there_is_no_supervisor(rig: Rig) -> None:
    say = "echo up; trap 'echo my last words; exit 9' USR1; while :; do sleep 0.02; done"
    rig.start({"name": "talker", "command": ["sh", "-c", say], "autorestart": "never"}, SLEEPER)
    rig.until(lambda: rig.client.logs("talker") == ["up"], "the trap is set")
    talker, sleeper = rig.pid("talker"), rig.pid("sleeper")
    guardian = freeze_guardian(rig)
    os.kill(talker, signal.SIGUSR1)
    os.kill(sleeper, signal.SIGKILL)
    rig.until(lambda: not rig.alive(talker) and not rig.alive(sleeper), "both are dead")
    os.kill(guardian, signal.SIGCONT)
    rig.answering()
    status = rig.in_state("talker", "EXITED")
    assert status["exit"]["code"] == 9
    assert rig.client.logs("talker") == ["up", "my last words"]
    rig.new_pid("sleeper", sleeper)
    assert last_exit(rig, "sleeper")["signal"] == signal.SIGKILL


def test_another_process_with_the_same_pid_is_not_adopted(rig: Rig) -> None:
    rig.start(SLEEPER)
    real = rig.pid("sleeper")
    guardian = freeze_guardian(rig)
    path = rig.run_dir / "state.json"
    state = json.loads(path.read_text())
    # As if the kernel had given the number to somebody else: this very test.
    saved = state["processes"]["sleeper"]
    saved["pid"] = os.getpid()
    saved["turn"] = not saved["turn"]
    assert procfs.start_ticks(os.getpid()) != saved["start_ticks"]
    path.write_text(json.dumps(state))
    os.kill(guardian, signal.SIGCONT)
    rig.answering()
    # The real one was found by its marker; without it, another one would have been started.
    assert rig.pid("sleeper") == real
    assert rig.family("sleeper") == [real]
    os.kill(real, signal.SIGKILL)
    assert rig.new_pid("sleeper", real) != os.getpid()


def test_a_start_that_could_not_be_recorded_is_not_repeated(rig: Rig) -> None:
    rig.start(SLEEPER)
    pid = rig.pid("sleeper")
    guardian = freeze_guardian(rig)
    path = rig.run_dir / "state.json"
    state = json.loads(path.read_text())
    saved = state["processes"]["sleeper"]
    saved |= {"state": "STARTING", "pid": None, "turn": not saved["turn"]}
    path.write_text(json.dumps(state))
    os.kill(guardian, signal.SIGCONT)
    rig.answering()
    assert rig.pid("sleeper") == pid
    assert rig.family("sleeper") == [pid]
    assert rig.status("sleeper")["uptime"] < 60


DAMAGED = {"version": 1, "generation": procfs.generation(), "processes": {"sleeper": {"pid": 1}}}


@pytest.mark.parametrize("saved", ["", "{", "[]", '{"version": 2}', json.dumps(DAMAGED)])
def test_a_lost_or_damaged_state_file_costs_no_restart(rig: Rig, saved: str) -> None:
    rig.start(SLEEPER)
    pid = rig.pid("sleeper")
    guardian = freeze_guardian(rig)
    (rig.run_dir / "state.json").write_text(saved)
    os.kill(guardian, signal.SIGCONT)
    rig.answering()
    assert rig.pid("sleeper") == pid
    assert rig.family("sleeper") == [pid]


def test_what_an_earlier_guardian_left_is_found_without_a_state(rig: Rig) -> None:
    deaf = ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"]
    rig.start(SLEEPER, {"name": "gone", "command": deaf, "stop_grace": 1000})
    pid, gone, info = rig.pid("sleeper"), rig.pid("gone"), rig.answering()
    os.kill(info["guardian_pid"], signal.SIGKILL)
    assert rig.guardian is not None
    rig.guardian.wait()
    rig.until(lambda: (rig._info() or info)["guardian_pid"] == info["pid"], "a new guardian")
    # It is killed while it stops what was taken out, and its state is lost.
    rig.configure(SLEEPER)
    rig.client.reload()
    guardian = freeze_guardian(rig)
    (rig.run_dir / "state.json").write_text("")
    os.kill(guardian, signal.SIGCONT)
    rig.until(lambda: not rig.alive(gone), "what nobody knows is ended")
    assert rig.pid("sleeper") == pid
    assert rig.family("sleeper") == [pid]


def test_what_another_user_marks_as_a_service_is_not_taken_for_it(rig: Rig) -> None:
    rig.configure(SLEEPER)
    mark = procfs.family(f"{procfs.generation()}:{os.path.realpath(rig.run_dir)}", "sleeper")
    # Before the supervisor has started anything.
    marked = ["prlimit", f"--locks={mark}:", "sleep", "1000"]
    stranger = subprocess.Popen(marked, start_new_session=True, user=65534)
    try:
        rig.until(lambda: procfs.marker(stranger.pid) == mark, "it has marked itself")
        rig.start()
        assert rig.pid("sleeper") != stranger.pid
    finally:
        stranger.kill()
        stranger.wait()


def test_what_a_dead_process_has_left_is_not_taken_for_the_next_one(rig: Rig) -> None:
    leaves = "setsid -f sleep 1000.5; exec sleep 1000"
    rig.start({"name": "leaver", "command": ["sh", "-c", leaves]})
    pid = rig.pid("leaver")

    def sleeps(number: str) -> list[int]:
        found = []
        for one in rig.family("leaver"):
            with suppress(OSError):  # it has ended meanwhile
                if procfs.read(f"/proc/{one}/cmdline") == f"sleep\0{number}\0".encode():
                    found.append(one)
        return found

    # Before the last `exec` the one that leads to it is there for a moment, too.
    rig.until(lambda: sleeps("1000") == [pid] and sleeps("1000.5"), "it has left one")
    (left,) = sleeps("1000.5")
    guardian = freeze_guardian(rig)
    os.kill(pid, signal.SIGKILL)
    os.kill(guardian, signal.SIGCONT)
    rig.answering()
    assert rig.new_pid("leaver", pid) != left
    rig.until(lambda: not rig.alive(left), "what was left is ended")


def test_state_and_configuration_of_another_boot_are_not_believed(rig: Rig) -> None:
    rig.start(SLEEPER)
    rig.client.stop("sleeper")
    rig.until(lambda: '"STOPPED"' in (rig.run_dir / "state.json").read_text(), "it is saved")
    files = [rig.run_dir / "state.json", rig.run_dir / "config.json"]
    saved = [json.loads(path.read_text()) for path in files]
    rig.client.start("sleeper")
    assert rig.shut_down() == 0
    saved[0]["memory"] = {"known": 0, "strays": 7, "at": 1.0}
    for path, content in zip(files, saved, strict=True):
        path.write_text(json.dumps({**content, "generation": "another"}))
    rig.start(SLEEPER, {**SLEEPER, "name": "new"})
    assert rig.pid("sleeper")
    assert rig.pid("new")
    assert rig.client.info()["stray_memory_kills"] == 0


def test_a_crash_loop_is_not_forgotten_with_the_supervisor(rig: Rig) -> None:
    rig.start({**SLEEPER, "restart_limit": 2, "restart_reset_seconds": 3600, "restart_delay": 0})
    pid = rig.pid("sleeper")
    for _ in range(2):
        os.kill(pid, signal.SIGKILL)
        pid = rig.new_pid("sleeper", pid)
    rig.kill_supervisor()
    assert rig.pid("sleeper") == pid
    os.kill(pid, signal.SIGKILL)
    rig.until(lambda: rig.status("sleeper")["pid"] != pid, "its end is known")
    assert rig.status("sleeper")["state"] == "FATAL"


def test_a_stop_in_progress_is_finished_by_the_next_supervisor(rig: Rig) -> None:
    deaf = "trap '' TERM; echo up; while :; do sleep 0.02; done"
    rig.start({"name": "deaf", "command": ["sh", "-c", deaf], "stop_grace": 0.5})
    rig.until(lambda: rig.client.logs("deaf") == ["up"], "the trap is set")
    with pytest.raises(ControlError):
        rig.client.stop("deaf", wait=0.05)
    rig.kill_supervisor()
    assert rig.in_state("deaf", "STOPPED")["exit"]["signal"] == signal.SIGKILL


def test_the_guardian_is_replaced_by_its_supervisor(rig: Rig) -> None:
    wait = "trap 'exit 42' USR1; echo up; while :; do sleep 0.02; done"
    rig.start(SLEEPER, {"name": "waiter", "command": ["sh", "-c", wait]})
    rig.until(lambda: rig.client.logs("waiter") == ["up"], "the trap is set")
    before = {item["name"]: item["pid"] for item in rig.client.status()}
    info = rig.answering()
    assert rig.guardian is not None
    rig.guardian.kill()
    rig.guardian.wait()
    rig.until(lambda: (rig._info() or info)["pid"] != info["pid"], "a new supervisor")
    assert rig.answering()["guardian_pid"] == info["pid"]
    assert {item["name"]: item["pid"] for item in rig.client.status()} == before
    os.kill(before["waiter"], signal.SIGUSR1)
    rig.new_pid("waiter", before["waiter"])
    assert last_exit(rig, "waiter")["code"] == 42
    rig.client.shutdown()
    rig.until(lambda: not rig.alive(info["pid"]), "the new guardian ends as well")
    assert rig.family("sleeper") == []


def test_guardian_and_supervisor_killed_at_once(rig: Rig) -> None:
    rig.start(SLEEPER)
    pid = rig.pid("sleeper")
    info = rig.answering()
    os.kill(info["guardian_pid"], signal.SIGSTOP)
    os.kill(info["pid"], signal.SIGKILL)
    os.kill(info["guardian_pid"], signal.SIGKILL)
    assert rig.guardian is not None
    rig.guardian.wait()
    assert rig.alive(pid)
    rig.start()
    assert rig.pid("sleeper") == pid
    os.kill(pid, signal.SIGTERM)
    rig.new_pid("sleeper", pid)


def test_a_takeover_replaces_the_supervisor_and_keeps_the_services(rig: Rig) -> None:
    rig.start(SLEEPER)
    pid, info = rig.pid("sleeper"), rig.answering()
    first = rig.guardian
    assert first is not None
    rig.start(words=["--takeover"])
    assert first.wait(60) == -signal.SIGKILL
    rig.until(lambda: (rig._info() or info)["pid"] != info["pid"], "the new supervisor")
    assert rig.guardian is not None
    assert rig.answering()["guardian_pid"] == rig.guardian.pid
    assert rig.pid("sleeper") == pid
    assert rig.shut_down() == 0


def test_a_second_supervisor_on_the_same_directory_is_refused(rig: Rig) -> None:
    rig.start(SLEEPER)
    first = rig.guardian
    pid = rig.pid("sleeper")
    rig.start()
    assert rig.guardian is not None
    assert rig.guardian.wait(60) == 73
    rig.guardian = first
    assert rig.pid("sleeper") == pid


def test_an_operators_stop_outlives_everything(rig: Rig) -> None:
    rig.start(SLEEPER, {**SLEEPER, "name": "other"})
    rig.client.stop("sleeper", who="alice")
    rig.kill_supervisor()
    assert rig.status("sleeper")["state"] == "STOPPED"
    assert rig.shut_down() == 0
    rig.start()
    rig.pid("other")
    status = rig.status("sleeper")
    assert (status["state"], status["wanted"]) == ("STOPPED", "down")
    assert status["reason"] == "stopped by an operator"
    for again in (rig.client.start, rig.client.restart):
        again("sleeper")
        assert rig.shut_down() == 0
        rig.start()
        assert rig.pid("sleeper")
        rig.client.stop("sleeper")


def test_a_stop_ends_with_what_was_stopped(rig: Rig) -> None:
    rig.start(SLEEPER, {**SLEEPER, "name": "other"})
    rig.client.stop("sleeper")
    rig.configure({**SLEEPER, "name": "other"})
    rig.client.reload()
    # Another one of that name, which somebody starts, starts with the supervisor, too.
    rig.until(lambda: len(rig.client.status()) == 1, "it is gone")
    rig.configure({**SLEEPER, "autostart": False}, {**SLEEPER, "name": "other"})
    rig.client.reload()
    rig.client.start("sleeper")
    rig.configure(SLEEPER, {**SLEEPER, "name": "other"})
    rig.client.reload()
    assert rig.shut_down() == 0
    rig.start()
    assert rig.pid("sleeper")


def test_a_killed_supervisor_goes_on_shutting_down(rig: Rig) -> None:
    deaf = "trap '' TERM; echo up; while :; do sleep 0.02; done"
    rig.start({"name": "deaf", "command": ["sh", "-c", deaf], "stop_grace": 1})
    rig.until(lambda: rig.client.logs("deaf") == ["up"], "the trap is set")
    info = rig.answering()
    assert rig.guardian is not None
    rig.guardian.send_signal(signal.SIGTERM)
    rig.until(lambda: rig.status("deaf")["state"] == "STOPPING", "it is stopping")
    os.kill(info["pid"], signal.SIGKILL)
    assert rig.guardian.wait(60) == 0
    assert rig.family("deaf") == []


def test_a_sigterm_to_everybody_leaves_services_their_time(rig: Rig) -> None:
    # The end of a host as systemd-shutdown brings it about.
    slow = "trap 'sleep 0.5; echo tidy; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    rig.start({"name": "slow", "command": ["sh", "-c", slow]})
    rig.until(lambda: rig.client.logs("slow") == ["up"], "the trap is set")
    info = rig.answering()
    assert rig.guardian is not None
    rig.guardian.send_signal(signal.SIGTERM)
    rig.until(lambda: rig.status("slow")["state"] == "STOPPING", "it is stopping")
    os.kill(info["pid"], signal.SIGTERM)
    assert rig.guardian.wait(60) == 0
    assert b"tidy" in b"".join(rig.log_files(rig.path("slow.log")))


def test_a_second_interrupt_does_not_wait(rig: Rig) -> None:
    deaf = "trap '' TERM; echo up; while :; do sleep 0.02; done"
    rig.start({"name": "deaf", "command": ["sh", "-c", deaf], "stop_grace": 60})
    rig.until(lambda: rig.client.logs("deaf") == ["up"], "the trap is set")
    assert rig.guardian is not None
    rig.guardian.send_signal(signal.SIGINT)
    rig.until(lambda: rig.status("deaf")["state"] == "STOPPING", "it is stopping")
    rig.guardian.send_signal(signal.SIGINT)
    assert rig.guardian.wait(60) == 0
    assert rig.family("deaf") == []


def test_an_unusable_configuration_ends_the_guardian_at_once(rig: Rig) -> None:
    rig.config_path.write_text('{"version": 1, "proceses": []}')
    command = [sys.executable, "-m", "process_supervisor.init", "--config", str(rig.config_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20)
    assert done.returncode == 78
    assert "configuration: proceses: is not a known setting" in done.stderr


NUMBERS = """
import os, sys, time
number = 0
while not os.path.exists("enough"):
    sys.stdout.write(f"{number} {'x' * (number % 120)}\\n")
    number += 1
    if number % 200 == 0:
        sys.stdout.flush()
        time.sleep(0.0005)
sys.stdout.write(f"{number} the end\\n")
"""


def test_directories_that_cannot_be_made_end_the_guardian_at_once(rig: Rig) -> None:
    rig.path("state").write_text("not a directory")
    rig.configure(SLEEPER)
    command = [sys.executable, "-m", "process_supervisor.init", "--config", str(rig.config_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20)
    assert done.returncode == 73
    assert done.stderr.startswith("supervisor: cannot start: [Errno")
    assert "Traceback" not in done.stderr


def test_no_line_is_lost_or_cut_by_rotation_reopening_and_kills(rig: Rig) -> None:
    rig.start(
        {"name": "writer", "command": [sys.executable, "-c", NUMBERS], "autorestart": "never",
         "working_dir": str(rig.directory), "log_max_bytes": 100_000, "log_backups": 10_000}
    )  # fmt: skip
    path = rig.path("writer.log")
    pid = rig.pid("writer")
    for moved in range(5):
        rig.kill_supervisor()
        rig.until(lambda: path.exists() and path.stat().st_size > 1000, "it writes")
        # A log rotator that comes in between, into a name that sorts with ours.
        path.rename(rig.path(f"writer.log-moved-{moved}"))
        rig.client.reopen()
        rig.until(lambda: path.exists() and path.stat().st_size > 1000, "it writes again")
    assert rig.status("writer")["pid"] == pid
    rig.path("enough").touch()
    assert rig.in_state("writer", "EXITED", timeout=20)["exit"]["code"] == 0
    parts = [*rig.log_files(path), *(item.read_bytes() for item in rig.directory.glob("*-moved-*"))]
    assert len(parts) > 20
    lines: list[bytes] = []
    for part in parts:
        assert part.endswith(b"\n") or not part
        lines += part.splitlines()
    for line in lines:
        assert re.fullmatch(rb"\d+ (x*|the end)", line), line
    numbers = sorted(int(line.split()[0]) for line in lines)
    assert numbers == list(range(len(numbers)))
    assert sum(line.endswith(b"the end") for line in lines) == 1


def test_writers_never_see_a_broken_pipe(rig: Rig) -> None:
    code = "import time\nwhile True: print('tick', flush=True); time.sleep(0.001)"
    rig.start({"name": "ticker", "command": [sys.executable, "-c", code]})
    pid = rig.pid("ticker")
    guardian = freeze_guardian(rig)
    ticks = procfs.stat(pid)
    assert ticks is not None
    rig.until(lambda: (procfs.stat(pid) or ticks).ticks > ticks.ticks, "it goes on ticking")
    os.kill(guardian, signal.SIGCONT)
    rig.answering()
    assert rig.pid("ticker") == pid
    assert rig.status("ticker")["restarts"] == 0


def test_who_was_stopped_is_on_the_disk_before_and_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path / "run"), str(tmp_path / "state"), None)
    store.save_stopped({"old"})
    written = []
    real = os.fsync

    def fsync(fd: int) -> None:
        written.append((Path(f"/proc/self/fd/{fd}").readlink().name, store.load_stopped()))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    store.save_stopped({"new"})
    assert written == [("intents.json.new", {"old"}), ("state", {"new"})]
