"""What the manager decides before it asks Supervisor for anything."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from moorage.deploy.runtimes.managers.base import RuntimeFault
from moorage.deploy.runtimes.managers.supervisor import Supervisor, _in_order
from moorage.deploy.runtimes.managers.supervisor_texts import last_exit, others, with_used
from moorage.release.layout import Layout

LOG = """\
2026-11-30 19:00:00,770 INFO spawned: 'shop_task_00' with pid 107
2026-11-30 19:00:01,770 WARN exited: shop_task_00 (exit status 3; not expected)
2026-11-30 19:00:02,770 WARN exited: shop_task_01 (terminated by SIGKILL; not expected)
2026-11-30 19:00:03,770 INFO exited: shop_task_00 (exit status 78; expected)
2026-11-30 19:00:04,770 WARN stopped: shop_web (terminated by SIGTERM)
"""
TWO = b"[program:a]\nstopwaitsecs=1\n[program:b]\nstopwaitsecs=1\n[group:g]\nprograms=a,b\n"


def test_a_program_that_goes_is_no_reason_to_restart_the_others() -> None:
    assert not others(TWO, TWO.replace(b"[program:b]\nstopwaitsecs=1\n", b"").replace(b",b", b""))


def test_a_program_that_stays_and_is_told_otherwise_is_one() -> None:
    assert others(TWO, TWO.replace(b"stopwaitsecs=1\n[group", b"stopwaitsecs=2\n[group"))


def test_programs_of_the_release_before_stay_while_they_are_used() -> None:
    now = b"[program:c]\nstopwaitsecs=3\n[group:g]\nprograms=c\n"
    found = with_used(now, TWO, ["b", "c", "unknown"])

    both = b"[program:c]\nstopwaitsecs=3\n[group:g]\nprograms=c,b\n[program:b]\nstopwaitsecs=1\n"
    assert found.replace(b" ", b"").replace(b"\n\n", b"\n").strip() == both.strip()


def test_what_is_needed_starts_first_whatever_its_name() -> None:
    needs = {"a": ("c", "elsewhere"), "b": (), "c": ("b",)}

    assert _in_order(list(needs), needs) == ["b", "c", "a"]


def test_two_that_need_each_other_start_nevertheless() -> None:
    assert sorted(_in_order(["a", "b"], {"a": ("b",), "b": ("a",)})) == ["a", "b"]


def test_how_a_program_has_ended_stands_in_the_log_alone() -> None:
    ended = {unit: last_exit(LOG, f"shop_{unit}") for unit in ("task_00", "task_01", "web", "new")}

    assert ended == {"task_00": 3, "task_01": 137, "web": 143, "new": 0}


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n<?xml", b"\0\n"],
    ids=["nothing", "headers", "half", "odd"],
)
def test_a_supervisor_that_is_killed_within_its_answer_does_not_answer(
    tmp_path: Path, answer: bytes
) -> None:
    path = tmp_path / "supervisor.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def answering() -> None:
            for _ in range(2):  # the client asks again where nothing came
                listening.settimeout(5)
                with listening.accept()[0] as asked:
                    asked.recv(1 << 16)
                    asked.sendall(answer)

        threading.Thread(target=answering, daemon=True).start()
        manager = Supervisor(Layout.of("shop", tmp_path / "opt", tmp_path / "run"), path)
        with pytest.raises(RuntimeFault, match="does not answer"):
            manager._ask("getState")
