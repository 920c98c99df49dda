"""`make local`: real supervisords of an ordinary user, in copies of the checkout."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from devtool.paths import ROOT
from devtool.rootless import choice, environments, ports
from devtool.rootless.configuration import _command, _environment
from devtool.rootless.places import reached, rewritten
from devtool.ui import Problem
from moorage.compose import load_stack

T = TypeVar("T")
_REACHED = """\
mount --bind "$1" /mnt
mount -t tmpfs -o mode=0755 none "$2"
mkdir -p "$1"
mount --move /mnt "$1"
shift 2
exec "$@"
"""
_PARTS = ("scripts", "requirements", "files/moorage/src", "files/stacks")
_SECONDS = 90
# Nobody's: it owns what it makes, and nothing else.
_UID = 54321
# The document's name of a stack, and values that a configuration could tear apart.
_NAME = "coinex_customer_chatbot"
_ODD = {
    "PERCENT": "100%(x)s",
    "QUOTE": "it's; so",
    "LIST": "a,b=c",
    "DOLLAR": "$HOME",
    "NOTHING": "",
}
_COMPOSE = f"""\
name: {_NAME}
x-moorage:
  host:
    sources: {{app: app}}
    environment: {json.dumps({**_ODD, "DOLLAR": "$$HOME"})}
    local:
      without: [db]
      environment: {{DATABASE_HOST: "", PEER: "http://server:5000/x"}}
      variables: {{WS: "2"}}
services:
  db: {{image: "postgres:17"}}
  first:
    build: .
    command: [python3, -c, "open('/data/first', 'a').write('x'); print('done once')"]
    volumes: ["data:/data"]
    depends_on: {{db: {{condition: service_healthy}}}}
  server:
    build: .
    command: [python3, -m, web, "${{MOORAGE_LISTEN:-0.0.0.0}}:${{MOORAGE_PORT_5000:-5000}}"]
    environment:
      DATABASE_HOST: db
      TOKEN_FILE: /run/secrets/token
      KEPT: /data/kept
      BOTH: /data:/run/secrets/token:/database
      SETTINGS: /etc/settings.ini
      MODULE: /opt/code/work.py
    secrets: [token]
    configs: [{{source: settings, target: /etc/settings.ini}}]
    volumes: ["data:/data", "./app/work.py:/opt/code/work.py:ro", "/run/empty"]
    ports: ["${{HTTP_PORT:-5000}}:5000"]
    depends_on: {{first: {{condition: service_completed_successfully}}}}
    restart: unless-stopped
    healthcheck: {{test: "curl -f http://127.0.0.1:5000/"}}
    x-moorage: {{health_url: "http://127.0.0.1:5000/"}}
  task:
    build: .
    command: [python3, -m, work]
    depends_on: {{server: {{condition: service_healthy}}}}
    restart: unless-stopped
    healthcheck: {{test: [CMD, python3, -m, work, health]}}
    deploy: {{replicas: "${{WS:-4}}"}}
  other: {{build: ., command: [no-such-program]}}
  bare: {{build: ., depends_on: [other]}}
volumes: {{data: {{}}}}
configs: {{settings: {{content: "a = 1"}}}}
secrets: {{token: {{file: ./secrets/token, x-moorage: {{generate: {{length: 40}}}}}}}}
"""
_WEB = """\
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"say": "one", "cwd": os.getcwd(), **os.environ}).encode())
address, _, port = sys.argv[1].partition(":")
http.server.ThreadingHTTPServer((address, int(port)), Handler).serve_forever()
"""
_WORK = """\
import os, pathlib, sys, tempfile, time
mark = pathlib.Path(tempfile.gettempdir(), os.environ["PROCESS_SUPERVISOR_NAME"])
if sys.argv[1:]:
    sys.exit(not mark.exists())
mark.touch()
print("works", flush=True)
while True:
    time.sleep(60)
"""


def eventually(
    condition: Callable[[], T], what: Callable[[], object], seconds: float = _SECONDS
) -> T:
    """Return what the condition gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def ordinary() -> list[str]:
    """What makes a command that of an ordinary user, where we are root.

    Where Python is in a directory that is root's alone, he sees it, and nothing else, in there.
    """
    if os.getuid() != 0:
        return []
    user = ["setpriv", f"--reuid={_UID}", f"--regid={_UID}", "--clear-groups"]
    python = Path(sys.base_prefix)
    closed = next((p for p in (*reversed(python.parents),) if not p.stat().st_mode & 0o001), None)
    if closed is None:
        return user
    hidden = ["unshare", "--mount", "--propagation=private", "sh", "-ec", _REACHED, "sh"]
    return [*hidden, str(python), str(closed), *user]


@dataclass
class Checkout:
    """A copy of what `make local` works with, whose owner is an ordinary user."""

    root: Path

    def run(self, command: str, stack: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Do what `make local` and `make local-down` do, from somewhere else."""
        env = {
            **{name: os.environ[name] for name in os.environ if name.startswith(("PATH", "PIP_"))},
            "HOME": str(self.root / "home"),
            "PYTHONPATH": f"{self.root}/scripts:{self.root}/files/moorage/src",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SECRET_OF_THE_SHELL": "x",
            **variables,
        }
        return subprocess.run(
            [*ordinary(), sys.executable, "-m", "devtool.rootless", command, stack],
            env=env,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def up(self, stack: str, **variables: str) -> str:
        """Have it run; return what was said."""
        done = self.run("up", stack, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def control(self, stack: str, *words: str) -> str:
        """Ask as a person does."""
        conf = self.root / ".local" / stack / "supervisord.conf"
        argv = [*ordinary(), f"{self.root}/.local/supervisorctl", "-c", str(conf), *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return str(done.stdout)

    def pids(self, stack: str) -> dict[str, int]:
        """The processes that run, by the names that Supervisor has for them."""
        found = re.findall(r"^(\S+) +RUNNING +pid (\d+)", self.control(stack, "status"), re.M)
        return {name: int(pid) for name, pid in found}

    def settled(self, stack: str, count: int) -> dict[str, int]:
        """The same, once there are as many."""

        def as_many() -> dict[str, int]:
            found = self.pids(stack)
            return found if len(found) == count else {}

        return eventually(as_many, lambda: self.control(stack, "status"))

    def port(self, stack: str) -> int:
        """Where its server is reached."""
        noted = json.loads((self.root / ".local" / stack / "ports.json").read_text())
        return int(noted["server"]["5000"]["here"])

    def log(self, stack: str, name: str) -> str:
        """What a process has printed."""
        return (self.root / f".local/{stack}/logs/supervisor/{name}.log").read_text()

    def left(self, stack: str) -> list[str]:
        """The processes that were started for a stack of it."""
        mark = f"MOORAGE_LOCAL={self.root}/.local/{stack}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (path / "environ").read_bytes().split(b"\0"):
                    found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    """A copy, deeper than a Unix socket's path may be long."""
    top = Path(tempfile.mkdtemp(prefix="moorage-local-"))
    made = Checkout(top / ("deep" * 12) / ("er" * 20))
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *_PARTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    files = {name: (ROOT / name).read_bytes() for name in listed.split("\0") if name}
    stack = f"files/stacks/{_NAME}"
    files |= {
        f"{stack}/compose.yml": _COMPOSE.encode(),
        f"{stack}/app/web.py": _WEB.encode(),
        f"{stack}/app/work.py": _WORK.encode(),
        "home/.profile": b"",
    }
    for name, content in files.items():
        path = made.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if os.getuid() == 0:
        for path in (top, *top.rglob("*")):
            os.chown(path, _UID, _UID)
    try:
        yield made
    finally:
        for name in (_NAME, "chatbot"):
            made.run("down", name)
        shutil.rmtree(top)


@pytest.fixture
def own(checkout: Checkout) -> Iterator[Checkout]:
    """The small stack, which runs."""
    checkout.up(_NAME)
    yield checkout
    checkout.run("down", _NAME)


def get(port: int, path: str = "/") -> tuple[int, str]:
    """Ask; status 0 while nobody answers."""
    return ask(port, "GET", path)


def ask(port: int, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, str]:
    """Ask with a body of JSON; status 0 while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def test_chatbot_answers_an_ordinary_user(checkout: Checkout) -> None:
    said = checkout.up("chatbot")
    port = checkout.port("chatbot")
    assert f"server: ready at http://127.0.0.1:{port}\n" in said
    assert "postgres does not run: is the image postgres:17; the stack does without" in said
    before = checkout.settled("chatbot", 4)
    assert list(before) == [
        *("chatbot:chatbot_server", "chatbot:chatbot_task_00", "chatbot:chatbot_task_01", "watch")
    ]  # fmt: skip
    for pid in before.values():
        assert os.stat(f"/proc/{pid}").st_uid == (_UID if os.getuid() == 0 else os.getuid())

    status, text = ask(port, "POST", "/api/conversations", {})
    assert status == 201, text
    token = json.loads(text)["token"]
    status, text = ask(port, "POST", "/api/conversation/messages", {"text": "怎么退款"}, token)
    assert status in (200, 201) and json.loads(text)["answer"]["body"], text

    # Killed, it comes back, and its workers have let the port go.
    os.kill(before["chatbot:chatbot_server"], signal.SIGKILL)
    eventually(
        lambda: (
            checkout.pids("chatbot").get("chatbot:chatbot_server", 0)
            not in (0, before["chatbot:chatbot_server"])
            and get(port, "/health/live")[0] == 200
        ),
        lambda: checkout.log("chatbot", "chatbot_server"),
    )

    # Changed code: uWSGI replaces its workers, the others are started anew.
    before = checkout.pids("chatbot")
    code = checkout.root / "files/stacks/chatbot/app/chatbot/health.py"
    code.write_text(code.read_text().replace('status="ok"', 'status="changed"'))
    eventually(
        lambda: '"changed"' in get(port, "/health/live")[1],
        lambda: checkout.log("chatbot", "chatbot_server") + checkout.log("chatbot", "watch"),
    )
    eventually(
        lambda: (
            len(after := checkout.pids("chatbot")) == 4
            and after["chatbot:chatbot_task_00"] != before["chatbot:chatbot_task_00"]
        ),
        lambda: checkout.log("chatbot", "watch"),
    )
    server = "chatbot:chatbot_server"
    assert checkout.pids("chatbot")[server] == before[server]

    # SQLite and secrets are where no other user gets, and nothing was written beside the code.
    local = checkout.root / ".local/chatbot"
    assert (local / "data/unified/chatbot.sqlite3").is_file()
    assert (local / "secrets/admin_password").stat().st_mode & 0o777 == 0o600
    assert local.stat().st_mode & 0o777 == 0o700
    assert checkout.run("down", "chatbot").returncode == 0
    assert checkout.left("chatbot") == [] and get(port) == (0, "")

    # Once its wheels are there, its environment is made anew without an index.
    shutil.rmtree(local / "venv")
    checkout.up("chatbot", PIP_INDEX_URL="http://127.0.0.1:9", PIP_RETRIES="0")
    assert checkout.run("down", "chatbot").returncode == 0


def test_the_second_time_only_what_is_new_is_changed(own: Checkout) -> None:
    before = own.settled(_NAME, 4)
    group = f"{_NAME}:{_NAME}"
    assert list(before) == [f"{group}_server", f"{group}_task_00", f"{group}_task_01", "watch"]
    own.up(_NAME, WS="3")
    after = own.settled(_NAME, 5)
    assert after.keys() - before.keys() == {f"{group}_task_02"}
    assert {name: after[name] for name in before} == before
    assert own.log(_NAME, f"{_NAME}_task_02") == "works\n"
    # Supervisor itself finds nothing to change either.
    assert own.control(_NAME, "update") == ""
    own.up(_NAME)
    assert own.pids(_NAME) == before
    # Another value of a variable starts one program anew.
    compose = own.root / f"files/stacks/{_NAME}/compose.yml"
    text = compose.read_text()
    compose.write_text(text.replace("KEPT: /data/kept", "KEPT: /data/other"))
    own.up(_NAME)
    compose.write_text(text)
    found = own.settled(_NAME, 4)
    assert [name for name in found if found[name] != before[name]] == [f"{group}_server"]
    assert json.loads(get(own.port(_NAME))[1])["KEPT"].endswith("/data/data/other")
    # The one-off has run each time.
    assert (own.root / f".local/{_NAME}/data/data/first").read_text() == "x" * 4


def test_what_a_process_has_in_its_environment(own: Checkout) -> None:
    local, port = own.root / ".local" / _NAME, own.port(_NAME)
    found = json.loads(get(port)[1])
    assert {name: found[name] for name in _ODD} == _ODD
    assert found["cwd"] == found["PYTHONPATH"] == str(own.root / f"files/stacks/{_NAME}/app")
    assert (found["DATABASE_HOST"], found["PEER"]) == ("", f"http://127.0.0.1:{port}/x")
    token = local / "secrets/token"
    assert found["TOKEN_FILE"] == str(token)
    assert found["BOTH"] == f"{local}/data/data:{token}:/database"
    assert Path(found["SETTINGS"]).read_text() == "a = 1"
    assert found["MODULE"] == str(own.root / f"files/stacks/{_NAME}/app/work.py")
    assert re.fullmatch(r"[A-Za-z0-9]{40}", token.read_text())
    # What the shell has exported is nobody's business, as in a container.
    assert "SECRET_OF_THE_SHELL" not in found
    assert found["PROCESS_SUPERVISOR_NAME"] == f"{_NAME}_server"


def test_the_commands_that_people_write_down(own: Checkout) -> None:
    """What docs/supervisor-commands.md says of them."""
    own.settled(_NAME, 4)
    for command, answer in {
        "status {0}_server": "ERROR (no such process)",
        "restart {0}_server": "ERROR (no such process)",
        "restart {0}:{0}_server": "{0}:{0}_server: started",
        "restart {0}_task:{0}_task_00": "ERROR (no such process)",
        "restart {0}:{0}_task_00": "{0}:{0}_task_00: started",
        "restart {0}:*": "{0}:{0}_task_01: started",
        "logs {0}_server": "*** Unknown syntax",
        "tail {0}_server": "ERROR (no such process name)",
        "tail {0}:{0}_task_00": "works",
        "tail {0}:{0}_server stderr": "ERROR (no log file)",
        "reread": "No config updates to processes",
        "avail": "{0}:{0}_task_01 in use",
        "stop {0}:{0}_task_00": "{0}:{0}_task_00: stopped",
    }.items():
        words = [word.format(_NAME) for word in command.split()]
        assert answer.format(_NAME) in own.control(_NAME, *words), command
    # Supervisor's own way to another number of workers.
    before = own.pids(_NAME)
    conf = own.root / f".local/{_NAME}/supervisord.conf"
    conf.write_text(conf.read_text().replace("numprocs = 2", "numprocs = 3"))
    assert f"{_NAME}: changed" in own.control(_NAME, "reread")
    assert f"{_NAME}: updated process group" in own.control(_NAME, "update")
    server = f"{_NAME}:{_NAME}_server"
    eventually(
        lambda: own.pids(_NAME).get(server, before[server]) != before[server],
        lambda: own.control(_NAME, "status"),
    )


def test_what_somebody_has_stopped_stays_so_when_its_code_changes(own: Checkout) -> None:
    group = f"{_NAME}:{_NAME}"
    own.settled(_NAME, 4)
    own.control(_NAME, "stop", f"{group}_task_00")
    before = own.settled(_NAME, 3)
    code = own.root / f"files/stacks/{_NAME}/app/web.py"
    code.write_text(code.read_text().replace('"one"', '"two"'))
    eventually(lambda: '"two"' in get(own.port(_NAME))[1], lambda: own.log(_NAME, "watch"))
    after = own.settled(_NAME, 3)
    assert after.keys() == before.keys() and f"{group}_task_00" not in after
    assert after[f"{group}_server"] != before[f"{group}_server"]


def test_orphans_of_a_killed_supervisord_are_ended(own: Checkout) -> None:
    os.kill(int(own.control(_NAME, "pid")), signal.SIGKILL)
    eventually(lambda: len(own.left(_NAME)) == 4, lambda: own.left(_NAME))
    said = own.up(_NAME)
    assert f"ready at http://127.0.0.1:{own.port(_NAME)}" in said
    os.kill(int(own.control(_NAME, "pid")), signal.SIGKILL)
    assert "stopped" in own.run("down", _NAME).stdout
    assert own.left(_NAME) == []
    assert "nothing runs" in own.run("down", _NAME).stdout


def test_a_taken_port_is_evaded_and_another_one_kept(checkout: Checkout) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wished = str(taken.getsockname()[1])
        checkout.up(_NAME, HTTP_PORT=wished)
        first = checkout.port(_NAME)
        checkout.run("down", _NAME)
    checkout.up(_NAME, HTTP_PORT=wished)
    assert checkout.port(_NAME) == first != int(wished)
    checkout.run("down", _NAME)


def test_what_fails_is_shown(checkout: Checkout) -> None:
    compose = checkout.root / f"files/stacks/{_NAME}/compose.yml"
    text = compose.read_text()
    compose.write_text(text.replace("print('done once')", "raise SystemExit('no such table')"))
    done = checkout.run("up", _NAME)
    assert done.returncode == 1 and "first ended with status 1\n  no such table" in done.stderr
    assert "other does not run: there is no program no-such-program on this machine" in done.stdout
    assert "bare does not run: its command is in its image" in done.stdout
    compose.write_text(text.replace("command: [python3, -m, work]", "command: [python3, -m, owrk]"))
    done = checkout.run("up", _NAME)
    compose.write_text(text)
    assert done.returncode == 1 and "No module named owrk" in done.stderr
    checkout.run("down", _NAME)


def test_a_stack_of_which_nothing_can_run_says_why(checkout: Checkout) -> None:
    done = checkout.run("up", "taifish")
    assert done.returncode == 1
    assert "    app does not run: needs postgres and redis, which do not run here\n" in done.stdout
    assert "nothing of taifish can run here" in done.stderr
    done = checkout.run("up", "nothing")
    assert "make local STACK=chatbot" in done.stderr


def test_of_tg2em_the_image_service_runs() -> None:
    kept = ports.kept_variables((ROOT / "files/stacks/tg2em/compose.yml").read_text())
    found = choice.choose(load_stack(ROOT / "files/stacks/tg2em", environment=kept))
    assert [service.name for service in found.services] == ["tgstate"]
    assert ports.asked(found.services[0]) == {8088}
    assert found.why_not["frontend"] == "needs mysql, which does not run here"


def test_a_program_in_go_is_built(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module hello\n\ngo 1.24\n")
    (tmp_path / "main.go").write_text('package main\n\nfunc main() { print("built") }\n')
    argv = environments.go_build(tmp_path, tmp_path / "hello")
    env = {**os.environ, "GOCACHE": str(tmp_path / "cache"), "GOTOOLCHAIN": "local"}
    subprocess.run(argv, env=env, check=True)
    done = subprocess.run([tmp_path / "hello"], capture_output=True, text=True, check=True)
    assert done.stderr == "built"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/data", "/here/data"),
        ("/data/a/b", "/here/data/a/b"),
        ("/database", "/database"),
        ("x/data", "x/data"),
        ("--file=/data/a,/run/secrets/k", "--file=/here/data/a,/here/k"),
        ("cat '/data/a' /run/secrets/k", "cat '/here/data/a' /here/k"),
        ("/data/inner/x", "/here/other/x"),
    ],
)
def test_paths_of_the_container_are_found(text: str, found: str) -> None:
    paths = {"/data": "/here/data", "/run/secrets/k": "/here/k", "/data/inner": "/here/other"}
    assert rewritten(text, {name: Path(path) for name, path in paths.items()}) == found


def test_a_service_is_reached_by_its_name() -> None:
    peers = [("web", 80, 8080)]
    assert reached("http://web:80/x web:8000 my-web:80", peers) == (
        "http://127.0.0.1:8080/x web:8000 my-web:80"
    )


@pytest.mark.parametrize("value", ["a\nb", "a ; b", "a #b", "\"'", "'quoted'"])
def test_what_a_configuration_cannot_hold_is_said(value: str) -> None:
    with pytest.raises(Problem, match="cannot hold"):
        _environment({"A": value})


def test_a_command_keeps_its_words() -> None:
    assert _command(["a", "b c", "50%"]) == "a 'b c' 50%%"
