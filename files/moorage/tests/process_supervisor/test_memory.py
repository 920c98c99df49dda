"""Ends for want of memory, in a container whose memory the kernel really bounds."""

from __future__ import annotations

import json
import subprocess
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from process_supervisor.control.client import Client, ControlError
from process_supervisor.service import memory

SOURCES = Path(__file__).parents[2] / "src"
PYTHON = "/usr/bin/python3"
EATER = "import pathlib, time\nwhile not pathlib.Path('{flag}').exists(): time.sleep(0.02)\n"
EATER += "pathlib.Path('{flag}').unlink()\nfood = bytearray(400 << 20)\n"
PARENT = (
    "import os, sys, time\nif not os.fork():\n    exec(sys.argv[1])\nos.wait()\ntime.sleep(600)\n"
)


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return the condition's value once it is true; AssertionError after a minute."""
    deadline = time.monotonic() + 60
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within a minute: {what}"
        time.sleep(0.02)
    return value


def docker(*argv: str) -> str:
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, check=True, timeout=90)
    return done.stdout.strip()


class Bounded:
    """A supervisor as the first process of a container with 96 MiB."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.name = name
        self.client = Client(str(directory / "run/control.sock"), timeout=10)
        services = {
            "eater": [PYTHON, "-c", self._eater("eater")],
            "shell": ["sh", "-c", f'{PYTHON} -c "$1"; exit $?', "sh", self._eater("shell")],
            "parent": [PYTHON, "-c", PARENT, self._eater("parent")],
            "steady": ["sleep", "600"],
        }
        paths = {"run_dir": f"{directory}/run", "state_dir": f"{directory}/state"}
        config = {
            "version": 1,
            "supervisor": {**paths, "socket": f"{directory}/run/control.sock"},
            "processes": [{"name": name, "command": c} for name, c in services.items()],
        }
        (directory / "supervisor.json").write_text(json.dumps(config))

    def _eater(self, name: str) -> str:
        return EATER.format(flag=self.directory / name)

    def eat(self, name: str) -> None:
        (self.directory / name).touch()

    def status(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.client.status(name)
        except ControlError:
            return {}
        return found

    def runs(self, name: str) -> bool:
        return bool(self.status(name).get("state") == "RUNNING")

    def shortages(self) -> list[dict[str, Any]]:
        return [event for event in self.client.events() if event["event"] == "oom"]


@pytest.fixture
def bounded(tmp_path: Path) -> Iterator[Bounded]:
    image = f"pytest-{uuid.uuid4().hex[:8]}"
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as tar:
        for name in ("lib", "lib64", "bin"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(link)
    docker("import", str(archive), image)
    rig = Bounded(tmp_path, image)
    try:
        docker(
            "run", "--detach", f"--name={image}", "--memory=96m", "--memory-swap=96m",
            "--network=none", "--volume=/usr:/usr:ro", "--volume=/etc:/etc:ro",
            f"--volume={SOURCES}:{SOURCES}:ro", f"--volume={tmp_path}:{tmp_path}",
            f"--env=PYTHONPATH={SOURCES}", "--env=PATH=/usr/bin:/bin",
            "--env=PYTHONDONTWRITEBYTECODE=1", image, PYTHON, "-m", "process_supervisor.init",
            "--config", f"{tmp_path}/supervisor.json",
        )  # fmt: skip
        for name in ("eater", "shell", "parent", "steady"):
            until(partial(rig.runs, name), f"{name} runs")
        yield rig
    except BaseException:
        print(subprocess.run(["docker", "logs", image], capture_output=True, check=False))
        raise
    finally:
        docker("rm", "--force", "--volumes", image)
        docker("image", "rm", image)


@pytest.mark.parametrize("name", ["eater", "shell"])
def test_a_process_that_the_kernel_ends_for_memory_is_named(bounded: Bounded, name: str) -> None:
    bounded.eat(name)
    status = until(
        lambda: (s := bounded.status(name)).get("memory_kills") and s.get("pid") and s,
        f"{name} is killed and started again",
    )  # fmt: skip
    assert "the kernel ended it for want of memory at 2" in status["reason"]
    assert bounded.status("steady")["reason"] is None
    assert [event["process"] for event in bounded.shortages()] == [name]
    (ended,) = [e for e in bounded.client.events() if e.get("to") == "BACKOFF"]
    assert ended["reason"].endswith(", for want of memory")
    # Of a kill that somebody else did there is nothing of the kind.
    bounded.client.signal("steady", "KILL")
    until(lambda: bounded.status("steady")["restarts"], "steady is started again")
    assert not bounded.status("steady")["memory_kills"]
    assert len(bounded.shortages()) == 1


def test_a_killed_child_of_a_process_is_told_too_and_a_new_supervisor_knows(
    bounded: Bounded,
) -> None:
    bounded.eat("parent")
    until(lambda: bounded.status("steady") and bounded.shortages(), "the count is looked at")
    assert "process" not in bounded.shortages()[0]
    text = "the kernel ended a process of its container for want of memory"
    assert text in bounded.status("steady")["reason"]
    assert bounded.client.info()["stray_memory_kills"] == 1
    pid = bounded.client.info()["pid"]
    docker("exec", bounded.name, "sh", "-c", f"kill -9 {pid}")
    until(lambda: bounded.status("steady"), "the next supervisor answers")
    assert text in bounded.status("steady")["reason"]
    assert bounded.client.info()["stray_memory_kills"] == 1
    assert len(bounded.shortages()) == 1


@pytest.mark.parametrize(
    ("groups", "file", "content"),
    [
        ("0::/\n", "memory.events", "low 0\noom 9\noom_kill 3\noom_group_kill 0\n"),
        ("0::/a/b\n", "a/b/memory.events", "oom_kill 3"),
        ("9:cpu,memory:/x\n0::/x\n", "memory/memory.oom_control", "under_oom 0\noom_kill 3\n"),
        ("4:memory:/x\n", "memory/x/memory.oom_control", "oom_kill 3\n"),
    ],
)
def test_the_kernels_count_is_found(tmp_path: Path, groups: str, file: str, content: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)

    def count() -> int | None:
        return memory.kills(memory.counter(f"{tmp_path}/cg", f"{tmp_path}/proc"))

    assert count() is None
    (tmp_path / "cg" / file).parent.mkdir(parents=True)
    (tmp_path / "cg" / file).write_text("torn\noom_kill x\n")
    assert count() is None
    (tmp_path / "cg" / file).write_text(content)
    assert count() == 3
