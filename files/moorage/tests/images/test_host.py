"""A bundle, built by the program that it carries, on the engine of this machine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage.images import BuildSpec, ImageMap, stack_spec
from moorage.images.builder import INSPECT_FORMAT, meaningful, missing
from moorage.images.bundle import pack
from moorage.images.host import Journal, pass_on

OPTIONS = {"base_source": "bootstrap", "base_name": "debian:trixie-slim", "pip_index_url": None}


@pytest.fixture
def stack() -> Iterator[str]:
    name = f"pytest-{uuid.uuid4().hex[:8]}"
    yield name
    listing = ["docker", "images", "--quiet", "--filter", f"label=moorage.stack={name}"]
    found = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()
    if found:
        subprocess.run(["docker", "rmi", "--force", *found], capture_output=True, check=True)


def describe(stack: str, root: Path, dockerfile: str, **build: Any) -> BuildSpec:
    root.mkdir(exist_ok=True)
    (root / "Dockerfile").write_text(dockerfile)
    return stack_spec(stack, "web", build, root, ImageMap(root, {}))


def packed(*specs: BuildSpec) -> bytes:
    output = io.BytesIO()
    pack(specs, output, OPTIONS)
    return output.getvalue()


def unpacked(data: bytes, where: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(where, filter="fully_trusted")
    return where


def host(directory: Path, *argv: str) -> str:
    """Run the program of the bundle as a controller does: with what the bundle brings."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(directory / "lib")}
    if "DOCKER_CONFIG" in os.environ:
        environment["DOCKER_CONFIG"] = os.environ["DOCKER_CONFIG"]
    if "HOME" in os.environ:
        environment["HOME"] = os.environ["HOME"]
    command = [sys.executable, "-S", "-m", "moorage.images.host", *argv]
    return subprocess.run(
        command, env=environment, cwd=directory, capture_output=True, text=True, check=True
    ).stdout


def build(directory: Path) -> list[dict[str, Any]]:
    host(directory, "start", str(directory))
    return followed(directory, lambda event: event["event"] == "done")


def followed(directory: Path, over: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Return what has happened up to an event."""
    events: list[dict[str, Any]] = []
    offset, deadline = 0, time.monotonic() + 300
    while not any(map(over, events)):
        assert time.monotonic() < deadline, events
        news = json.loads(host(directory, "follow", str(directory), str(offset)))
        events += news["events"]
        offset = news["offset"]
    return events


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    def bundle(root: Path) -> bytes:
        root.mkdir()
        for number in range(20):
            (root / f"f{number}").write_text(str(number))
        return packed(describe("shop", root, "FROM scratch\nCOPY . /\n"))

    one, other = bundle(tmp_path / "one"), bundle(tmp_path / "other")

    assert hashlib.sha256(one).hexdigest() == hashlib.sha256(other).hexdigest()


def test_a_bundle_names_no_owner_and_its_times_follow_contents(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("1")
    (tmp_path / "g").write_text("1")
    (tmp_path / "g").chmod(0o750)
    before = packed(describe("shop", tmp_path, "FROM scratch\nCOPY f g /\n"))
    (tmp_path / "f").write_text("2")
    after = packed(describe("shop", tmp_path, "FROM scratch\nCOPY f g /\n"))

    def members(data: bytes) -> dict[str, tarfile.TarInfo]:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            return {Path(member.name).name: member for member in archive if member.isfile()}

    one, other = members(before), members(after)
    assert {(m.uid, m.gid, m.uname, m.gname) for m in one.values()} == {(0, 0, "", "")}
    assert one["g"].mode == 0o755
    assert one["f"].mode == 0o644
    assert one["f"].mtime == one["g"].mtime == other["g"].mtime
    assert one["f"].mtime != other["f"].mtime
    # What was not copied is not shipped.
    assert "Dockerfile" not in one


def test_a_build_and_its_repetition(stack: str, tmp_path: Path) -> None:
    text = "FROM scratch AS web\nARG GREETING\nCOPY hello lib/ /\nLABEL greeting=$GREETING\n"
    root = tmp_path / "src"
    (root / "lib").mkdir(parents=True)
    (root / "lib" / "l").write_text("l")
    (root / "hello").write_text("hello")
    spec = describe(stack, root, text, target="web", args={"GREETING": "hi"})
    directory = unpacked(packed(spec), tmp_path / "bundle")
    (directory / "ca").write_text("certificates")

    events = build(directory)

    assert [event["event"] for event in events if event["event"] != "step"] == [
        "building",
        "built",
        "done",
    ], events
    assert events[-1]["error"] == ""
    assert any("COPY hello" in event["text"] for event in events if event["event"] == "step")
    inspect = ["docker", "image", "inspect", "--format", "{{json .Config.Labels}}", spec.ref]
    labels = json.loads(subprocess.run(inspect, capture_output=True, check=True).stdout)
    assert labels == {"greeting": "hi", "moorage.stack": stack, "moorage.digest": spec.digest}
    # Nothing private stays behind when the controller never comes back.
    assert not (directory / "ca").exists()
    assert not (directory / "trees").exists()

    again = build(unpacked(packed(spec), tmp_path / "again"))
    assert [event["event"] for event in again] == ["done"]


def test_who_waits_for_another_build_sees_how_far_that_is(stack: str, tmp_path: Path) -> None:
    script = (
        "until_there() { for _ in $(seq 3000); do [ -e $1 ] && return; sleep 0.1; done; exit 1; }\n"
        "echo first; until_there second; echo second; until_there go\n"
        f'printf "FROM scratch\\nLABEL moorage.stack={stack} $3\\n" | docker build -t "$2" -\n'
    )
    image: dict[str, Any] = {
        "ref": f"moorage/{stack}:1",
        "digest": stack,
        "script": "make",
        "context": "src",
        "environment": False,
    }
    builds = []
    for name in ("one", "other"):
        builds.append(directory := unpacked(packed(), tmp_path / name))
        recipe = json.loads((directory / "build.json").read_text()) | {"images": [image]}
        (directory / "build.json").write_text(json.dumps(recipe))
        (directory / "src").mkdir()
        (directory / "src" / "make").write_text(script)
    one, other = builds
    host(one, "start", str(one))
    followed(one, lambda event: event.get("text") == "first")

    host(other, "start", str(other))
    followed(other, lambda event: event["event"] == "elsewhere" and event["text"] == "first")
    (one / "second").touch()
    followed(other, lambda event: event["event"] == "elsewhere" and event["text"] == "second")
    (one / "go").touch()

    last = followed(other, lambda event: event["event"] == "done")
    assert {event["event"] for event in last} == {"waiting", "elsewhere", "done"}, last
    assert image["ref"] in {event.get("ref") for event in last if event["event"] == "elsewhere"}


@pytest.mark.parametrize("line", ["{", "7", '{"event": "mail"}', '{"event": "step"}'])
def test_what_another_build_has_not_written_is_passed_over(line: str, tmp_path: Path) -> None:
    shared, journal = Journal(tmp_path / "shared"), Journal(tmp_path / "own")
    shared.path.write_text(f"{line}\n")
    assert pass_on(shared, 0, journal) == (False, len(line) + 1)
    shared.append({"event": "building", "ref": "moorage/web:1"})
    assert pass_on(shared, len(line) + 1, journal) == (True, shared.path.stat().st_size)
    (event,) = journal.read(0)[0]
    assert event == {"event": "elsewhere", "ref": "moorage/web:1", "text": "building"}
    shared.path.write_text("")
    assert pass_on(shared, 100, journal) == (False, 0), "another one has begun"


def test_a_failed_build_tells_why_and_where(stack: str, tmp_path: Path) -> None:
    text = "FROM scratch\nCOPY there /\nCOPY --from=nothing-like-it:1 missing /\n"
    root = tmp_path / "src"
    root.mkdir()
    (root / "there").write_text("1")
    spec = describe(stack, root, text.replace("--from=nothing-like-it:1 ", ""))

    events = build(unpacked(packed(spec), tmp_path / "bundle"))

    error = events[-1]["error"]
    assert spec.ref in error
    assert "/var/log/moorage/build-" in error
    assert "missing" in error


def test_a_build_that_is_killed_is_noticed(stack: str, tmp_path: Path) -> None:
    spec = describe(stack, tmp_path / "src", "FROM scratch\n")
    directory = unpacked(packed(spec), tmp_path / "bundle")
    # The recipe is gone before the program reads it: it dies with a traceback.
    (directory / "build.json").write_text("{")

    events = build(directory)

    assert "died without a word" in events[-1]["error"]
    assert "JSONDecodeError" in events[-1]["error"]


def test_a_half_written_event_waits_for_its_end(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "progress.jsonl")
    journal.append({"event": "built"})
    with journal.path.open("a") as output:
        output.write('{"event": "do')

    events, offset = journal.read(0)
    with journal.path.open("a") as output:
        output.write('ne"}\n')

    assert events == [{"event": "built"}]
    assert journal.read(offset)[0] == [{"event": "done"}]


def test_what_a_host_lacks() -> None:
    listing = "\n".join(
        [
            '["moorage/a:1","moorage/a:latest"]\tnull',
            '["moorage/base:trixie"]\t{"moorage.digest":"old"}',
            '["moorage/given:trixie"]\t{}',
            "Error: No such image: moorage/c:1",
        ]
    )
    wanted = [
        ("moorage/a:1", ""),
        ("moorage/a:2", ""),
        ("moorage/base:trixie", "new"),
        ("moorage/given:trixie", "new"),
    ]

    assert missing(wanted, listing) == ["moorage/a:2", "moorage/base:trixie"]
    assert missing([("moorage/base:trixie", "old")], listing) == []


def test_the_format_is_what_the_engine_understands(stack: str, tmp_path: Path) -> None:
    spec = describe(stack, tmp_path / "src", "FROM scratch\nLABEL a=b\n")
    build(unpacked(packed(spec), tmp_path / "bundle"))
    argv = ["docker", "image", "inspect", "--format", INSPECT_FORMAT, spec.ref, "moorage/no:such"]

    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert missing([(spec.ref, spec.digest), ("moorage/no:such", "")], done.stdout) == [
        "moorage/no:such"
    ]


def test_the_end_of_a_log_is_what_tells_something() -> None:
    lines = ["#1 DONE 0.1s", "", "#2 sha256:abc 1MB", "#3 1.2 make: error", "------", "x" * 400]

    assert meaningful(lines) == ["#3 1.2 make: error", "x" * 300]
    assert len(meaningful(["line"] * 100)) == 30
