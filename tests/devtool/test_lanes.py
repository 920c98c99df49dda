"""Pieces of work side by side: real processes, as `make test` has them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from devtool import lanes, suite
from devtool.ui import Problem


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lanes, "LOGS", tmp_path / "log")
    return tmp_path / "log"


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until, "waited a minute"
        time.sleep(0.02)


def at_work(pid: int) -> bool:
    """Tell whether a process is there and has not ended, whoever has yet to hear of its end."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_as_many_as_there_are_lanes_are_at_work_and_each_shows_its_output_whole(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    came, present = tmp_path / "came", tmp_path / "present"

    def one(number: int) -> bool:
        for place in (came, present):
            (place / str(number)).touch()
        # The first does not end before the second has begun.
        wait_for(lambda: len(os.listdir(came)) >= 2)
        beside = len(os.listdir(present)) - 1
        print(f"{number} begins with at most one beside it: {beside <= 1}")
        subprocess.run(["sh", "-c", f"echo {number} has a child; echo with an error >&2"])
        print(f"{number} ends")
        (present / str(number)).unlink()
        return True

    came.mkdir()
    present.mkdir()
    works = [(f"work {n}", lambda n=n: one(n)) for n in range(4)]
    done = list(lanes.run(works, 2))
    assert {(one.name, one.passed) for one in done} == {(name, True) for name, _ in works}
    said = capfd.readouterr().out
    for n in range(4):
        whole = f"{n} has a child\nwith an error\n{n} ends\n"
        assert f"output\n{n} begins with at most one beside it: True\n{whole}" in said


def test_what_ends_badly_has_not_passed_and_keeps_nobody_from_work(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def problem() -> bool:
        raise Problem("no milk", "Buy some")

    def error() -> bool:
        raise ZeroDivisionError

    def killed() -> bool:
        os.kill(os.getpid(), signal.SIGKILL)
        return True

    works = [
        ("a", lambda: False),
        ("b", problem),
        ("c", error),
        ("d", killed),
        ("e", lambda: True),
    ]
    done = {one.name: one.passed for one in lanes.run(works, 1)}
    assert done == {"a": False, "b": False, "c": False, "d": False, "e": True}
    said = capfd.readouterr().out
    assert "error: no milk\n  Buy some\n" in said
    assert "ZeroDivisionError" in said


def test_a_run_of_stages_tells_all_and_fails_with_one(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(suite, "_REPORTS", tmp_path)
    monkeypatch.setattr(suite, "_FIRST", ("late",))
    works = [(name, lambda name=name: name != "bad") for name in ("bad", "z", "late")]
    for at_once in (1, 2):
        assert suite._run(works, at_once) == 1
        said = capfd.readouterr().out
        assert re.search(r"^bad +0\.0 +-  FAILED$", said, re.M) and "    z passed" in said
        assert "stages: 2 passed, 1 failed\n" in said
        # What is long is begun first where something else can be done meanwhile.
        in_order = said.index("==> bad") < said.index("==> z") < said.index("==> late")
        assert in_order == (at_once == 1)
        assert suite._run(works[1:], at_once) == 0


def test_what_failed_is_said_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "_REPORTS", tmp_path)
    (tmp_path / "test_it.py").write_text(
        "def test_good(): assert 1\ndef test_bad(): assert 3 == 4, 'it counts'\n"
    )

    def work() -> bool:
        report = f"--junitxml={tmp_path / 'tests.xml'}"
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", report, "."]
        return subprocess.run(argv, cwd=tmp_path, check=False).returncode == 0

    assert suite._run([("tests", work)], 2) == 1
    said = capfd.readouterr().out.rpartition("tests FAILED in")[2]
    assert "tests: test_it::test_bad\n" in said and "AssertionError: it counts" in said
    assert "test_good" not in said
    assert re.search(r"^tests +\d\.\d +2  FAILED$", said, re.M)


def test_what_failed_before_a_test_is_said_at_the_end_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "_REPORTS", tmp_path)
    monkeypatch.setattr(lanes, "LOGS", tmp_path)
    works = [("play", lambda: bool(print("TASK [x]\nfatal: [a]: FAILED! => no milk\nPLAY RECAP")))]
    assert suite._run([*works, ("other", lambda: True)], 2) == 1
    said = capfd.readouterr().out.rpartition("play FAILED in")[2]
    assert "play: no test failed\n  | fatal: [a]: FAILED! => no milk\n" in said
    assert "RECAP" not in said and "other:" not in said


PROGRAM = """
import os, pathlib, subprocess, sys, time
from devtool import lanes
there = pathlib.Path(sys.argv[1])
lanes.LOGS = there / "log"

def work(name):
    try:
        pid = f"{there}/{name}.pid"
        subprocess.run(["sh", "-c", f"echo $$ >{pid}.new; mv {pid}.new {pid}; exec sleep 600"])
    finally:
        time.sleep(0.5)
        (there / f"{name}.put-away").touch()
    return True

for _ in lanes.run([(name, lambda name=name: work(name)) for name in "abc"], 2):
    pass
"""


@pytest.mark.parametrize("whom", ["the terminal's processes", "the first alone"])
def test_who_interrupts_leaves_nothing_at_work(tmp_path: Path, whom: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        pids = [tmp_path / f"{name}.pid" for name in "ab"]
        wait_for(lambda: all(path.exists() for path in pids))
        if whom == "the first alone":
            process.send_signal(signal.SIGINT)
        else:
            os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) != 0
        assert process.stderr is not None and "KeyboardInterrupt" in process.stderr.read()
        assert sorted(p.stem for p in tmp_path.glob("*.put-away")) == ["a", "b"]
        assert not (tmp_path / "c.pid").exists()
        wait_for(lambda: not any(at_work(int(path.read_text())) for path in pids))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
