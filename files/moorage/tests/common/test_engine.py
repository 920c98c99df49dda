"""What the engine's API says is what the docker client says, on this machine's engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage.common.engine import DockerError, Engine
from moorage.deploy.runtimes.docker import Docker

IMAGE = "moorage/base:trixie"


def docker(*argv: str) -> str:
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def label() -> Iterator[str]:
    """A label of this test's own, whose containers go afterwards."""
    label = f"moorage.pytest={uuid.uuid4().hex}"
    yield label
    if names := docker("ps", "-aq", "--filter", f"label={label}").split():
        docker("rm", "--force", *names)


def inspected(*names: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(docker("inspect", *names))
    return found


def test_containers_are_what_the_client_inspects(label: str) -> None:
    some = ["--label", label, "--label", "b", "--stop-timeout", "3", "--publish", "127.0.0.1::80"]
    docker("run", "--detach", *some, "--health-cmd", "true", IMAGE, "sleep", "600")
    docker("create", "--label", label, "--label", "b=no", "--tmpfs", "/tmp", IMAGE, "true")
    docker("create", "--label", label, IMAGE, "true")
    engine = Engine()
    # As long as the health check has not run, nothing of them changes by itself but its log.
    both = docker("ps", "-aq", "--no-trunc", "--filter", f"label={label}", "--filter", "label=b")
    found = engine.containers(label, "b")
    assert [entry["Id"] for entry in found] == both.split() and len(found) == 2
    for mine, theirs in zip(found, inspected(*both.split()), strict=True):
        for entry in (mine, theirs):
            entry["State"].pop("Health", None)
        assert mine == theirs
    assert [entry["Id"] for entry in engine.containers(label, "b=no")] == [found[0]["Id"]]
    running = found[1]["Name"].lstrip("/")
    one = engine.container(running)
    assert one is not None and one["Id"] == found[1]["Id"]


@pytest.mark.parametrize("terminal", [False, True])
def test_output_is_what_the_client_shows(label: str, terminal: bool) -> None:
    script = r"printf 'one\ntwo\r\n\377\n'; printf 'oops\n' >&2; printf unended"
    some = ["--label", label, *(["--tty"] if terminal else [])]
    name = docker("run", "--detach", *some, IMAGE, "sh", "-c", script)
    docker("wait", name)
    for many in (1, 3, 100):
        both = subprocess.run(
            ["docker", "logs", "--tail", str(many), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=True,
        )
        told = both.stdout.decode(errors="replace").splitlines()
        # The client writes both streams as they come out of its own two pipes.
        assert sorted(Docker().logs(name, many)) == sorted(told) and told
    assert all(line[:4].isdigit() for line in Docker().logs(name, 100, times=True) if line)


def test_looking_starts_no_client(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = f"pytest-{uuid.uuid4().hex[:8]}"
    ours = ["--label", f"moorage.stack={stack}", "--label", "moorage.service=web"]
    docker("create", "--name", f"{stack}-web", "--label", label, *ours, IMAGE, "true")
    monkeypatch.setenv("PATH", "")
    (found,) = Docker().instances(stack)
    assert (found.name, found.state, Docker().logs(found.name, 5)) == (
        f"{stack}-web",
        "created",
        [],
    )


def test_images_are_what_the_client_lists() -> None:
    engine = Engine()
    listed = docker("image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    told = dict(line.split() for line in listed.splitlines())
    assert engine.images() == {ref: of for ref, of in told.items() if "<none>" not in ref}
    assert engine.image(IMAGE) == inspected(IMAGE)[0]
    assert Docker().digests([IMAGE]) == {IMAGE: told[IMAGE]}
    assert Docker().missing([IMAGE, "moorage/none"]) == ["moorage/none"]
    assert engine.images("moorage.pytest=none") == {}


def test_what_is_not_there_is_none(label: str) -> None:
    engine = Engine()
    assert engine.container("moorage-none") is None
    assert engine.image("moorage/none:1") is None
    assert engine.containers(label) == []
    assert engine.networks(label) == {}
    assert engine.output("moorage-none", 5) == []


def test_what_the_engine_refuses_is_told_in_its_words() -> None:
    with pytest.raises(DockerError, match=r"^cannot look at the image A:b: .*\S"):
        Engine().image("A:b")


def test_a_host_without_an_engine_has_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(str(tmp_path / "none"))
    # One that is down has its client on the host.
    assert not engine.absent()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engine.absent()
    assert (engine.containers(), engine.images(), engine.networks()) == ([], {}, {})
    with pytest.raises(DockerError, match="is Docker installed"):
        engine.container("moorage-none")
    assert not Engine().absent()


def test_an_engine_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DockerError, match=r"^cannot list images: .*none: No such file.*provision"):
        Engine(str(tmp_path / "none")).images()
    if os.getuid() != 0:
        return
    ask = (
        "import os\nfrom moorage.common.engine import Engine\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\nEngine().containers()"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    assert "DockerError: cannot list containers: " in done.stderr
    assert "Permission denied; only root and the group docker may ask it" in done.stderr
