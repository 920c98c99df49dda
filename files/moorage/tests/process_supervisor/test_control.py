"""The control socket: what it answers, and that no client can hold it up."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import stat
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from process_supervisor.control.client import Client, ControlError

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig

SLEEPER = {"name": "sleeper", "command": ["sleep", "1000"]}


def raw(rig: Rig, data: bytes) -> list[dict[str, Any]]:
    """Send bytes and return the answers until the supervisor is silent or closes."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(rig.client.path)
        received = b""
        # What the supervisor did not care to read makes its close a reset.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while data := client.recv(65536):
                received += data
    return [json.loads(line) for line in received.splitlines()]


def hung_up(client: socket.socket) -> bool:
    """Whether the supervisor has closed a connection."""
    poll = select.poll()
    poll.register(client, 0)
    return bool(poll.poll(0))


def request(op: str, **args: Any) -> bytes:
    """A request's line."""
    return json.dumps({"v": 1, "id": 5, "op": op, "args": args}).encode() + b"\n"


def test_the_socket_is_for_user_and_group_only(rig: Rig) -> None:
    rig.start(SLEEPER)
    assert stat.S_IMODE(os.stat(rig.client.path).st_mode) == 0o660


def test_bad_requests_are_told_why(rig: Rig) -> None:
    rig.start(SLEEPER)
    for line, code, told in (
        (b"garbage\n", "bad-request", "not a JSON line"),
        (b"[" * 60_000 + b"\n", "bad-request", "not a JSON line"),
        (b"\xff\xfe\n", "bad-request", "not a JSON line"),
        (b"[1]\n", "bad-request", "must be a JSON object"),
        (b'{"v":2,"id":5,"op":"status"}\n', "bad-request", "protocol version 2"),
        (b"x" * 70_000 + b"\n", "bad-request", "at most 65536 bytes"),
        (b"x" * 200_000, "bad-request", "at most 65536 bytes"),
        (request("fly"), "bad-request", "unknown op 'fly'"),
        (request("status", name=5), "bad-request", "name must be a string"),
        (request("status", name="absent"), "not-found", "there is no process absent"),
        (request("stop"), "bad-request", "name is required"),
        (request("logs", name="sleeper", lines=-1), "bad-request", "lines must be a number"),
        (request("logs", name="sleeper", stream="x"), "bad-request", "stream must be"),
        (request("signal", name="sleeper", signal="NOPE"), "bad-request", "no such signal"),
        (b'{"v":1,"id":5,"op":"status","args":[1]}\n', "bad-request", "args must be an object"),
        (b'{"v":1,"id":5,"op":["x"]}\n', "bad-request", "unknown op"),
    ):
        answers = raw(rig, line)
        assert len(answers) == 1, (line[:50], answers)
        assert answers[0]["ok"] is False
        assert answers[0]["error"]["code"] == code, (line[:50], answers)
        assert told in answers[0]["error"]["message"]


def test_one_connection_may_ask_many_things(rig: Rig) -> None:
    rig.start(SLEEPER)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(rig.client.path)
        lines = [json.dumps({"v": 1, "id": number, "op": "info"}) for number in range(200)]
        text = ("\n".join(lines) + "\n").encode()
        for begin in range(0, len(text), 7):
            client.sendall(text[begin : begin + 7])
        answers = client.makefile("rb")
        assert [json.loads(next(answers))["id"] for _ in range(200)] == list(range(200))


def test_clients_that_misbehave_do_not_delay_others(rig: Rig) -> None:
    noisy = {"name": "noisy", "command": [sys.executable, "-c", "print('y' * 999, flush=True)"]}
    rig.start(SLEEPER, {**noisy, "autorestart": "never"})
    rig.in_state("noisy", "EXITED")
    held = []
    for number in range(80):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5)
        client.connect(rig.client.path)
        # Some say nothing, some half a line, some ask for much and never read.
        client.sendall([b"", b'{"v":1,', request("status") * 40][number % 3])
        held.append(client)
    # Whoever waited for them would wait for ever.
    assert rig.status("sleeper")["state"] == "RUNNING"
    # The oldest have given way to the youngest.
    rig.until(lambda: hung_up(held[0]), "the first is cut off", timeout=20)
    assert not hung_up(held[-1])
    for client in held:
        client.close()
    rig.until(lambda: rig.status("sleeper")["state"] == "RUNNING", "the socket still answers")


def test_who_asks_on_and_never_reads_is_cut_off(rig: Rig) -> None:
    rig.start({**SLEEPER, "command": ["sh", "-c", f"yes {'x' * 999} | head -n 1000; sleep 1000"]})
    rig.until(lambda: len(rig.client.logs("sleeper", lines=1000)) == 1000, "there is much to tell")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(rig.client.path)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(30):
                client.sendall(request("logs", name="sleeper", lines=1000))
        rig.until(lambda: hung_up(client), "it is cut off", timeout=20)
    assert rig.status("sleeper")["state"] == "RUNNING"


def test_who_asked_and_why_is_on_record_and_survives(rig: Rig) -> None:
    rig.start(SLEEPER)
    rig.client.stop("sleeper", who="alice", reason="maintenance")
    rig.kill_supervisor()
    found = [item for item in rig.client.events(limit=1000) if item["event"] == "request"]
    assert [(item["op"], item["process"], item["who"], item["reason"]) for item in found] == [
        ("stop", "sleeper", "alice", "maintenance")
    ]
    assert found[0]["peer"] == f"uid {os.getuid()}, pid {os.getpid()}"
    numbers = [item["seq"] for item in rig.client.events(limit=1000)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert rig.client.events(since=numbers[-2]) == rig.client.events(limit=1)


def test_a_request_that_takes_too_long_is_a_timeout_but_goes_on(rig: Rig) -> None:
    stubborn = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    rig.start({"name": "stubborn", "command": ["sh", "-c", stubborn], "stop_grace": 1.5})
    rig.until(lambda: "ready" in rig.client.logs("stubborn"), "the trap is set")
    with pytest.raises(ControlError) as caught:
        rig.client.stop("stubborn", wait=0.2)
    assert caught.value.code == "timeout"
    assert rig.in_state("stubborn", "STOPPED")["exit"]["signal"] == 9


def test_a_request_that_waits_is_answered_by_a_shutdown(rig: Rig) -> None:
    command = ["sh", "-c", "trap '' TERM; echo up; sleep 9"]
    rig.start(SLEEPER, {"name": "waits", "command": command, "stop_grace": 0.5,
                        "stdout_logfile": str(rig.path("waits.log"))})  # fmt: skip
    answers: list[dict[str, Any]] = []
    rig.until(lambda: rig.client.logs("waits") == ["up"], "the trap is set")
    thread = threading.Thread(target=lambda: answers.append(rig.client.stop("waits")))
    thread.start()
    rig.in_state("waits", "STOPPING")
    assert rig.shut_down() == 0
    thread.join(10)
    assert [answer["state"] for answer in answers] == ["STOPPED"]


def test_following_a_log(rig: Rig) -> None:
    code = "import time\nfor n in range(10**6): print(n, flush=True); time.sleep(0.002)"
    rig.start(
        {"name": "counter", "command": [sys.executable, "-c", code], "log_max_bytes": 500,
         "log_backups": 3}
    )  # fmt: skip
    rig.until(lambda: len(rig.client.logs("counter")) > 5, "some lines")
    lines = rig.client.follow("counter", lines=3)
    seen = [int(next(lines)) for _ in range(400)]
    assert seen == list(range(seen[0], seen[0] + 400))
    lines.close()  # type: ignore[attr-defined]


def test_a_follower_that_does_not_read_costs_the_supervisor_nothing(rig: Rig) -> None:
    code = "import sys\nwhile True: sys.stdout.write('x' * 99 + '\\n')"
    rig.start(
        {"name": "flood", "command": [sys.executable, "-c", code], "log_max_bytes": 1 << 20,
         "log_backups": 2}
    )  # fmt: skip
    with socket.socket(socket.AF_UNIX) as idle:
        idle.connect(rig.client.path)
        idle.sendall(request("follow", name="flood"))
        log = rig.path("flood.log.1")
        rig.until(log.exists, "rotation")
        for _ in range(20):
            assert rig.status("flood")["state"] == "RUNNING"
    rig.client.stop("flood")
    pid = rig.client.info()["pid"]
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        assert int(file.read().split()[1]) * 4096 < 30e6


def test_many_clients_at_once(rig: Rig) -> None:
    rig.start(SLEEPER)
    problems: list[Exception] = []

    def ask() -> None:
        try:
            for _ in range(20):
                Client(rig.client.path).status()
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_nobody_there(tmp_path: Any) -> None:
    with pytest.raises(ControlError) as caught:
        Client(str(tmp_path / "absent.sock")).status()
    assert caught.value.code == "unreachable"
