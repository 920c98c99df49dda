"""The page of a supervisor that is used alone: `process_supervisor web`."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_rig import SOURCES, ControlRig, eventually
from running_panel import PASSWORD, RunningPanel, Visitor, free_port
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from process_supervisor.client import Client
from process_supervisor.supervisor.history import INTERVAL, RECORD, SAMPLES

ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES)}


def words(rig: ControlRig, *more: str) -> list[str]:
    """Return the command."""
    return [sys.executable, "-m", "process_supervisor", "-s", rig.socket, "web", *more]


def test_one_command_on_a_terminal(rig: ControlRig, tmp_path: Path) -> None:
    panel = RunningPanel(tmp_path, rig.socket)
    ours, theirs = pty.openpty()
    command = words(rig, "--listen", f"127.0.0.1:{panel.port}")
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=theirs) as process:
        panel.process = process
        said = os.read(ours, 4096).decode()
        shown = re.search(r"http://\S+/  user: admin  password of this run: (\S+)", said)
        assert shown, said
        eventually(panel._answers, "the page answers")
        ada = Visitor(panel)
        assert ada.sign_in("a guess of mine").status == 401
        assert ada.sign_in(shown[1]).status == 303
        page = ada.get("/services/").text
        assert "steady" in page and "process_supervisor" in page
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    os.close(ours)
    os.close(theirs)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlRig]:
    """A supervisor with processes that wait for each other."""
    sleep = {"command": ["sleep", "600"]}
    check = {"type": "command", "command": ["true"]}
    made = ControlRig(
        tmp_path_factory.mktemp("d"),
        {
            "db": {**sleep, "health_check": check},
            "migrate": {
                "command": ["true"], "autorestart": "never", "depends_on": {"db": "healthy"},
            },
            "web": {**sleep, "depends_on": {"migrate": "completed", "db": "healthy"}},
            "worker": {**sleep, "depends_on": {"migrate": "completed"}},
        },
    )  # fmt: skip
    try:
        made.start()
        eventually(lambda: made.state("web") == "RUNNING", "web runs")
        yield made
    finally:
        made.stop()


def test_who_waits_for_whom(chain: ControlRig, tmp_path: Path, chrome: Chrome) -> None:
    panel = RunningPanel(tmp_path, chain.socket)
    panel.start()
    chrome.get(panel.url)
    chrome.find_element(By.ID, "username").send_keys("admin")
    chrome.find_element(By.ID, "password").send_keys(PASSWORD + Keys.ENTER)

    def tree() -> list[str]:
        text = chrome.execute_script(
            "document.querySelector('details').open = true;"
            "return document.querySelector('.tree')?.innerText ?? ''"
        )
        return [" ".join(line.split()) for line in str(text).splitlines() if line.strip()]

    waiting = [
        "web running",
        "migrate done – is waited for until it is done",
        "db running – is waited for until it is healthy",
        "db running – is waited for until it is healthy",
        "worker running",
        "migrate done – is waited for until it is done – see above",
    ]
    eventually(lambda: tree()[-6:] == waiting, "the tree")
    # It stays true while the page is open.
    Client(chain.socket).stop("db")
    waiting[2] = waiting[3] = "db stopped – is waited for until it is healthy"
    eventually(lambda: tree()[-6:] == waiting, "db has stopped")
    assert not [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"]
    chrome.get(f"{panel.url}/language/zh?next=/services/")
    assert "依赖关系" in chrome.page_source and "须等其健康" in chrome.page_source
    chrome.delete_all_cookies()
    assert panel.stop() == 0


def test_the_last_day_of_a_process(chain: ControlRig, tmp_path: Path) -> None:
    directory = chain.directory / "state" / "history"
    directory.mkdir(exist_ok=True)
    now = int(time.time()) // INTERVAL
    with (directory / "worker.day").open("wb") as file:
        for ago in (600, 601, 10):
            file.seek((now - ago) % SAMPLES * RECORD.size)
            file.write(RECORD.pack(now - ago, 1234, 20_000))
    panel = RunningPanel(tmp_path, chain.socket)
    panel.start()
    ada = Visitor(panel)
    ada.sign_in()
    page = ada.get("/services/worker/log").text
    assert "CPU over the last day, at most 123.4 %" in page
    assert "Memory over the last day, at most 20.5 MB" in page
    # Two pieces: in between it did not run.
    drawn = re.search(r'data-day="cpu".*? d="([^"]+)"', page, re.S)
    assert drawn and drawn[1].count("M") == 2
    ada.get("/language/zh?next=/services/")
    assert "过去一天的内存，最高 20.5 MB" in ada.get("/services/worker/log").text
    assert "data-day" not in ada.get("/services/broken/log").text
    assert panel.stop() == 0


def test_without_a_terminal_it_makes_up_no_password(rig: ControlRig) -> None:
    command = words(rig, "--listen", f"127.0.0.1:{free_port()}")
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and "--password-file FILE is wanted" in ended.stderr


def test_with_a_password_file_and_the_panels_options(rig: ControlRig, tmp_path: Path) -> None:
    panel = RunningPanel(tmp_path, rig.socket)
    listen, password = f"127.0.0.1:{panel.port}", str(tmp_path / "panel-password")
    panel.command = words(
        rig, "--listen", listen, "--password-file", password, "--title", "my machine"
    )
    panel.start()
    ada = Visitor(panel)
    assert ada.sign_in().status == 303
    assert "my machine" in ada.get("/services/").text
    assert panel.stop() == 0


def test_without_the_package_it_says_which(rig: ControlRig, tmp_path: Path) -> None:
    (tmp_path / "process_supervisor").symlink_to(SOURCES / "process_supervisor")
    command = [sys.executable, "-S", "-m", "process_supervisor", "-s", rig.socket, "web"]
    ended = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert "the page needs moorage, which is not installed here: pip install" in ended.stderr
