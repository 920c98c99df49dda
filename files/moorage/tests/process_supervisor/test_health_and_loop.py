"""Health as a state machine on a clock that is only a number; the loop's timers and sleep."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from process_supervisor.common.loop import EventLoop
from process_supervisor.config.health import HealthConfig
from process_supervisor.config.reader import Reader
from process_supervisor.config.settings import ProcessConfig
from process_supervisor.service import checks
from process_supervisor.service.health import HealthState
from process_supervisor.service.states import Health


def health_config(**settings: Any) -> HealthConfig:
    """A health check's configuration."""
    problems: list[str] = []
    settings = {"type": "tcp", "port": 1} | settings
    given_settings = {key: value for key, value in settings.items() if value is not None}
    config = HealthConfig(Reader(given_settings, "p", problems))
    assert not problems
    return config


def test_failures_do_not_count_in_the_start_period() -> None:
    state = HealthState(health_config(start_period=10, retries=2), started=100)
    for now in (101, 105, 109.9):
        state.failed(now, "refused")
        assert state.status is Health.STARTING
        assert state.delay(now) == 0.5
    state.failed(110, "refused")
    assert (state.status, state.delay(110)) == (Health.STARTING, 10.0)
    state.failed(120, "still refused")
    assert (state.status, state.reason) == (Health.UNHEALTHY, "still refused")


def test_a_success_ends_the_start_period_and_forgives_failures() -> None:
    state = HealthState(health_config(start_period=10, retries=2), started=0)
    state.succeeded()
    assert (state.status, state.delay(1)) == (Health.HEALTHY, 10.0)
    state.failed(2, "x")
    assert state.status is Health.HEALTHY
    state.succeeded()
    seen = []
    for now in (3, 4):
        state.failed(now, "x")
        seen.append(state.status)
    assert seen == [Health.HEALTHY, Health.UNHEALTHY]
    state.succeeded()
    assert (state.status, state.reason) == (Health.HEALTHY, "")


@settings(deadline=None)
@given(
    results=st.lists(st.booleans(), max_size=60),
    retries=st.integers(1, 5),
    period=st.floats(0, 20),
)
def test_unhealthy_exactly_after_so_many_failures_in_a_row(
    results: list[bool], retries: int, period: float
) -> None:
    state = HealthState(health_config(retries=retries, start_period=period), started=0)
    row, succeeded = 0, False
    for now, passed in enumerate(results):
        if passed:
            state.succeeded()
            row, succeeded = 0, True
        else:
            state.failed(now, "x")
            row += 1 if succeeded or now >= period or row else 0
        unhealthy = row >= retries
        assert (state.status is Health.UNHEALTHY) == unhealthy


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    """An event loop."""
    made = EventLoop()
    yield made
    made.close()


def run_until(loop: EventLoop, condition: Callable[[], bool], timeout: float = 5.0) -> None:
    """Dispatch until a condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        loop.run_once(0.05)


def test_timers_run_in_order_and_not_when_cancelled(loop: EventLoop) -> None:
    seen: list[str] = []
    loop.call_later(0.02, lambda: seen.append("second"))
    loop.call_later(0.01, lambda: seen.append("first"))
    loop.call_later(0.005, lambda: seen.append("never")).cancel()
    run_until(loop, lambda: len(seen) == 2)
    assert seen == ["first", "second"]


def test_a_defective_callback_does_not_stop_the_others(
    loop: EventLoop, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []
    loop.call_soon(lambda: 1 // 0)  # type: ignore[arg-type]
    loop.call_soon(lambda: seen.append(1))
    run_until(loop, lambda: bool(seen))
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_threads_and_signals_wake_a_sleeping_loop(loop: EventLoop) -> None:
    seen: list[str] = []
    old = signal.getsignal(signal.SIGUSR1)
    try:
        loop.on_signal(signal.SIGUSR1, lambda: seen.append("signal"))
        thread = threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGUSR1))
        thread.start()
        run_until(loop, lambda: "signal" in seen)
        thread.join()
        other = threading.Thread(target=lambda: loop.call_from_thread(lambda: seen.append("call")))
        other.start()
        run_until(loop, lambda: "call" in seen)
        other.join()
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_a_descriptor_closed_by_an_earlier_callback_is_left_alone(loop: EventLoop) -> None:
    pairs = [socket.socketpair(), socket.socketpair()]
    called: list[int] = []

    def close_all() -> None:
        called.append(1)
        for reader, _ in pairs:
            loop.unwatch(reader.fileno())

    for reader, writer in pairs:
        loop.watch(reader.fileno(), close_all)
        writer.send(b"x")
    loop.run_once(1)
    assert called == [1]
    for pair in pairs:
        for end in pair:
            end.close()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /STATUS with that status, and /slow not at all."""

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(0.5)
            return
        self.send_response(int(self.path[1:4]))
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        return


@pytest.fixture
def port() -> Iterator[int]:
    """A web server's port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def outcome(loop: EventLoop, **settings: Any) -> str | None:
    """The outcome of one check."""
    seen: list[str | None] = []
    process = ProcessConfig("p", ["true"])
    check = checks.begin(loop, health_config(**settings), seen.append, process, 0, 4321)
    run_until(loop, lambda: bool(seen))
    assert len(seen) == 1
    check.cancel()
    return seen[0]


def test_http_checks(loop: EventLoop, port: int) -> None:
    def get(path: str, host: str = "127.0.0.1", timeout: float = 3.0) -> str | None:
        settings = {"type": "http", "port": None, "url": f"http://{host}:{port}{path}"}
        return outcome(loop, timeout=timeout, **settings)

    assert get("/200") is None
    assert get("/204?x=1", host="localhost") is None
    assert get("/302") is None
    assert get("/404") == "HTTP status 404"
    assert get("/503") == "HTTP status 503"
    assert get("/slow", timeout=0.1) == "no answer within 0.1 s"


def test_an_http_check_of_something_else(loop: EventLoop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(
            target=lambda: server.accept()[0].sendall(b"SSH-2.0-x\r\n"), daemon=True
        ).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert "not an HTTP answer" in str(outcome(loop, type="http", port=None, url=url))


def test_tcp_checks(loop: EventLoop, port: int) -> None:
    assert outcome(loop, type="tcp", port=port) is None
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    assert outcome(loop, type="tcp", port=closed) == f"127.0.0.1:{closed}: Connection refused"
    assert "cannot resolve" in str(outcome(loop, type="tcp", host="no.such.host.invalid", port=1))


def test_command_checks(loop: EventLoop) -> None:
    def command(*words: str, timeout: float = 3.0) -> str | None:
        return outcome(loop, type="command", port=None, command=list(words), timeout=timeout)

    assert command("true") is None
    assert command("sh", "-c", "echo no luck >&2; exit 3") == "sh exited with 3: no luck"
    assert command("sh", "-c", "kill -9 $$") == "sh was killed by signal 9"
    assert command("/no/such/program") == "cannot run /no/such/program: No such file or directory"
    assert command("sh", "-c", "yes | head -c 1000000") is None
    # A check that several processes share knows whose it is.
    assert command("sh", "-c", 'test "$PROCESS_SUPERVISOR_NAME" = p') is None
    # And one that enters what the process sees, where to.
    assert command("sh", "-c", 'test "$PROCESS_SUPERVISOR_PID" = 4321') is None
    assert command("sleep", "100", timeout=0.1) == "no answer within 0.1 s"
