"""The load of the other tests sees what goes wrong: a client that misses it would prove nothing."""

from __future__ import annotations

import itertools
import socketserver
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from load import Seen, load

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Harbour-Version: 7\r\n\r\nok"
# What a server may do to a request, by the outcome that it has to be noted as.
TROUBLES = {
    "status": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad",
    "reset": b"",
    "protocol": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhalf",
}


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[int], bytes]], int]]:
    """A function that starts a server, given what it answers to the nth request."""
    servers: list[socketserver.ThreadingTCPServer] = []

    def start(answer: Callable[[int], bytes]) -> int:
        numbers = itertools.count(1)

        class Connection(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while self.rfile.readline():
                    while self.rfile.readline().strip():
                        pass
                    said = answer(next(numbers))
                    self.wfile.write(said)
                    if said != _OK:
                        return

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return int(server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def seen_of(port: int, number: int = 400) -> Seen:
    """Return what a load saw of a server that answers pages only."""
    with load("127.0.0.1", port, rate=200, long_rate=0) as running:
        running.wait_for(number, seconds=60)
    # A picture that is sent gets no picture's answer from such a server.
    return Seen([r for r in running.seen.requests if not r["kind"].startswith("post")])


@pytest.mark.parametrize("kind", TROUBLES)
def test_every_kind_of_failure_is_counted(
    serve: Callable[[Callable[[int], bytes]], int], kind: str
) -> None:
    # Seven has nothing in common with the hundred after which the kinds of requests come again:
    # the trouble meets each of them, and not the same ones each time (those that are left out).
    seen = seen_of(serve(lambda number: TROUBLES[kind] if number % 7 == 0 else _OK))
    counted = Counter(r["outcome"] for r in seen.requests)
    assert counted["ok"] > 200
    # A request on a kept connection that is closed without an answer is sent again, once.
    assert counted[kind] + seen.retried >= 5, counted
    assert set(counted) == {"ok", kind}
    assert seen.versions == {"7"}
    with pytest.raises(AssertionError, match="the first"):
        seen.assert_none_failed(1)


def test_what_is_soon_over_is_asked_for_half_of_what_was_due(
    serve: Callable[[Callable[[int], bytes]], int],
) -> None:
    with load("127.0.0.1", serve(lambda _: _OK), rate=100, long_rate=0) as running:
        running.wait_for(100, seconds=60)
    pages = [r for r in running.seen.requests if r["outcome"] == "ok"]
    seen = replace(running.seen, requests=pages)
    seen.assert_none_failed(100_000, set())
    with pytest.raises(AssertionError, match="were wanted"):
        replace(seen, requests=pages[: len(pages) // 5]).assert_none_failed(100_000, set())


def test_a_server_that_is_not_there_is_counted(
    serve: Callable[[Callable[[int], bytes]], int],
) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as closed:
        port = int(closed.server_address[1])
    seen = seen_of(port, 50)
    assert {r["outcome"] for r in seen.requests} == {"refused"}


def test_a_stall_is_a_gap_and_slow_answers(
    serve: Callable[[Callable[[int], bytes]], int],
) -> None:
    stalled = threading.Event()

    def answer(number: int) -> bytes:
        if number >= 200 and not stalled.is_set():
            # Everybody who comes meanwhile waits, too: the load does not wait with them.
            threading.Timer(0.5, stalled.set).start()
            stalled.wait()
        return _OK

    seen = seen_of(serve(answer), 500)
    assert seen.longest_gap > 300, seen.summary()
    assert sum(r["ms"] > 100 for r in seen.requests) > 50, seen.summary()
    assert max(r["late_ms"] for r in seen.requests) < 300, seen.summary()
