"""Who holds a stack: told from real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from moorage.common.claim import claim, is_gone, machine, started


def test_a_claim_names_this_run() -> None:
    made = claim("update to release 0123", os.getpid())
    assert made["pid"] == os.getpid()
    assert made["who"] and made["controller"]
    assert made["purpose"] == "update to release 0123"
    assert 0 <= time.time() - made["started"] < 24 * 3600


def test_a_process_that_lives_is_not_gone_and_a_dead_one_is() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    made = claim("x", child.pid)
    assert not is_gone(made)
    child.kill()
    child.wait()
    assert is_gone(made)


def test_another_process_under_the_same_number_is_not_the_holder() -> None:
    made = claim("x", os.getpid())
    assert is_gone({**made, "started": made["started"] - 3600})


@pytest.mark.parametrize(
    "change", [{"controller": "another"}, {"pid": 0}, {"machine": ""}, {"machine": "another/4:1"}]
)
def test_of_others_nothing_is_known(change: dict[str, object]) -> None:
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    gone = claim("x", int(child.stdout))
    assert not is_gone({**gone, **change})


def in_another_namespace(program: str, *options: str) -> str:
    """Run Python in a PID namespace of its own and return what it prints."""
    argv = ["unshare", "--pid", "--fork", *options, sys.executable, "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_in_another_namespace_is_never_taken_for_dead() -> None:
    inside = "import json; from moorage.common.claim import claim"
    inside += "; print(json.dumps(claim('x', {})))"
    # A number that nobody has here, and the number of a process that started at another time.
    for pid in (1, 2):
        theirs = json.loads(in_another_namespace(inside.format(pid), "--mount-proc"))
        assert theirs["machine"] and theirs["machine"] != machine()
        assert not is_gone(theirs)
        assert not is_gone({**theirs, "pid": 2**22 - 1})
    ours = claim("x", os.getpid())
    program = f"from moorage.common.claim import is_gone; print(is_gone({ours!r}))"
    assert in_another_namespace(program, "--mount-proc") == "False\n"


def test_without_a_proc_of_its_own_a_namespace_is_unknown() -> None:
    program = "from moorage.common.claim import claim, is_gone; made = claim('x', 1)"
    program += "; print(repr(made['machine']), is_gone(made))"
    assert in_another_namespace(program) == "'' False\n"


def test_a_process_that_is_not_there_has_no_start() -> None:
    assert started(2**22 + 1) is None
