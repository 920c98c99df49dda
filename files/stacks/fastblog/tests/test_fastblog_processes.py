"""The four processes under the supervisor, with the configuration that comes with the stack."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastblog_rig import (
    STACK,
    TOKEN,
    Browser,
    Process,
    ask,
    environment,
    eventually,
    free_port,
)

NAMES = ["ipc_server", "update_server", "main_app", "updater"]


class Supervised:
    """The supervisor, with every path and port of the configuration in a place of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        # A socket's path has 107 bytes at most.
        self.run_dir = Path(tempfile.mkdtemp(prefix="fastblog-"))
        ipc = free_port()
        text = (STACK / "host" / "supervisor.json").read_text()
        for found, here in {
            "/run/fastblog": str(self.run_dir),
            "/var/lib/fastblog": str(directory / "data"),
            "/var/log/fastblog": str(directory / "logs"),
            "/etc/fastblog": str(directory),
            "9421": str(self.port),
            "12345": str(ipc),
        }.items():
            text = text.replace(found, here)
        config = directory / "supervisor.json"
        config.write_text(text)
        given = environment(directory, IPC_ADDRESS=f"127.0.0.1:{ipc}", UPDATE_FEED="")
        lines = "".join(f"{name}={value}\n" for name, value in given.items())
        (directory / "environment").write_text(lines)
        argv = ("process_supervisor", "run", "--config", str(config))
        self.process = Process(directory, given, *argv)

    def api(self, path: str, method: str = "GET", body: object = None) -> tuple[int, Any]:
        """Ask the site with the token."""
        found: tuple[int, Any] = ask(self.port, path, method, TOKEN, body)
        return found

    def states(self) -> dict[str, str]:
        """The processes' states, by name."""
        status, found = self.api("/api/processes")
        return {p["name"]: p["state"] for p in found["processes"]} if status == 200 else {}

    def text(self) -> str:
        """Everything that was logged."""
        logs = (self.directory / "logs").glob("*.log")
        found: str = self.process.text()
        return found + "\n".join(f"{p.name}: {p.read_text()}" for p in logs)

    def end(self) -> None:
        """End it as systemd does."""
        self.process.popen.terminate()
        try:
            assert self.process.popen.wait(60) == 0, self.text()
        finally:
            self.process.kill()
            shutil.rmtree(self.run_dir)


@pytest.fixture(scope="module")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    """The supervisor with the four, all that starts by itself being well."""
    made = Supervised(tmp_path_factory.mktemp("host"))
    try:
        eventually(lambda: list(made.states().values()).count("running") == 3, made.text)
        yield made
    finally:
        made.end()


def test_the_four_have_the_documents_names_ports_and_rules(supervised: Supervised) -> None:
    found = {p["name"]: p for p in supervised.api("/api/processes")[1]["processes"]}
    assert list(found) == NAMES
    assert found["updater"]["state"] == "stopped"
    assert found["main_app"]["port"] == supervised.port
    logs = {path.name for path in (supervised.directory / "logs").iterdir()}
    assert logs >= {"supervisor.log", *(f"{name}.log" for name in NAMES[:3])}
    given = json.loads((STACK / "host" / "supervisor.json").read_text())["processes"]
    for process in given[:3]:
        assert (process["restart_limit"], process["restart_delay"]) == (3, 5)
    assert not given[3]["autostart"]
    # In /tmp whoever made it first would keep the process from starting.
    eventually((supervised.run_dir / "heartbeat.update_server").exists, supervised.text)


def test_processes_are_started_stopped_and_restarted(supervised: Supervised) -> None:
    status, before = supervised.api("/api/process/update_server")
    assert status == 200
    status, after = supervised.api("/api/process/update_server/restart", "POST", {"reason": "try"})
    assert status == 200 and after["pid"] != before["pid"]
    status, found = supervised.api("/api/process/update_server/stop", "POST")
    assert (status, found["state"]) == (200, "stopped")
    assert supervised.states()["update_server"] == "stopped"
    status, found = supervised.api("/api/process/update_server/start", "POST")
    assert (status, found["state"]) == (200, "running")
    assert supervised.api("/api/process/nobody/start", "POST")[0] == 404
    log = supervised.directory / "logs" / "supervisor.log"
    assert "try" in log.read_text(), "who and why are noted"


def test_the_site_restarts_itself(supervised: Supervised) -> None:
    before = supervised.api("/api/process/main_app")[1]["pid"]
    assert supervised.api("/api/process/main_app/restart", "POST")[0] == 202

    def back() -> bool:
        status, found = supervised.api("/api/process/main_app")
        return bool(status == 200 and found["pid"] != before and found["health"] == "healthy")

    eventually(back, supervised.text)


def test_nobody_else_may(supervised: Supervised) -> None:
    for token in ("", "wrong"):
        assert ask(supervised.port, "/api/processes", token=token)[0] == 401
        assert ask(supervised.port, "/api/system/status", token=token)[0] == 401
        # Without a session's token it could be another site's form.
        assert ask(supervised.port, "/api/process/updater/start", "POST", token)[0] == 400
    assert ask(supervised.port, "/api/health")[1]["status"] == "ok"
    # The token is for the API alone.
    assert ask(supervised.port, "/admin/", token=TOKEN)[0] in (302, 401)


def test_the_system_tells_of_itself(supervised: Supervised) -> None:
    status, found = supervised.api("/api/system/status")
    assert status == 200 and found["processes"]["ipc_server"] == "running"
    assert found["messages"]["clients"] and found["updates"]["running"] == found["version"]


def test_the_administrator_sees_processes_and_updates(supervised: Supervised) -> None:
    browser = Browser(supervised.port)
    browser.sign_in()
    page = browser.page("/admin/services/")
    assert all(name in page for name in NAMES)
    page = browser.page("/admin/updates")
    assert "no feed of releases is set" in browser.send("/admin/updates/check")
    assert "1.0.0" in page and "main_app" in page
    said = browser.send("/admin/updates/try")
    assert "The updater was started" in said
    eventually(lambda: "no feed of releases" in browser.page("/admin/updates"), supervised.text)
    eventually(lambda: supervised.states()["updater"] == "exited", supervised.text)


def test_one_that_is_killed_comes_back(supervised: Supervised) -> None:
    before = supervised.api("/api/process/ipc_server")[1]["pid"]
    os.kill(before, 9)

    def back() -> bool:
        found = supervised.api("/api/process/ipc_server")[1]
        return bool(found["state"] == "running" and found["pid"] != before)

    eventually(back, supervised.text)


def test_logs_are_rotated_as_the_block_says(supervised: Supervised) -> None:
    log = supervised.directory / "logs" / "main_app.log"
    block = (STACK / "host" / "logrotate").read_text()
    assert block.splitlines()[1] == "/var/log/fastblog/*.log {"
    script = block.partition("postrotate\n")[2].partition("endscript")[0]
    script = script.replace("/run/fastblog", str(supervised.run_dir))
    script = script.replace("/opt/fastblog/moorage", str(STACK.parents[1] / "moorage" / "src"))
    log.rename(log.with_suffix(".log.1"))
    subprocess.run(["/bin/sh", "-ec", script], check=True, timeout=60)
    supervised.api("/api/health")
    # What is written from now on is in the new file.
    eventually(lambda: log.exists() and "/api/health" in log.read_text(), supervised.text)
