"""uWSGI as it runs: it starts, serves, tells its figures, reloads and ends in order."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chatbot import knowledge, start
from chatbot.config import Config
from chatbot.db import Database
from chatbot.start import StartError
from chatbot_rig import APP, MOORAGE, Server, eventually


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that answers."""
    made = Server(tmp_path)
    try:
        made.wait_healthy()
        yield made
    finally:
        made.kill()


def test_it_serves_and_tells_its_figures(server: Server, tmp_path: Path) -> None:
    status, page = server.ask("/")
    assert status == 200 and "chat.js" in page
    status, text = server.ask("/api/conversations", body={})
    assert status == 201, text
    token = json.loads(text)["token"]
    status, text = server.ask(
        "/api/conversation/messages", token, {"text": "x"}, "text/event-stream"
    )
    assert status == 200 and text.startswith("event: begin\n") and "event: end\n" in text
    figures = server.ask("/metrics")[1]
    for wanted in (
        "uwsgi_listen_queue ", 'uwsgi_workers{status="busy"}', "uwsgi_listen_queue_errors",
        "uwsgi_requests_total", "uwsgi_rss_bytes", "chatbot_http_requests_total{",
    ):  # fmt: skip
        assert wanted in figures, figures
    run = tmp_path / "run"
    assert (run.stat().st_mode & 0o777, (run / "server").stat().st_mode & 0o777) == (0o700, 0o700)
    # What was asked for is in no log.
    assert "/api/" not in server.text()


def test_touching_a_file_replaces_the_workers(server: Server, tmp_path: Path) -> None:
    before = eventually(lambda: server.workers(tmp_path), server.text)
    # Its age is told in seconds.
    later = time.time() + 10
    os.utime(tmp_path / "run" / "server" / "reload", (later, later))
    failed = []

    def replaced() -> bool:
        failed.append(server.ask("/health/live")[0] != 200)
        found = server.workers(tmp_path)
        return len(found) == 6 and not found & before and server.ask("/")[0] == 200

    eventually(replaced, server.text)
    assert server.running() and not any(failed)
    counters = {path.name for path in (tmp_path / "run/server").glob("counter_*.db")}
    assert counters <= {f"counter_{number}.db" for number in range(1, 7)}, "not one a process"


def test_who_does_not_read_holds_no_worker(server: Server, tmp_path: Path) -> None:
    database = Database(Config.from_environment({"DATA_DIR": str(tmp_path / "data")}))
    with database.transaction() as connection:
        # As long as an answer can be, of signs of three bytes.
        knowledge.add(connection, "退款", "退" * knowledge.LONGEST_BODY, "a")
    token = json.loads(server.ask("/api/conversations", body={})[1])["token"]
    held = []
    for _ in range(12):
        asked = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        asked.connect()
        # What a phone has room for, and none of it is read.
        asked.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        headers["Content-Type"] = "application/json"
        asked.request("POST", "/api/conversation/messages", '{"text": "退款"}'.encode(), headers)
        held.append(asked)
    # Twice as many as there are workers, and each of these had to be let go first.
    eventually(lambda: 'status="busy"} 1.0' in server.ask("/metrics")[1], server.text)
    assert database.value("SELECT count(*) FROM messages WHERE author = 'bot'") == 12
    # Whoever reads after all gets everything.
    answer = held[-1].getresponse().read().decode()
    assert answer.endswith("event: end\ndata: {}\n\n") and "退" * knowledge.LONGEST_BODY in answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(server: Server, tmp_path: Path, number: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    # Half of a request: a worker is at it when the signal comes.
    connection.putrequest("POST", "/api/conversations")
    connection.putheader("Content-Length", "2")
    connection.putheader("Content-Type", "application/json")
    connection.endheaders(b"{")

    def busy() -> bool:
        return 'uwsgi_workers{status="busy"} 2.0' in server.ask("/metrics")[1]

    eventually(busy, server.text)
    threading.Timer(1.0, lambda: connection.send(b"}")).start()
    server.signal(number)
    assert connection.getresponse().status == 201, server.text()
    assert server.wait() == 0, server.text()
    assert not (tmp_path / "run/server/stats.sock").exists()


def test_an_application_that_cannot_be_imported_is_no_server(tmp_path: Path) -> None:
    made = Server(tmp_path, SESSION_KEY_FILE=str(tmp_path / "nothing"))
    try:
        assert made.wait() != 0
        assert "SESSION_KEY_FILE: there is no file" in made.text()
    finally:
        made.kill()


def test_jemalloc_is_taken_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = tmp_path / "libjemalloc.so.2"
    library.touch()
    assert start.jemalloc({"JEMALLOC_PATH": str(library)}) == str(library)
    assert start.jemalloc({"JEMALLOC_PATH": str(tmp_path / "none")}) == ""
    assert "there is no file" in capsys.readouterr().err
    found = start.jemalloc({})
    assert found == "" or found.endswith("-linux-gnu/libjemalloc.so.2")


def test_what_is_preloaded_reaches_the_program(tmp_path: Path) -> None:
    # Any library will do: the C library is everywhere.
    maps = Path("/proc/self/maps").read_text().split()
    library = next(word for word in maps if Path(word).name.startswith("libz.so"))
    code = "import sys; from chatbot import start; start.task = lambda _env: [sys.executable, '-c',"
    code += " 'import os; print(os.environ[\"LD_PRELOAD\"])']; start.main(['task'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"JEMALLOC_PATH": library, "PYTHONPATH": f"{APP}:{MOORAGE}"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == library, done.stderr


def test_a_directory_of_somebody_else_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StartError, match="somebody else's"):
        start.run_directory({"RUN_DIR": str(tmp_path / "link")})
    named = {"RUN_DIR": str(tmp_path / "run"), "PROCESS_SUPERVISOR_NAME": "server-2"}
    assert start.run_directory(named) == tmp_path / "run/server-2"
