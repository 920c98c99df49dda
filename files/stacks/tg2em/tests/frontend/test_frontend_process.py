"""gunicorn as it really runs: its stop loses no request, and behind a proxy it knows who came."""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from tg2em_core.db import SessionFactory
from tg2em_core.environment import DatabaseConfig
from tg2em_core.models import LoginAttempt
from tg2em_frontend.worker import LINGER_SECONDS, Worker

SECONDS = 30


class Site:
    """One gunicorn with its log in a file."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._log = log
        argv = ["-m", "gunicorn", "--config", "python:tg2em_frontend.gunicorn"]
        with log.open("wb") as stream:
            self.child = subprocess.Popen(
                [sys.executable, *argv, "tg2em_frontend.wsgi:app"],
                env={**environment, "LISTEN": f"127.0.0.1:{self.port}"},
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + SECONDS
        while not self.healthy():
            assert time.monotonic() < deadline and self.child.poll() is None, self.log()
            time.sleep(0.02)

    def log(self) -> str:
        return self._log.read_text()

    def healthy(self) -> bool:
        with contextlib.suppress(OSError):
            return self.get("/health/live")[0] == 200
        return False

    def get(self, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", path, headers=named)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def stop(self) -> int:
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(SECONDS)


@pytest.fixture
def start(
    mariadb: DatabaseConfig, empty: SessionFactory, tmp_path: Path
) -> Iterator[Callable[..., Site]]:
    """Start a site with more settings."""
    started: list[Site] = []
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "DATABASE_HOST": mariadb.host,
        "DATABASE_PORT": str(mariadb.port),
        "DATABASE_NAME": mariadb.name,
        "DATABASE_USER": mariadb.user,
        "DATABASE_PASSWORD": mariadb.password,
        "SESSION_KEY": "k" * 40,
        "MOORAGE_CONTROL_SOCKET": str(tmp_path / "control.sock"),
    }

    def run(**more: str) -> Site:
        started.append(Site(environment | more, tmp_path / f"site{len(started)}.log"))
        return started[-1]

    yield run
    for site in started:
        if site.child.poll() is None:
            site.child.kill()
            site.child.wait()


class Visitors:
    """Ask for a page again and again, on fresh and on kept connections."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: Counter[str] = Counter()
        self._over = threading.Event()
        kinds = [self._fresh] * 5 + [self._kept] * 3
        self._threads = [threading.Thread(target=kind) for kind in kinds]
        for thread in self._threads:
            thread.start()

    def leave(self) -> Counter[str]:
        self._over.set()
        for thread in self._threads:
            thread.join(SECONDS)
        return self.seen

    def _fresh(self) -> None:
        while not self._over.is_set():
            self._ask(http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS), "close")

    def _kept(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        while not self._over.is_set():
            self._ask(connection, "keep-alive")

    def _ask(self, connection: http.client.HTTPConnection, kept: str) -> None:
        try:
            connection.request("GET", "/health/live", headers={"Connection": kept})
            self.seen[str(connection.getresponse().read() == b'{"status":"ok"}\n')] += 1
        except ConnectionRefusedError:
            # Told so at once: a proxy asks another instance.
            self.seen["refused"] += 1
            connection.close()
            self._over.wait(0.005)
        except (OSError, http.client.HTTPException) as error:
            self.seen[repr(error)] += 1
            connection.close()
        if kept == "close":
            connection.close()


def test_a_stop_loses_nobody_who_was_let_in(start: Callable[..., Site]) -> None:
    site = start()
    visitors = Visitors(site.port)
    deadline = time.monotonic() + SECONDS
    while visitors.seen["True"] < 300:
        assert time.monotonic() < deadline, visitors.seen
        time.sleep(0.01)
    status = site.stop()
    seen = visitors.leave()
    assert status == 0, site.log()
    # Whoever is let in by the kernel in the very moment in which the door closes is reset by it;
    # without the worker's care there are six and more.
    lost = Counter({kind: n for kind, n in seen.items() if kind not in ("True", "refused")})
    assert seen["refused"] and lost.total() <= 2, lost


def test_a_connection_that_is_kept_but_idle_is_closed_by_the_stop(
    start: Callable[..., Site],
) -> None:
    site = start()
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=SECONDS)
    connection.request("GET", "/health/live")
    assert connection.getresponse().read() == b'{"status":"ok"}\n'
    assert site.stop() == 0
    assert connection.sock.recv(1) == b""
    connection.close()


def test_idle_connections_delay_a_stop_less_than_gunicorn_would() -> None:
    kept = SimpleNamespace(timeout=time.monotonic() + 30)
    stopping = Worker.__new__(Worker)
    stopping.keepalived_conns = deque([kept])
    stopping._cap_keepalive(time.monotonic() + 2)
    assert kept.timeout <= time.monotonic() + LINGER_SECONDS


@pytest.fixture
def slow() -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """An image service that sends half a picture and waits: URL, half sent, go on."""
    half, go_on = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
                half.set()
                go_on.wait(SECONDS)
                connection.sendall(b"rest")

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", half, go_on
        go_on.set()


def test_a_request_in_flight_is_finished(
    start: Callable[..., Site], slow: tuple[str, threading.Event, threading.Event]
) -> None:
    url, half, go_on = slow
    site = start(TGSTATE_URL=url)
    answers: list[bytes] = []
    reader = threading.Thread(target=lambda: answers.append(site.get("/d/picture")[2]))
    reader.start()
    assert half.wait(SECONDS), site.log()
    site.child.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", site.port), timeout=1).close()
        except OSError:
            break
        assert time.monotonic() < deadline, "it goes on letting visitors in"
        time.sleep(0.02)
    assert site.child.poll() is None
    go_on.set()
    reader.join(SECONDS)
    assert answers == [b"halfrest"]
    assert site.child.wait(SECONDS) == 0


def test_a_proxy_s_word_reaches_log_limit_and_cookie(
    start: Callable[..., Site], empty: SessionFactory
) -> None:
    forwarded = {
        "X_Forwarded_For": "203.0.113.99, 192.0.2.7",
        "X_Forwarded_Proto": "https",
        "X_Forwarded_Host": "tg.example.com",
        "Accept": "text/html",
    }
    for trusted, client in (("1", "192.0.2.7"), ("0", "127.0.0.1")):
        site = start(TRUSTED_PROXIES=trusted, LOGIN_LIMIT="1")
        _, headers, page = site.get("/dm", **forwarded)
        assert ("Secure" in headers["Set-Cookie"]) is (trusted == "1")
        assert site.get("/admin", **forwarded)[1]["Location"].startswith("/dm?")
        found = re.search(rb'name="csrf_token" value="([^"]+)"', page)
        assert found is not None
        _fail_to_sign_in(site, forwarded, headers["Set-Cookie"], found[1].decode())
        with empty() as session:
            buckets = set(session.scalars(select(LoginAttempt.bucket)))
        assert f"address:{client}" in buckets
        assert not any("203.0.113.99" in bucket for bucket in buckets)
        # A line is written after its answer is sent: at the end all of them are there.
        assert site.stop() == 0
        assert f'{client} "GET /dm HTTP/1.1" 200' in site.log()


def _fail_to_sign_in(site: Site, headers: dict[str, str], cookie: str, token: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=SECONDS)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent |= {
        "Cookie": cookie.partition(";")[0],
        "Content-Type": "application/x-www-form-urlencoded",
    }
    connection.request("POST", "/dm", f"csrf_token={token}&username=admin&password=x", sent)
    assert connection.getresponse().status == 401, site.log()
    connection.close()
