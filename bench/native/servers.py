"""Answers a second of chatbot's API: uWSGI, gunicorn and uWSGI on SQLite, all as one service."""

from __future__ import annotations

import re
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.host import BenchError, Host
from bench.native.chat import Chat
from bench.native.ways import CHATBOT, ON_HOST
from devtool.paths import ROOT

_PORT = 8099
_PLACE = "/srv/bench"
_SECONDS, _WARM_SECONDS = 8.0, 2.0
_LOCK = ROOT / "files/stacks/taifish/requirements/app.txt"
# gunicorn and what it needs of that lock.
_WANTED = ("gunicorn", "packaging")
_SQLITE = "export DATABASE_HOST= DATA_DIR=/tmp/bench-sqlite ADMIN_PASSWORD_FILE=/srv/bench/password"
_WAYS = {
    "uWSGI": "python3 -m chatbot.start server",
    "gunicorn": f"PYTHONPATH=$PYTHONPATH:{_PLACE}:$(echo {_PLACE}/venv/lib/python3*/site-packages) "
    f"python3 {_PLACE}/gunicorn_server.py",
    "uWSGI, SQLite": "python3 -m chatbot.start server",
}
_DATABASES = {"uWSGI, SQLite": _SQLITE}


def measure(host: Host, rounds: int) -> dict[str, list[float]]:
    """Return answers a second of each way, round by round; they alternate."""
    _prepare(host)
    found: dict[str, list[float]] = {way: [] for way in _WAYS}
    for _ in range(rounds):
        for way, rates in found.items():
            with _served(host, way) as chat:
                chat.answers_per_second(_WARM_SECONDS)
                rates.append(chat.answers_per_second(_SECONDS))
    return found


def medians(found: dict[str, list[float]]) -> dict[str, float]:
    """Return the median of each way."""
    return {way: statistics.median(rates) for way, rates in found.items()}


def _prepare(host: Host) -> None:
    """Have gunicorn in an environment of its own, and a knowledge base in SQLite, too."""
    blocks = re.findall(r"^(\w+)(==[^\n]+\n(?:    --hash[^\n]+\n)+)", _LOCK.read_text(), re.M)
    lock = "".join(name + rest for name, rest in blocks if name in _WANTED).replace("'", "")
    pip = f"{_PLACE}/venv/bin/pip install --quiet --require-hashes -r {_PLACE}/requirements.txt"
    host.run(
        *("bash", "-euc"),
        f"mkdir -p {_PLACE}; python3 -m venv {_PLACE}/venv; echo of-the-bench >{_PLACE}/password; "
        f"cat >{_PLACE}/requirements.txt <<'END'\n{lock}END\n"
        f"PIP_CERT=/etc/ssl/certs/ca-certificates.crt {pip}",
    )
    host.put(ON_HOST / "gunicorn_server.py", f"{_PLACE}/gunicorn_server.py")
    host.put(ON_HOST / "articles.py", f"{_PLACE}/articles.py")
    script = f"{_SQLITE}; python3 -m chatbot.migrate && python3 {_PLACE}/articles.py"
    host.run("moorage", "exec", CHATBOT, "server", "sh", "-euc", script)


@contextmanager
def _served(host: Host, way: str) -> Iterator[Chat]:
    """Run a server in what the deployed one sees, with as many processes, on another port."""
    script = f"echo $$; export LISTEN=0.0.0.0:{_PORT} RUN_DIR=/tmp/bench-run; "
    script += f"{_DATABASES.get(way, ':')}; exec env {_WAYS[way]}"
    argv = ["docker", "exec", host.name, "moorage", "exec", CHATBOT, "server", "sh", "-euc", script]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    pid = process.stdout.readline().strip()
    try:
        chat = Chat(host.address, _PORT)
        _wait(chat, process)
        yield chat
    finally:
        subprocess.run(["docker", "exec", host.name, "kill", pid], check=False)
        said, _ = process.communicate(timeout=60)
    if process.returncode and "Traceback" in said:
        raise BenchError(f"{way}:\n{said}")


def _wait(chat: Chat, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            chat.ask(1, 1)
        except BenchError as trouble:
            if time.monotonic() > deadline or process.poll() is not None:
                process.kill()
                raise BenchError(f"{trouble}\n{process.communicate()[0]}") from None
            time.sleep(0.1)
        else:
            return
