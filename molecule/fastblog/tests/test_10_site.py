"""The blog is there: four processes by their names, its pages in a browser, its messages."""

from __future__ import annotations

import re
import subprocess
from urllib.parse import quote

from fastblog_site import PORT, STACK, call, processes, visitor
from support import Machine

NAMES = {"ipc_server", "update_server", "main_app", "updater"}


def test_four_processes_run_as_one_user_and_no_engine_is_there(settled: Machine) -> None:
    found = settled.status(STACK)
    assert set(found) == NAMES
    states = {name: service["state"] for name, service in found.items()}
    assert states == {**dict.fromkeys(NAMES, "RUNNING"), "updater": "STOPPED"}
    for name in NAMES - {"updater"}:
        uids = settled.sh(f"grep ^Uid: /proc/{found[name]['pid']}/status").split()[1:]
        assert uids == ["10001"] * 4, name
    assert settled.sh("command -v docker || true") == ""


def test_messages_are_for_this_machine_and_who_has_the_token(settled: Machine) -> None:
    listening = settled.sh("ss -Hltn")
    assert re.search(rf"(0\.0\.0\.0|\*|\[::\]):{PORT} ", listening)
    assert "127.0.0.1:12345 " in listening and not re.search(r"(0\.0\.0\.0|\*):12345 ", listening)
    inside = f"moorage exec {STACK} main_app"
    ask = "from fastblog.ipc import Client; print(Client('test').status())"
    shown = settled.sh(f'{inside} python3 -c "{ask}"')
    assert "update_server" in shown and "main_app" in shown
    given = "IPC_TOKEN_FILE=/dev/null IPC_TOKEN=guessed"
    done = settled.host.run(f'{inside} env {given} python3 -c "{ask}"')
    assert done.rc != 0 and "the message server refuses" in done.stderr, done


def test_a_post_is_written_found_and_in_the_feed(settled: Machine) -> None:
    author = visitor(settled)
    author.sign_in("/sign-in", settled.sh(f"cat /opt/{STACK}/secrets/admin_password"))
    page = author.post(
        "/admin/posts/new", "/admin/posts/new", title="部署一个博客", body="It is **bold**.",
        tags="docker", action="publish",
    )  # fmt: skip
    assert page.status == 200, page.text[:2000]
    reader = visitor(settled)
    assert "部署一个博客" in reader.get(f"/search?q={quote('博客')}").text
    assert "部署一个博客" not in reader.get(f"/search?q={quote('部署')}+nothing").text
    assert "部署一个博客" in reader.get("/feed.atom").text


def test_the_front_page_is_seen_in_a_browser(settled: Machine) -> None:
    argv = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    url = f"http://{settled.address}:{PORT}/"
    done = subprocess.run([*argv, "--dump-dom", url], capture_output=True, text=True, check=True)
    assert "部署一个博客" in done.stdout, done.stdout[:2000]


def test_the_api_shows_processes_and_acts_for_who_may(settled: Machine) -> None:
    found = processes(settled)
    assert set(found) == NAMES and found["ipc_server"]["port"] == 12345
    assert call(settled, "/health", token="")["status"] == "ok"
    for path in ("/processes", "/system/status", "/process/update_server"):
        assert call(settled, path, token="guessed") in (401, 403), path
    assert call(settled, "/process/update_server/stop", "POST", token="guessed") in (400, 401, 403)
    assert call(settled, "/process/nobody/stop", "POST") == 404
    call(settled, "/process/update_server/stop", "POST")
    assert processes(settled)["update_server"]["state"] == "stopped"
    call(settled, "/process/update_server/start", "POST")
    before = processes(settled)["update_server"]["pid"]
    call(settled, "/process/update_server/restart", "POST")
    assert processes(settled)["update_server"]["pid"] not in (None, before)
