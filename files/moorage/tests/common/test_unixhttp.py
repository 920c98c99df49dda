"""The small client over Unix sockets, with servers that answer in every way, and in none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from moorage.common.unixhttp import (
    ConnectionFailed,
    Kept,
    NotHttp,
    TimedOut,
    ask,
    request_bytes,
)

REQUEST = request_bytes("GET", "/")
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"
CHUNKS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwho\r\n2;note=x\r\nle\r\n0\r\n\r\n"
)
Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a server; each connection gets the answers of one list, in pieces, and is closed."""
    listener = socket.socket(socket.AF_UNIX)
    path = str(tmp_path / "socket")
    threads: list[threading.Thread] = []

    def start(*connections: list[bytes], size: int = 65536, stay: float = 0.0) -> str:
        listener.bind(path)
        listener.listen()

        def run() -> None:
            for answers in connections:
                # The test may be over by then.
                with suppress(OSError), listener.accept()[0] as client:
                    for answer in answers:
                        client.recv(65536)
                        for begin in range(0, len(answer), size):
                            client.sendall(answer[begin : begin + size])
                    time.sleep(stay)

        threads.append(threading.Thread(target=run, daemon=True))
        threads[0].start()
        return path

    yield start
    listener.close()


def test_a_long_body_may_come_with_the_head(serve: Serve) -> None:
    # As the engine's do, when it has the whole answer before anybody reads.
    body = b"x" * 40_000
    head = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"
    assert ask(serve([head + body]), REQUEST, timeout=5, limit=1 << 20).body == body


@pytest.mark.parametrize("size", [1, 65536])
@pytest.mark.parametrize(
    "answer",
    [LENGTH, CHUNKS, b"HTTP/1.0 200 OK\r\n\r\nwhole"],
    ids=["length", "chunks", "until its end"],
)
def test_an_answer_is_read_however_it_is_framed(serve: Serve, answer: bytes, size: int) -> None:
    path = serve([answer], size=size)
    assert ask(path, REQUEST, timeout=5, limit=5).body == b"whole"


@pytest.mark.parametrize(
    "answer", [LENGTH, CHUNKS, b"HTTP/1.0 200 OK\r\n\r\nwhole"], ids=["length", "chunks", "end"]
)
def test_an_answer_that_is_too_long_is_refused(serve: Serve, answer: bytes) -> None:
    path = serve([answer])
    with pytest.raises(ConnectionFailed, match="longer than 4 bytes"):
        ask(path, REQUEST, timeout=5, limit=4)


@pytest.mark.parametrize("answer", [LENGTH[:-1], CHUNKS[:-5], CHUNKS[:-12]])
def test_an_answer_that_breaks_off_is_refused(serve: Serve, answer: bytes) -> None:
    path = serve([answer])
    with pytest.raises(ConnectionFailed, match="breaks off"):
        ask(path, REQUEST, timeout=5, limit=100)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"ok": false}\n',
        b"HTTP/1.1 what\r\n\r\n",
        LENGTH.replace(b"5", b"-5"),
        CHUNKS.replace(b"3\r\nwho", b"z\r\nwho"),
    ],
)
def test_what_is_no_http_is_told_at_once(serve: Serve, answer: bytes) -> None:
    path = serve([answer], stay=3)
    with pytest.raises(NotHttp):
        ask(path, REQUEST, timeout=60, limit=100)


def test_nobody_and_no_answer_are_told_apart(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="No such file"):
        ask(str(tmp_path / "none"), REQUEST, timeout=5, limit=5)
    path = serve([], [b""], stay=0.5)
    with pytest.raises(TimedOut):
        ask(path, REQUEST, timeout=0.1, limit=5)


def test_one_connection_takes_many_questions(serve: Serve) -> None:
    # A second connection would wait for an answer that never comes.
    kept = Kept(serve([LENGTH, CHUNKS, LENGTH]))
    answers = [kept.ask(REQUEST, timeout=5, limit=5).body for _ in range(3)]
    assert answers == [b"whole"] * 3


def test_a_connection_that_the_server_has_closed_is_made_anew(serve: Serve) -> None:
    last = LENGTH.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")
    kept = Kept(serve([LENGTH], [last], [b"HTTP/1.0 200 OK\r\n\r\nwhole"], [LENGTH]))
    answers = [kept.ask(REQUEST, timeout=5, limit=5).body for _ in range(4)]
    assert answers == [b"whole"] * 4
    with pytest.raises(ConnectionFailed):
        kept.ask(REQUEST, timeout=0.2, limit=5)
