"""Running other programs: argument lists only, output to a log, its tail when they fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from devtool.paths import LOGS, ROOT, STATE, VENV_BIN
from devtool.ui import Problem

_TAIL_LINES = 25


def environment() -> dict[str, str]:
    """Return the environment our programs get: the checkout's own tools come first.

    DOCKER_CONFIG is set once the bootstrap has put CLI plugins beside the user's own settings.
    """
    env = dict(os.environ)
    env["PATH"] = f"{VENV_BIN}{os.pathsep}{env.get('PATH', os.defpath)}"
    env["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
    # The toolchain that is locked, never another one downloaded at run time.
    env["GOTOOLCHAIN"] = "local"
    env.setdefault("GOCACHE", str(STATE / "go-cache"))
    if not sys.stdout.isatty():
        # Molecule and the linters colour their output even into a file.
        env["NO_COLOR"] = "1"
        env["ANSIBLE_NOCOLOR"] = "1"
    docker_config = STATE / "docker-cli"
    if docker_config.is_dir():
        env["DOCKER_CONFIG"] = str(docker_config)
    return env


def capture(argv: Sequence[str | Path], timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a short command and return its outcome, whatever it is."""
    try:
        return subprocess.run(
            [str(word) for word in argv],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(list(map(str, argv)), 127, "", f"{argv[0]}: not found")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(
            list(map(str, argv)), 124, "", f"{argv[0]}: no answer within {timeout:.0f} s"
        )


def output(argv: Sequence[str | Path], timeout: float = 60.0) -> str:
    """Run a short command that has to succeed and return what it printed, stripped."""
    done = capture(argv, timeout)
    if done.returncode != 0:
        raise Problem(f"{' '.join(map(str, argv))} failed", *done.stderr.strip().splitlines())
    return done.stdout.strip()


def logged(name: str, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> None:
    """Run a long command with its output in .state/log/NAME.log; raise with its last lines."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name}.log"
    with log.open("w") as stream:
        done = subprocess.run(
            [str(word) for word in argv],
            env={**environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            check=False,
        )
    if done.returncode != 0:
        tail = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        raise Problem(
            f"{argv[0]} failed with exit code {done.returncode}", *tail, f"(whole log: {log})"
        )


def foreground(
    argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> int:
    """Run a command on this terminal and return its exit code."""
    return subprocess.run(
        [str(word) for word in argv], env={**environment(), **(env or {})}, cwd=cwd, check=False
    ).returncode


def watched(argv: Sequence[str | Path], see: Callable[[str], None]) -> int:
    """Run a command on this terminal, call ``see`` with each line; return its exit code."""
    colour = {"ANSIBLE_FORCE_COLOR": "1"} if sys.stdout.isatty() else {}
    process = subprocess.Popen(
        [str(word) for word in argv],
        env={**environment(), **colour},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            print(line, end="", flush=True)
            see(line)
    return process.wait()


def is_root() -> bool:
    """Tell whether we may install packages on this machine."""
    return os.geteuid() == 0
