"""The page of a supervisor that is used alone: `process_supervisor web`."""

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

from control_rig import SOURCES, ControlRig, eventually
from running_panel import RunningPanel, Visitor, free_port

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
