"""What the control API takes for a request, to the byte, and what it says to everything else."""

import pytest

from moorage.control.contract import ControlError
from moorage.control.wire import (
    HEAD_END,
    MAX_BODY,
    MAX_HEAD,
    MAX_HEADERS,
    MAX_TARGET,
    check_head,
    parse_head,
)

LINE = b"POST /v1/services/web/stop HTTP/1.1"
HEAD = LINE + b"\r\nHost: x"


def status_of(head: bytes) -> int:
    """Return the status of a refusal, 200 where there is none."""
    try:
        check_head(head + HEAD_END)
        parse_head(head)
    except ControlError as refusal:
        return refusal.status
    return 200


def target(length: int) -> bytes:
    return b"GET /" + b"a" * (length - 1) + b" HTTP/1.1\r\nHost: x"


def headers(count: int) -> bytes:
    return HEAD + b"".join(b"\r\nx-%d: 1" % number for number in range(count - 1))


def test_a_request_is_read_as_it_stands() -> None:
    request = parse_head(b"GET /a/b?lines=5&stream=x HTTP/1.1\r\nHOST:  h \r\nContent-Length: 12")
    assert (request.method, request.path, request.length) == ("GET", "/a/b", 12)
    assert request.query == {"lines": "5", "stream": "x"}
    assert request.headers == {"host": "h", "content-length": "12"}
    plain = parse_head(HEAD)
    assert (plain.query, plain.length) == ({}, 0)


@pytest.mark.parametrize(
    ("whole", "beyond", "status"),
    [
        (target(MAX_TARGET), target(MAX_TARGET + 1), 414),
        (headers(MAX_HEADERS), headers(MAX_HEADERS + 1), 431),
        (
            HEAD + b"\r\nContent-Length: %d" % MAX_BODY,
            HEAD + b"\r\nContent-Length: %d" % (MAX_BODY + 1),
            413,
        ),
        (
            HEAD + b"\r\nx: " + b"a" * (MAX_HEAD - len(HEAD) - 5),
            HEAD + b"\r\nx: " + b"a" * (MAX_HEAD - len(HEAD) - 4),
            431,
        ),
    ],
    ids=["target", "headers", "body", "head"],
)
def test_limits_are_kept_to_the_byte(whole: bytes, beyond: bytes, status: int) -> None:
    assert (status_of(whole), status_of(beyond)) == (200, status)


def test_a_head_without_an_end_is_not_waited_for() -> None:
    check_head(b"a" * MAX_HEAD)
    with pytest.raises(ControlError) as refused:
        check_head(b"a" * (MAX_HEAD + 1))
    assert refused.value.status == 431


@pytest.mark.parametrize(
    "lines",
    [
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: identity\r\nContent-Length: 3",
        b"Content-Length: 3\r\nContent-Length: 3",
        b"Content-Length: 3\r\ncontent-length: 4",
        b"Host: y",
        b"Content-Type: application/json\r\nContent-Type: text/plain",
        b"Content-Length: +3",
        b"Content-Length: -1",
        b"Content-Length: 0x3",
        b"Content-Length: 3, 3",
        b"Content-Length:",
        b"no colon",
        b"space : 1",
        b" folded: 1",
        b"x: 1\n y: 2",
        b"x: 1\ry: 2",
        b"x: \0",
    ],
)
def test_what_two_readers_could_read_differently_is_refused(lines: bytes) -> None:
    assert status_of(HEAD + b"\r\n" + lines) == 400


def test_what_may_stand_twice_does() -> None:
    assert status_of(HEAD + b"\r\nAccept: a\r\nAccept: b") == 200


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /a", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"get /a HTTP/1.1", 400),
        (b"GET  /a HTTP/1.1", 400),
        (b"GET /a HTTP/1.0", 505),
        (b"GET /a HTTP/2", 505),
        (b"GET a HTTP/1.1", 400),
        (b"GET // HTTP/1.1", 400),
        (b"GET /a/../b HTTP/1.1", 400),
        (b"GET /./a HTTP/1.1", 400),
        (b"GET /a%2fb HTTP/1.1", 400),
        (b"GET http://h/a HTTP/1.1", 400),
        (b"GET /a? HTTP/1.1", 400),
        (b"GET /a?b HTTP/1.1", 400),
        (b"GET /a?b=1&b=2 HTTP/1.1", 400),
        (b"GET /a?b=%31 HTTP/1.1", 400),
        (b"GET /a?b= HTTP/1.1", 200),
    ],
)
def test_request_lines(line: bytes, status: int) -> None:
    assert status_of(line + b"\r\nHost: x") == status


def test_a_host_is_asked_for_and_nothing_may_be_expected() -> None:
    assert status_of(LINE) == status_of(LINE + b"\r\nAccept: a") == 400
    assert status_of(HEAD + b"\r\nExpect: 100-continue") == 417
