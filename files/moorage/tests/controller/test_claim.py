"""Who holds a stack: told from real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from moorage.controller.claim import claim, is_gone, started


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


@pytest.mark.parametrize("change", [{"controller": "another"}, {"pid": 0}])
def test_of_others_nothing_is_known(change: dict[str, object]) -> None:
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    gone = claim("x", int(child.stdout))
    assert not is_gone({**gone, **change})


def test_a_process_that_is_not_there_has_no_start() -> None:
    assert started(2**22 + 1) is None
