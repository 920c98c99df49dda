"""Completion in a real bash and a real zsh."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from process_supervisor.cli import completion
from process_supervisor.client import Client

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig

SOURCES = Path(__file__).parents[2] / "src"
SLEEP = ["sleep", "1000"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One in which bash finds the command."""
    command = tmp_path / "bin" / "process_supervisor"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m process_supervisor "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}:{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": str(SOURCES), "HOME": str(tmp_path), "TERM": "dumb"}


def completed(environment: dict[str, str], *words: str) -> list[str]:
    """Return what bash offers for the last of the words."""
    script = (
        'eval "$(process_supervisor completion bash)" && COMP_WORDS=("$@") && '
        "COMP_CWORD=$(($# - 1)) && _process_supervisor && "
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", "process_supervisor", *words],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


def test_words_are_completed(rig: Rig, environment: dict[str, str], tmp_path: Path) -> None:
    rig.start({"name": "web-app", "command": SLEEP}, {"name": "worker", "command": SLEEP})
    at = ["-s", rig.client.path]
    assert completed(environment, "re") == ["restart", "reload", "reopen"]
    assert completed(environment, *at, "restart", "w") == ["web-app", "worker"]
    assert completed(environment, *at, "restart", "worker", "we") == ["web-app"]
    assert completed(environment, *at, "logs", "--gr") == ["--grep"]
    assert completed(environment, *at, "status", "--") == ["--help", "--json", "--watch"]
    assert completed(environment, *at, "reload", "") == []
    assert completed(environment, "completion", "") == ["bash", "zsh"]
    (tmp_path / "a config.json").touch()
    assert completed(environment, "run", "-c", f"{tmp_path}/a c") == [
        f"{tmp_path}/a",
        "config.json",
    ]
    # Nobody answers: nothing is offered, and nothing said.
    assert completed(environment, "-s", "/nowhere", "stop", "") == []


@pytest.mark.parametrize("shell", [["bash", "--norc", "--noprofile", "-i"], ["zsh", "-f", "-i"]])
def test_tab_on_a_terminal(rig: Rig, environment: dict[str, str], shell: list[str]) -> None:
    rig.start({"name": "the-only-one", "command": SLEEP})
    pid, terminal = pty.fork()
    if not pid:
        os.execvpe(shell[0], shell, environment)
    script = f'eval "$(process_supervisor completion {shell[0]})"; echo rea""dy\n'
    os.write(terminal, script.encode())
    seen = b""
    while b"ready" not in seen:
        seen += os.read(terminal, 4096)
    os.write(terminal, f"process_supervisor -s {rig.client.path} pid the\t".encode())
    while b"the-only-one" not in seen:
        seen += os.read(terminal, 4096)
    os.write(terminal, b"\n")
    expected = str(rig.pid("the-only-one")).encode()
    while expected not in seen:
        seen += os.read(terminal, 4096)
    os.write(terminal, b"exit\n")
    os.waitpid(pid, 0)
    os.close(terminal)


def test_what_a_stranger_answers_is_no_code(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    bad = ["$(touch x)", "a b", "`id`", "../x/", "", "é", "-", "fine"]
    answer = {
        "v": 1,
        "id": 1,
        "ok": True,
        "result": [{"name": name, "group": "$x"} for name in bad],
    }

    def serve() -> None:
        client, _ = listener.accept()
        client.recv(4096)
        client.sendall(json.dumps(answer).encode() + b"\n")
        client.close()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        assert completion.names(Client(path)) == ["-", "fine"]
        thread.join()
