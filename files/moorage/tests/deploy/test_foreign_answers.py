"""Whoever has taken the place of a supervisor's socket may answer anything: it is told, no more."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from moorage.cli.tables import event_rows, status_rows, table
from moorage.control.contract import ControlError
from moorage.control.process import ProcessBackend
from moorage.deploy.supervisor import Supervisor
from moorage.probe.receipt import write_receipt
from process_supervisor.control.client import ControlError as Refusal

Answer = Callable[[bytes], Path]
STATUS = {
    "name": "web",
    "state": "RUNNING",
    "health": "none",
    "wanted": "up",
    "autostart": True,
    "restarts": 0,
    "pid": 5,
    "uptime": 1.0,
    "exit": {"code": 0, "signal": None, "at": 1.0},
    "reason": None,
    "log_tail": [],
    "ports": [],
    "memory_bytes": 5,
}
EVENT = {"seq": 1, "at": 1.0, "event": "state", "process": "web"}
ODD: list[Any] = [None, True, -1, 10**400, 1e300, float("nan"), "x", [], {}, [None], {"a": []}]


@pytest.fixture
def answer(tmp_path: Path) -> Iterator[Answer]:
    """Return a function that has a socket answer every request with some bytes."""
    path = tmp_path / "control.sock"
    said = [b""]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(65536)
                        connection.sendall(said[0])
                    except OSError:
                        continue

        threading.Thread(target=serve, daemon=True).start()

        def put(content: bytes) -> Path:
            said[0] = content
            return path

        yield put
        server.shutdown(socket.SHUT_RDWR)


def result(value: Any) -> bytes:
    return json.dumps({"v": 1, "id": 1, "ok": True, "result": value}).encode() + b"\n"


def ask(path: Path) -> None:
    """Ask as `moorage` and as a rollout do; raises nothing but what both expect."""
    backend = ProcessBackend(str(path), timeout=10)
    client = Supervisor(str(path), timeout=10)
    for look in (backend.services, lambda: [backend.service("web")]):
        try:
            rows = [{**s.to_dict(), "service": s.name, "kind": "process"} for s in look()]
            table(status_rows(rows))
        except ControlError:
            pass
    try:
        table(event_rows(backend.events()))
        backend.logs("web")
    except ControlError:
        pass
    for call in (client.status, lambda: client.status("web"), client.reload, client.info):
        with suppress(Refusal):
            call()


def test_answers_of_any_shape_are_refused_in_words(answer: Answer) -> None:
    for value in ODD:
        ask(answer(result(value)))
    for whole in (STATUS, EVENT):
        for key in whole:
            for value in ODD:
                ask(answer(result([{**whole, key: value}])))
                ask(answer(result({**whole, key: value})))


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"[]\n", b"{\n", b"\xff\n", b"[" * 100_000 + b"\n", b'{"v": 1, "error": 5}\n',
     b'{"v": 1, "ok": true}\n', b'{"v": 1, "error": [1]}\n', b'{"v": 2}\n'],
)  # fmt: skip
def test_what_is_no_answer_is_refused_in_words(answer: Answer, content: bytes) -> None:
    ask(answer(content))


def test_an_answer_without_an_end_fills_no_memory(answer: Answer) -> None:
    path = answer(b"x" * (40 << 20))
    with pytest.raises(Refusal, match="without an end"):
        Supervisor(str(path), timeout=60).status()


def test_an_answer_that_drips_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def drip() -> None:
            with server.accept()[0] as connection, suppress(OSError):
                while not over.wait(0.05):
                    connection.sendall(b" ")

        over = threading.Event()
        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        # Without an end of its own the drip would end it, which is another refusal.
        threading.Timer(20.0, over.set).start()
        with pytest.raises(Refusal, match="no answer in time"):
            Supervisor(str(path), timeout=0.5).info()
        over.set()
        dripping.join()


def test_a_right_answer_is_understood(answer: Answer) -> None:
    path = answer(result([STATUS]))
    assert Supervisor(str(path)).status() == [STATUS]
    assert [found.name for found in ProcessBackend(str(path)).services()] == ["web"]
    path = answer(result([{**STATUS, "wanted": 5}]))
    with pytest.raises(Refusal, match=r"\[0\].wanted: a text is wanted, it holds 5"):
        Supervisor(str(path)).status()


def test_what_an_application_has_said_costs_no_receipt(tmp_path: Path) -> None:
    path = write_receipt(tmp_path, {"reason": "half: \ud800"}, None)
    assert json.loads(path.read_bytes()) == {"reason": "half: ?"}
