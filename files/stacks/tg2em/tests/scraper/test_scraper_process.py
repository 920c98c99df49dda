"""The scraper as a process: commands, signals, health, and what its log shows."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from image_server import ImageServer
from preview_server import Channel, Post, PreviewServer, demo, png
from scraper_harness import Scraper
from sqlalchemy import Engine
from tg2em_core.models import Source
from tg2em_scraper import heartbeat
from waiting import eventually


@pytest.fixture
def environment(engine: Engine, tmp_path: Path) -> dict[str, str]:
    url = engine.url
    password = tmp_path / "mysql_password"
    password.write_text(str(url.password or ""))
    roots = [path for path in sys.path if path]
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(roots),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DATABASE_HOST": url.host or "",
        "DATABASE_PORT": str(url.port),
        "DATABASE_NAME": url.database or "",
        "DATABASE_USER": url.username or "",
        "DATABASE_PASSWORD_FILE": str(password),
        "SCRAPER_DATA": str(tmp_path / "data"),
        "SCRAPER_PAGE_DELAY": "0",
    }


class Process:
    """`python -m tg2em_scraper run`, its log in a file."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.environment = environment
        self._log = log
        with log.open("wb") as stream:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "tg2em_scraper", "run"],
                env=environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def health(self) -> subprocess.CompletedProcess[str]:
        return command(self.environment, "health")


def command(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tg2em_scraper", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def run(**more: str) -> Process:
        started.append(Process(environment | more, tmp_path / f"run{len(started)}.log"))
        return started[-1]

    yield run
    for process in started:
        if process.child.poll() is None:
            process.child.kill()
            process.child.wait()


def test_run_reads_is_healthy_and_stops_at_once(
    scraper: Scraper, pages: PreviewServer, start: Callable[..., Process]
) -> None:
    pages.channels = demo()
    scraper.add("demo")
    scraper.set(scraper_interval=5)
    process = start()
    eventually(lambda: [a for a in scraper.articles().values() if a.image], process.log)
    idle = (0, "1 channels, read every 5 s\n")
    eventually(lambda: (process.health().returncode, process.health().stdout) == idle, process.log)
    pages.channels["demo"].posts[9] = Post(9, "名称：later")
    eventually(lambda: 9 in scraper.articles(), process.log)
    before = time.monotonic()
    process.child.send_signal(signal.SIGTERM)
    assert process.child.wait(60) == 0
    assert time.monotonic() - before < 4
    assert "scraper stopped by SIGTERM" in process.log()
    after = process.health()
    assert after.returncode == 1
    assert "is gone" in after.stdout


def test_it_stops_at_once_in_the_middle_of_a_slow_request(
    scraper: Scraper, start: Callable[..., Process]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        scraper.set(scraper_base_url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        scraper.add("chan")
        process = start()
        connection, _ = silent.accept()
        with connection:
            before = time.monotonic()
            process.child.send_signal(signal.SIGTERM)
            assert process.child.wait(60) == 0
            assert time.monotonic() - before < 10


def test_it_stops_at_once_while_it_waits(
    scraper: Scraper, pages: PreviewServer, start: Callable[..., Process]
) -> None:
    pages.channels = {"chan": Channel(throttle=9, retry_after="600")}
    scraper.add("chan")
    process = start()
    eventually(lambda: "waiting 600 s" in process.log(), process.log)
    assert process.health().returncode == 0
    before = time.monotonic()
    process.child.send_signal(signal.SIGINT)
    assert process.child.wait(60) == 0
    assert time.monotonic() - before < 10


def test_a_database_that_is_away_is_waited_for(
    scraper: Scraper,
    pages: PreviewServer,
    environment: dict[str, str],
    start: Callable[..., Process],
) -> None:
    pages.channels = demo()
    scraper.add("demo")
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    process = start(DATABASE_PORT=str(port))
    eventually(lambda: "waiting for the database" in process.log(), process.log)
    answer = process.health()
    assert answer.returncode == 0
    assert "waiting for the database" in answer.stdout
    target = (environment["DATABASE_HOST"], int(environment["DATABASE_PORT"]))
    with forwarding(port, target):
        eventually(lambda: "the database answers again" in process.log(), process.log, 90)
        eventually(lambda: len(scraper.articles()) == 5, process.log)
        process.child.send_signal(signal.SIGTERM)
        assert process.child.wait(60) == 0


class forwarding:
    """A port that leads to another one while the block runs."""

    def __init__(self, port: int, target: tuple[str, int]) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self._target = target

    def __enter__(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


def test_no_secret_in_log_or_arguments(
    scraper: Scraper,
    pages: PreviewServer,
    images: ImageServer,
    environment: dict[str, str],
    start: Callable[..., Process],
) -> None:
    pages.channels = demo()
    images.stop()
    scraper.set(tgstate_password="hunter2-pictures")
    scraper.add("demo")
    process = start()
    eventually(lambda: "pictures wait" in process.log(), process.log)
    arguments = Path(f"/proc/{process.child.pid}/cmdline").read_text()
    secret = Path(environment["DATABASE_PASSWORD_FILE"]).read_text()
    for text in (process.log(), arguments):
        assert "hunter2-pictures" not in text
        assert not secret or secret not in text.replace("tg2em_scraper", "").replace("tg2em", "")
    assert "telethon" not in Path(f"/proc/{process.child.pid}/maps").read_text()


def test_once(scraper: Scraper, pages: PreviewServer, environment: dict[str, str]) -> None:
    pages.channels = demo() | {"two": Channel(posts={7: Post(7, "名称：seven")})}
    scraper.add("demo")
    scraper.add("two")
    done = command(environment, "once", "--channel", "two")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(scraper.articles()) == {7}
    assert command(environment, "once").returncode == 0
    assert len(scraper.articles()) == 6
    missing = command(environment, "once", "--channel", "three")
    assert (missing.returncode, missing.stderr) == (
        2,
        "tg2em_scraper: there is no channel 'three'\n",
    )
    pages.channels["two"].preview = "redirect"
    failed = command(environment, "once")
    assert failed.returncode == 1
    assert "two: no public preview" in failed.stdout


def test_import_export(
    scraper: Scraper, environment: dict[str, str], tmp_path: Path, images: ImageServer
) -> None:
    folder = tmp_path / "export"
    (folder / "photos").mkdir(parents=True)
    (folder / "photos/a.png").write_bytes(png("a", 1500, 300))
    posts = [
        {
            "id": n,
            "type": "message",
            "date": "2025-03-01T08:00:00",
            "date_unixtime": "1740816000",
            "text": f"名称：书 {n}",
            "photo": "photos/a.png",
        }
        for n in range(1, 151, 2)
    ]
    (folder / "result.json").write_text(json.dumps({"messages": posts}))
    for _ in range(2):
        done = command(environment, "import-export", str(folder), "--channel", "backfill")
        assert done.returncode == 0, done.stdout + done.stderr
    assert "0 new, 0 edited, 75 known" in done.stdout
    assert len(scraper.articles()) == 75
    assert all(article.image for article in scraper.articles().values())
    assert len(images.files) == 1
    channel = scraper.channel("backfill")
    assert (channel.source, channel.oldest_message_id, channel.newest_message_id) == (
        Source.EXPORT,
        1,
        149,
    )
    wrong = command(environment, "import-export", str(tmp_path / "no"), "--channel", "backfill")
    assert wrong.returncode == 1
    assert "result.json: No such file" in wrong.stderr


def test_wrong_settings_are_named(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, value in (
        ("SCRAPER_PAGE_DELAY", "soon"),
        ("SCRAPER_DATA", f"{tmp_path}/file/x"),
        ("DATABASE_PASSWORD_FILE", "/nowhere"),
    ):
        done = command(environment | {name: value}, "run")
        assert done.returncode == 2
        assert name in done.stderr and "Traceback" not in done.stderr


def test_health_of_a_stuck_scraper(tmp_path: Path) -> None:
    beat = heartbeat.Heartbeat(tmp_path, clock=lambda: 1000.0)
    beat.beat("reading demo")
    assert heartbeat.check(tmp_path, now=1010.0) == (True, "reading demo")
    healthy, text = heartbeat.check(tmp_path, now=1000.0 + heartbeat.STALE_AFTER + 1)
    assert not healthy
    assert "no progress for 151 s; it was: reading demo" in text
    (tmp_path / heartbeat.FILE_NAME).write_text("{")
    assert heartbeat.check(tmp_path)[0] is False
    assert heartbeat.check(tmp_path / "none") == (
        False,
        f"no heartbeat in {tmp_path}/none: the scraper has not started",
    )


def test_heartbeats_are_written_sparingly(tmp_path: Path) -> None:
    now = [1000.0]
    beat = heartbeat.Heartbeat(tmp_path, clock=lambda: now[0])
    file = tmp_path / heartbeat.FILE_NAME
    beat.beat("a")
    file.unlink()
    now[0] += 9
    beat.beat()
    beat.beat("a")
    assert not file.exists()
    now[0] += 1
    beat.beat()
    assert json.loads(file.read_text())["doing"] == "a"
    file.unlink()
    beat.beat("b")
    assert file.exists()


def test_the_preview_server_as_a_program(tmp_path: Path) -> None:
    content = {"title": "T", "posts": [{"id": 1, "text": "x"}]}
    (tmp_path / "chan.json").write_text(json.dumps(content))
    script = Path(__file__).resolve().parent.parent / "preview_server.py"
    from tg2em_scraper.http import Http
    from tg2em_scraper.preview import parse_page

    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(script), "--port", "0", "--dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            word, url = child.stdout.readline().split()
            assert word == "ready"
            page = parse_page(Http().get(f"{url}/s/chan", max_bytes=10**6).body, "chan", url)
            assert [m.body.text for m in page.messages] == ["x"]
        finally:
            child.terminate()
