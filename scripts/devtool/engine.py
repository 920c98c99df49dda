"""The container engine on this machine: use the one that answers, else install and start one.

An engine that was there before us is never stopped. One that we started by hand (there is no
systemd to do it) is remembered in .state/engine and stopped by its own process id.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from devtool import apt, shell
from devtool.paths import LOGS, STATE
from devtool.ui import Problem, say, step

_PID_FILE = STATE / "engine" / "dockerd.pid"
_START_SECONDS = 60.0
_STOP_SECONDS = 40.0


def version() -> str | None:
    """Return the version of the engine that answers, or None."""
    done = shell.capture(("docker", "version", "--format", "{{.Server.Version}}"), timeout=20)
    return done.stdout.strip() if done.returncode == 0 else None


def ensure() -> None:
    """Make sure that a container engine answers, or say what the administrator has to do."""
    if version():
        return
    if not apt.can_install():
        raise _no_engine()
    if shutil.which("dockerd") is None or shutil.which("docker") is None:
        with step("Docker engine from Debian's packages"):
            apt.install("docker.io", "iptables", *_client_packages())
    if version():
        return
    with step("Starting the Docker engine"):
        if Path("/run/systemd/system").is_dir():
            shell.logged("docker-start", ("systemctl", "start", "docker"))
            _wait()
        else:
            _start_by_hand()


def stop_if_ours() -> None:
    """Stop the engine that we started by hand, and wait until it is gone."""
    process = _our_process()
    if process is None:
        _PID_FILE.unlink(missing_ok=True)
        return
    with step(f"Stopping the Docker engine that was started here (pid {process})"):
        os.kill(process, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while _our_process() is not None:
            if time.monotonic() > deadline:
                raise Problem(f"dockerd (pid {process}) still runs {_STOP_SECONDS:.0f} s later")
            time.sleep(0.05)
        _PID_FILE.unlink(missing_ok=True)


def _client_packages() -> tuple[str, ...]:
    """Return the packages that bring the CLI and its plugins: one by one from Debian 13 on."""
    recent = apt.os_release().get("VERSION_ID", "0").split(".")[0]
    if apt.os_release().get("ID") == "debian" and recent.isdigit() and int(recent) >= 13:
        return ("docker-cli", "docker-compose", "docker-buildx")
    return ()


def _no_engine() -> Problem:
    user = os.environ.get("USER", "YOU")
    if shutil.which("docker") is None:
        return Problem(
            "there is no Docker here and only root may install it",
            "Ask the administrator for:",
            "  apt-get install docker.io",
            f"  usermod -aG docker {user}      (then log in again)",
            "or run the same command as root: it installs and starts Docker itself.",
        )
    denied = "permission denied" in shell.capture(("docker", "version"), timeout=20).stderr
    if denied:
        return Problem(
            "this user may not talk to the Docker engine",
            f"Ask the administrator for: usermod -aG docker {user}      (then log in again)",
        )
    return Problem(
        "the Docker engine does not answer",
        "Ask the administrator for: systemctl enable --now docker",
        "or, for an engine elsewhere: export DOCKER_HOST=..., docker context use NAME",
    )


def _start_by_hand() -> None:
    _PID_FILE.parent.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / "dockerd.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            ["dockerd", "--host", "unix:///var/run/docker.sock"],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            cwd="/",
        )
    # The start time tells our process from a later one with the same id.
    _PID_FILE.write_text(f"{process.pid} {_start_time(process.pid)}\n")
    _wait(process, log)
    say(f"    pid {process.pid}, log {log}; `make down` stops it")


def _wait(process: subprocess.Popen[bytes] | None = None, log: Path | None = None) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while version() is None:
        died = process is not None and process.poll() is not None
        if died or time.monotonic() > deadline:
            tail = log.read_text(errors="replace").splitlines()[-15:] if log else []
            raise Problem("the Docker engine did not start", *tail)
        time.sleep(0.1)


def _start_time(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # Field 22 of proc(5), counted after the command name; a zombie (state Z) is gone.
    return "" if fields[0] == "Z" else fields[19]


def _our_process() -> int | None:
    try:
        pid, started = _PID_FILE.read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if _start_time(int(pid)) == started else None
