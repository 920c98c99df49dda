"""The prober in its own process against real servers: every request is accounted for."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moorage.probe import Figures, Prober, Sample, Target, verdict
from moorage.probe.client import Client

sys.path.insert(0, str(Path(__file__).parent))

from probe_servers import OK, free_port, http_server, raw_server, request, reset, target, until

RATE = 100.0


@contextmanager
def probing(
    targets: list[Target], rate: float = RATE, timeout_seconds: float = 5.0
) -> Iterator[Prober]:
    prober = Prober(targets, rate, timeout_seconds)
    prober.start()
    prober.window("during")
    try:
        yield prober
    finally:
        prober.stop()


def gather(prober: Prober, requests: int = 30, window: str = "during") -> None:
    """Let the prober go on until so many requests have ended."""
    until(lambda: prober.figures(window).requests >= requests, f"{requests} requests")


def test_kept_and_fresh_connections_alternate_and_all_succeed() -> None:
    with http_server() as (port, seen):
        # One may overtake another on its way: those to the same path are a tenth of a second apart.
        with probing([target(port), target(port, "/chunked")], rate=20) as prober:
            gather(prober)
        figures = prober.figures("during")
    assert figures.failed == {}
    assert figures.unsent == figures.pending == 0
    assert figures.requests == len(seen)
    for path in ("/", "/chunked"):
        kinds = [kind for _, asked, kind in seen if asked == path]
        assert kinds[:4] == ["close", "keep-alive"] * 2
    assert figures.p50_ms is not None
    assert figures.p50_ms <= (figures.p95_ms or 0) <= (figures.p99_ms or 0)
    assert verdict(figures, figures, budget=0, p99_factor=5, p99_floor_seconds=1) is None


def test_a_kept_connection_is_used_again() -> None:
    connections: list[int] = []

    def serve(connection: socket.socket, number: int) -> None:
        connections.append(number)
        while request(connection):
            connection.sendall(OK)

    with raw_server(serve) as port, probing([target(port)]) as prober:
        gather(prober, 40)
        prober.stop()
        figures = prober.figures("during")
    assert figures.failed == {}
    # Half of the requests on fresh connections, the other half on a few.
    assert figures.requests / 2 <= len(connections) < figures.requests * 0.8


def test_slow_answers_do_not_slow_the_sending() -> None:
    with http_server() as (port, _), probing([target(port, "/slow")]) as prober:
        gather(prober, 60)
        prober.stop()
        figures = prober.figures("during")
    assert figures.failed == {}
    # An answer takes half a second: one after the other it would have been two in a second.
    assert figures.requests / figures.seconds > 20
    assert (figures.p50_ms or 0) >= 500


@pytest.mark.parametrize(
    ("conduct", "kind"),
    [
        (lambda c, n: request(c) and c.recv(1), "timeout"),
        (lambda c, n: request(c) and reset(c), "reset"),
        (lambda c, n: request(c) and c.sendall(b"nonsense\r\n\r\n"), "protocol"),
        (lambda c, n: request(c) and c.sendall(OK.replace(b"200", b"503")), "status"),
        (None, "refused"),
    ],
)
def test_failures_are_counted_by_kind(conduct, kind) -> None:  # type: ignore[no-untyped-def]
    port = free_port()
    with raw_server(conduct or (lambda c, n: None)) as raw:
        with probing([target(raw if conduct else port)], timeout_seconds=0.3) as prober:
            gather(prober, 10)
        figures = prober.figures("during")
    assert figures.failed == {kind: figures.requests}
    assert figures.p99_ms is None
    assert len(figures.examples) == 1
    assert (figures.longest_gap_ms or 0) > 50
    healthy = Figures(20, {}, 1.0, 1.0, 1.0, 20.0, 0.4, [])
    reason = verdict(healthy, figures, budget=0, p99_factor=5, p99_floor_seconds=1)
    assert reason is not None
    assert f"({figures.requests} {kind}); the budget is 0" in reason
    assert figures.examples[0] in reason


def _closes_idle_connections(connection: socket.socket, number: int) -> None:
    """Answer once; close with a reset the moment that a second request comes."""
    if request(connection):
        connection.sendall(OK)
        # Not before: then the client sees it in time and there is nothing to try again.
        if request(connection):
            reset(connection)


def test_a_kept_connection_that_was_closed_is_tried_again_for_idempotent_methods() -> None:
    with raw_server(_closes_idle_connections) as port:
        with probing([target(port)]) as prober:
            gather(prober)
        figures = prober.figures("during")
        with probing([target(port, method="POST")]) as prober:
            gather(prober)
        posted = prober.figures("during")
    assert figures.failed == {}
    assert 0 < figures.retried <= figures.requests / 2
    assert posted.retried == 0
    assert posted.failed.keys() == {"reset"}


def test_a_connection_that_is_closed_while_idle_costs_nothing() -> None:
    samples: list[Sample] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        port = listener.getsockname()[1]
        client = Client([target(port, method="POST")], 30.0, samples.append)
        for number in (1, 2, 3):
            # At once: a prober that did not get to run has not seen either that it was closed.
            client.begin(0, kept=True)
            with listener.accept()[0] as connection:
                assert request(connection)
                connection.sendall(OK)  # and closes without having said so
                while len(samples) < number:
                    client.turn(1.0)
        client.close()
    # What is never answered ends as a timeout.
    assert [(sample.kind, sample.retried) for sample in samples] == [("", False)] * 3


def test_a_server_that_goes_and_comes_back_leaves_a_gap() -> None:
    port = free_port()
    with probing([target(port)]) as prober:
        gather(prober, 20)
        prober.window("after")
        listener = socket.create_server(("127.0.0.1", port), reuse_port=False)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    request(connection)
                    connection.sendall(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

        threading.Thread(target=serve, daemon=True).start()
        gather(prober, 20, "after")
        prober.stop()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    during, after = prober.figures("during"), prober.figures("after")
    assert during.failed == {"refused": during.requests}
    assert (during.longest_gap_ms or 0) >= 150
    assert after.requests - after.failures >= 18
    assert (after.longest_gap_ms or 0) < (during.longest_gap_ms or 0) + 1000


def test_a_request_counts_for_the_window_in_which_it_was_sent() -> None:
    release = threading.Event()

    def serve(connection: socket.socket, number: int) -> None:
        if request(connection):
            if number == 0:
                release.wait(10)
            connection.sendall(OK)

    with raw_server(serve) as port:
        prober = Prober([target(port)], RATE, 10.0)
        prober.start()
        prober.window("before")
        gather(prober, 5, "before")
        prober.window("during")
        gather(prober, 5, "during")
        # It is over, and one of its requests is not: the figures wait for that.
        threading.Timer(0.2, release.set).start()
        before = prober.figures("before")
        prober.stop()
    assert before.failed == {}
    assert before.p99_ms is not None
    assert before.p99_ms >= 200
    assert (prober.figures("during").p99_ms or 0) < before.p99_ms
    assert prober.figures("before") == before


def test_a_stuck_service_does_not_make_figures_wait_for_ever_and_limits_what_is_open() -> None:
    with raw_server(lambda c, n: request(c) and c.recv(1)) as port:
        prober = Prober([target(port)], RATE, 1.0)
        prober.start()
        prober.window("during")
        gather(prober, 3)
        prober.stop()
        figures = prober.figures("during")
    assert figures.requests == figures.failures
    assert figures.incomplete == ""


def test_stopping_twice_and_asking_for_a_window_that_never_was() -> None:
    with http_server() as (port, _), probing([target(port)]) as prober:
        gather(prober, 5)
        prober.stop()
        prober.stop()
        assert prober.figures("during").requests >= 5
        assert prober.figures("after") == Figures(0, {}, None, None, None, None, 0.0, [])


def test_a_window_that_is_continued_holds_both_parts() -> None:
    with http_server() as (port, seen), probing([target(port)]) as prober:
        gather(prober, 5)
        prober.window("other")
        first = prober.figures("during")
        gather(prober, 5, "other")
        prober.window("during")
        gather(prober, first.requests + 5)
        prober.stop()
        both, other = prober.figures("during"), prober.figures("other")
    assert both.requests + other.requests == len(seen)


def test_without_targets_there_is_nothing_to_send_and_nothing_to_blame() -> None:
    with probing([]) as prober:
        assert prober.figures("during").requests == 0
    figures = prober.figures("during")
    assert figures.longest_gap_ms is None
    assert verdict(figures, figures, budget=0, p99_factor=5, p99_floor_seconds=1) is None


def test_a_killed_prober_is_admitted_and_not_taken_for_success() -> None:
    with http_server() as (port, _), probing([target(port)]) as prober:
        gather(prober, 5)
        assert prober._process is not None
        prober._process.kill()
        prober._process.wait()
        figures = prober.figures("during")
    assert figures.requests >= 5
    assert "the prober ended by itself (status -9)" in figures.incomplete
    reason = verdict(figures, figures, budget=100, p99_factor=5, p99_floor_seconds=1)
    assert reason is not None
    assert "cannot be judged" in reason


PARENT = """
import json, sys, time
from moorage.probe import Prober, Target
prober = Prober([Target("web", "127.0.0.1", int(sys.argv[1]), "/")], 50, 1.0)
prober.start()
print(prober._process.pid, flush=True)
time.sleep(60)
"""


def test_it_dies_with_its_parent_and_not_with_the_signals_of_its_group() -> None:
    with http_server() as (port, seen):
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(port)], stdout=subprocess.PIPE, text=True
        )
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        until(lambda: seen, "the first request")
        os.kill(child, signal.SIGTERM)
        os.kill(child, signal.SIGINT)
        count = len(seen)
        until(lambda: len(seen) > count + 5, "requests in spite of the signals")
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
        until(lambda: not _lives(child), "the end of the prober")


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_the_process_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    """The module search path of the parent, its environment and its directory do not matter."""
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    sources = str(Path(__file__).resolve().parents[2] / "src")
    with http_server() as (port, seen):
        program = (
            f"import sys; sys.path[:] = [p for p in sys.path if p]; sys.path.insert(0, {sources!r})"
            "\nfrom moorage.probe import Prober, Target"
            f"\np = Prober([Target('web', '127.0.0.1', {port}, '/')], 50, 5.0)"
            "\np.start(); p.window('w')"
            "\nwhile p.figures('w').requests < 3: pass"
            "\np.stop(); import json; print(json.dumps(p.figures('w').to_dict()))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={"PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert json.loads(done.stdout)["failed"] == {}
    assert len(seen) >= 3


def stopped(prober: Prober, seconds: float) -> None:
    """Keep the prober from running for a while, as a busy host does."""
    assert prober._process is not None
    os.kill(prober._process.pid, signal.SIGSTOP)
    try:
        threading.Event().wait(seconds)
    finally:
        os.kill(prober._process.pid, signal.SIGCONT)


def test_an_answer_that_is_read_late_is_no_late_answer() -> None:
    """It was there in time; that the prober did not get to run is nobody's failure."""
    with http_server() as (port, _), probing([target(port, "/slow")]) as prober:
        gather(prober, 20)
        # Each request takes half a second, so dozens are under way.
        stopped(prober, 6.0)
        gather(prober, 60)
        prober.stop()
        figures = prober.figures("during")
    assert figures.failed == {}, figures
    assert (figures.max_ms or 0) < 4000, "when they came is what counts"
    assert figures.unsent > 100
    assert "the prober did not get to run for" in figures.busy_why
    assert 0 < figures.busy <= 1


def test_who_could_not_be_asked_while_the_prober_was_stopped_has_all_of_his_time() -> None:
    samples: list[Sample] = []
    now = [0.0]
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        listener.settimeout(20)
        address = listener.getsockname()
        with socket.create_connection(address):
            # There is no place in the queue: the kernel tries again after a second.
            client = Client([target(address[1])], 5.0, samples.append, lambda: now[0])
            client.begin(0, kept=False)
            listener.accept()[0].close()
        with listener.accept()[0] as connection:
            now[0] = 60.0
            client.turn(0.1)
            assert request(connection)
            connection.sendall(OK)
            now[0] = 64.0
            client.turn(20)
        client.begin(0, kept=False)
        with listener.accept()[0]:
            now[0] = 70.0
            client.turn(0.1)
        client.close()
    assert [sample.kind for sample in samples] == ["", "timeout"]


def test_what_never_answers_fails_for_a_prober_that_was_stopped_too() -> None:
    with raw_server(lambda c, n: request(c) and c.recv(1)) as port:
        with probing([target(port)], timeout_seconds=0.5) as prober:
            gather(prober, 10)
            stopped(prober, 1.5)
            gather(prober, 20)
        figures = prober.figures("during")
    assert figures.failed == {"timeout": figures.requests}
    healthy = Figures(20, {}, 1.0, 1.0, 1.0, 20.0, 0.4, [])
    assert verdict(healthy, figures, budget=0, p99_factor=5, p99_floor_seconds=1)


def test_who_is_held_is_waited_for_as_long_as_that() -> None:
    release = threading.Event()

    def serve(connection: socket.socket, number: int) -> None:
        while request(connection):
            release.wait(30)
            connection.sendall(OK)

    with raw_server(serve) as port, probing([target(port)], timeout_seconds=0.5) as prober:
        prober.wait_for_answers(20)
        threading.Timer(1.5, release.set).start()
        gather(prober, 20)
        prober.wait_for_answers(0)
        release.clear()
        until(lambda: prober.figures("during").failed, "a timeout as before")
        figures = prober.figures("during")
    assert figures.failed.keys() == {"timeout"}
    assert (figures.max_ms or 0) > 1000


def test_who_has_answered_is_known_by_what_the_edge_says() -> None:
    named = OK.replace(b"\r\n\r\n", b"\r\nX-Moorage-Peer: 127.0.0.1:5\r\n\r\n")

    def serve(connection: socket.socket, number: int) -> None:
        while request(connection):
            connection.sendall(named if number % 2 else OK)

    with raw_server(serve) as port, probing([target(port)]) as prober:
        gather(prober, 20)
        prober.stop()
        own = prober.share("during", lambda sample: sample.peer == "127.0.0.1:5")
        both = prober.figures("during")
    assert 0 < own.requests < both.requests


def test_an_answer_that_the_edge_gave_as_the_peer_was_late_is_a_timeout() -> None:
    late = OK.replace(b"200 OK\r\n", b"504 Late\r\nX-Moorage-Late: 1\r\n")
    own = OK.replace(b"200 OK\r\n", b"504 Late\r\n")

    def serve(connection: socket.socket, number: int) -> None:
        while request(connection):
            connection.sendall(late if number % 2 else own)

    with raw_server(serve) as port, probing([target(port)]) as prober:
        gather(prober, 20)
        prober.stop()
        figures = prober.figures("during")
    assert figures.failed.keys() == {"timeout", "status"}
    assert figures.failures == figures.requests
