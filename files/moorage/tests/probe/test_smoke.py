"""One request to real servers, well-behaved and not: what is said of each."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from moorage.probe import Target, smoke

sys.path.insert(0, str(Path(__file__).parent))

from probe_servers import OK, Conduct, free_port, http_server, raw_server, request, reset, target


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_server_that_is_well_has_nothing_said_of_it(method: str) -> None:
    with http_server() as (port, seen):
        paths = ["/", "/chunked"]
        assert smoke([target(port, path, method=method) for path in paths], 5.0) == []
    assert sorted(seen) == [(method, path, "close") for path in paths]


def test_what_is_wrong_is_said_with_target_and_answer() -> None:
    with http_server() as (port, _):
        wrong = [
            target(port, "/500", "front"),
            target(port),
            Target("api", "127.0.0.1", port, "/", expect=(204, 204)),
            target(nothing := free_port(), "/health"),
            Target("api", "no.such.host.invalid", 80, "/"),
        ]
        said = smoke(wrong, 5.0)
    assert said[:3] == [
        f"front: GET http://127.0.0.1:{port}/500: "
        "answered 500 where 200 to 399 is expected: out of order",
        f"api: GET http://127.0.0.1:{port}/: answered 200 where 204 is expected: well",
        f"web: GET http://127.0.0.1:{nothing}/health: connection refused",
    ]
    assert "no address of no.such.host.invalid" in said[3]
    assert len(said) == 4


def _stall(connection: socket.socket, _: int) -> None:
    request(connection)
    connection.recv(1)


def _dribble(connection: socket.socket, _: int) -> None:
    request(connection)
    connection.sendall(OK[:-1])
    connection.recv(1)


def _slam(connection: socket.socket, _: int) -> None:
    request(connection)
    reset(connection)


def _hang_up(connection: socket.socket, _: int) -> None:
    request(connection)


def _hang_up_halfway(connection: socket.socket, _: int) -> None:
    request(connection)
    connection.sendall(OK[:-1])


def _babble(connection: socket.socket, _: int) -> None:
    request(connection)
    connection.sendall(b"SSH-2.0-OpenSSH_10.0\r\n\r\n")


def _miscount(connection: socket.socket, _: int) -> None:
    request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")


@pytest.mark.parametrize(
    ("conduct", "words"),
    [
        (_stall, "no answer within 0.3 s"),
        (_dribble, "the answer did not end within 0.3 s"),
        (_slam, "connection reset unanswered"),
        (_hang_up, "connection closed unanswered"),
        (_hang_up_halfway, "connection closed in the middle of the answer"),
        (_babble, "no status line of HTTP/1: 'SSH-2.0"),
        (_miscount, "no size of a chunk: b'zz'"),
    ],
)
def test_a_server_that_misbehaves_is_described(conduct: Conduct, words: str) -> None:
    with raw_server(conduct) as port:
        (said,) = smoke([target(port)], 0.3 if "0.3" in words else 5.0)
    assert words in said


def test_all_are_asked_at_once_and_the_time_is_bounded() -> None:
    with raw_server(_stall) as port:
        began = time.monotonic()
        assert len(smoke([target(port)] * 80, 0.3)) == 80
        assert time.monotonic() - began < 12.0, "one after the other it would be twice that"


def _until_closed(connection: socket.socket, _: int) -> None:
    request(connection)
    connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.0 200 OK\r\n\r\nwell")


def test_interim_answers_and_bodies_that_end_with_the_connection() -> None:
    with raw_server(_until_closed) as port:
        assert smoke([target(port)], 5.0) == []


def test_no_descriptor_is_left_open() -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    with http_server() as (port, _):
        smoke([target(port)], 5.0)
        before = count()
        for _ in range(20):
            smoke([target(port), target(free_port())], 5.0)
        # The server closes its side a moment later, in threads of its own.
        assert count() <= before + 5
