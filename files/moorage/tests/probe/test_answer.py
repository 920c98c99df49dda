"""Answers byte by byte, and when which request is sent, without a socket."""

from __future__ import annotations

import os
from typing import Any

import pytest

from moorage.probe.answer import Answer, ProtocolError
from moorage.probe.pace import LATE_SECONDS, Pace
from moorage.probe.target import Sample, Target
from moorage.probe.worker import Worker


def read(data: bytes, *, bodiless: bool = False, size: int = 1) -> tuple[Answer, bool]:
    """Feed an answer in pieces; return it, and whether it was complete with the last of them."""
    answer, complete = Answer(bodiless=bodiless), False
    for at in range(0, len(data), size):
        assert not complete, f"complete before {data[at:]!r}"
        complete = answer.feed(data[at : at + size])
    return answer, complete


WHOLE = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell", 200, True, b"well"),
    (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, True, b""),
    (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 4\r\n\r\nwell", 200, False, b"well"),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nwell", 200, False, b"well"),
    (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nw", 200, True, b"w"),
    (b"HTTP/1.1 204 No\r\n\r\n", 204, True, b""),
    (b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", 304, True, b""),
    (b"HTTP/1.1 101 Other\r\n\r\n", 101, False, b""),
    (b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, True, b"x"),
    (b"HTTP/1.1 199 x\r\n\r\nHTTP/1.1 103 y\r\n\r\nHTTP/1.1 204 z\r\n\r\n", 204, True, b""),
    (
        b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;x=1\r\nwel\r\n1\r\nl\r\n0\r\nTrailer: x\r\n\r\n",
        500, True, b"wel\r\nl\r\n",
    ),
]  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize(("data", "status", "reusable", "body"), WHOLE)
def test_an_answer_ends_where_it_says(
    data: bytes, status: int, reusable: bool, body: bytes, size: int
) -> None:
    answer, complete = read(data, size=size)
    assert (complete, answer.status, answer.reusable) == (True, status, reusable)
    assert answer.excerpt == body
    assert not answer.end() or status == 0


def test_what_nobody_asked_for_ends_the_connection() -> None:
    answer = Answer(bodiless=False)
    assert answer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200")
    assert not answer.reusable


def test_an_answer_to_head_has_no_body() -> None:
    answer, complete = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", bodiless=True)
    assert complete and answer.reusable


def test_without_a_length_the_connection_tells_the_end_and_otherwise_cuts_it_off() -> None:
    open_end, complete = read(b"HTTP/1.1 200 OK\r\n\r\nwell")
    assert not complete and open_end.end() and not open_end.reusable
    for cut in (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwell", b"HTTP/1.1 200 OK\r\n",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwel\r\n"):  # fmt: skip
        answer, complete = read(cut)
        assert not complete and not answer.end()


def test_what_the_edge_says_is_heard() -> None:
    head = b"HTTP/1.1 504 x\r\nX-Moorage-Peer: " + b"p" * 99 + b"\r\nX-Moorage-Late: 1\r\n\r\n"
    answer, _ = read(head)
    assert (answer.peer, answer.late) == ("p" * 64, True)
    plain, _ = read(b"HTTP/1.1 504 x\r\n\r\n")
    assert (plain.peer, plain.late) == ("", False)


def test_of_a_long_body_only_its_beginning_is_kept() -> None:
    answer, complete = read(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 500, size=64)
    assert complete and answer.excerpt == b"x" * 160


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-x",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * (65 << 10),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * (5 << 10),
    ],
)
def test_what_is_no_answer_is_refused_and_not_kept_for_ever(data: bytes) -> None:
    answer = Answer(bodiless=False)
    with pytest.raises(ProtocolError):
        for at in range(0, len(data), 512):
            answer.feed(data[at : at + 512])


class Client:
    """Takes requests and keeps them."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bool]] = []
        self.under_way = 0
        self.patience: list[float] = []

    def __len__(self) -> int:
        return self.under_way

    def begin(self, index: int, *, kept: bool) -> None:
        self.sent.append((index, kept))
        self.under_way += 1

    def wait_for_answers(self, seconds: float) -> None:
        self.patience.append(seconds)


def test_targets_take_turns_on_fresh_and_kept_connections_at_a_steady_rate() -> None:
    client: Any = Client()
    unsent: list[Sample] = []
    pace = Pace(client, 2, 10.0, 3, unsent.append)
    assert pace.send_due(100.0) == pytest.approx(0.1)
    assert client.sent == [(0, False)]
    assert pace.send_due(100.05) == pytest.approx(0.05)
    client.under_way = 0
    pace.send_due(100.2)
    assert client.sent == [(0, False), (1, False), (0, True)]
    # No more than three wait for an answer; what is too late is not made up for.
    client.under_way = 2
    pace.send_due(100.4)
    assert client.sent[3:] == [(1, True)]
    assert [(s.kind, s.target) for s in unsent] == [("unsent", 0)]
    assert unsent[0].detail == "3 requests were waiting for an answer"
    client.under_way = 0
    pace.send_due(100.5 + LATE_SECONDS + 0.01)
    assert "did not get to run" in unsent[1].detail
    assert len(unsent) == 2 and len(client.sent) == 6


def test_who_is_held_is_not_asked_by_a_crowd_and_commands_may_come_in_pieces() -> None:
    source, commands = os.pipe()
    answers, output = os.pipe()
    settings = {"targets": [Target("web", "127.0.0.1", 1, "/").to_dict()], "rate": 50,
                "timeout_seconds": 2}  # fmt: skip
    worker = Worker(settings, output)
    usual = worker._pace.limit
    client = Client()
    worker._client.close()
    worker._client = client  # type: ignore[assignment]
    try:
        os.write(commands, b'{"patience": 30}\n{"pati')
        worker._read(source)
        assert client.patience == [30.0] and worker._pace.limit == 4 < usual
        os.write(commands, b'ence": 2}\n{"settle": 5.5}\n')
        worker._read(source)
        assert client.patience == [30.0, 2.0] and worker._pace.limit == usual
        assert worker._settling == [5.5] and not worker._stopping
        os.write(commands, b'{"stop": true}\n')
        worker._read(source)
        assert worker._stopping
    finally:
        for fd in (source, commands, answers, output):
            os.close(fd)
