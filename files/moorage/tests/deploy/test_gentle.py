"""Weights of control groups, in directories as the kernel has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moorage.deploy.gentle import Gentle

OLD = "9:name=systemd:/docker/x\n2:cpuacct:/docker/x\n1:{cpu}:/docker/x\n0::/docker/x\n"
NEW = "0::/system.slice/docker-x.scope\n"


def gentle(directory: Path) -> Gentle:
    """Return one that looks at directories of the test's."""
    return Gentle(directory / "run/gentle.json", directory / "cgroup", directory / "proc")


def process(directory: Path, text: str, weight: str, usual: int) -> Path:
    """Make a process 7 in a group and return the file with the group's weight."""
    (directory / "proc/7").mkdir(parents=True)
    (directory / "proc/7/cgroup").write_text(text)
    path = directory / "cgroup" / weight
    path.parent.mkdir(parents=True)
    path.write_text(f"{usual}\n")
    return path


@pytest.mark.parametrize(
    ("text", "weight", "usual", "lower"),
    [
        (OLD.format(cpu="cpu"), "cpu/docker/x/cpu.shares", 1024, 256),
        (OLD.format(cpu="cpu,cpuacct"), "cpu/docker/x/cpu.shares", 2, 2),
        (NEW, "system.slice/docker-x.scope/cpu.weight", 100, 25),
    ],
    ids=["v1", "joined", "v2"],
)
def test_a_quarter_until_it_serves(
    tmp_path: Path, text: str, weight: str, usual: int, lower: int
) -> None:
    path = process(tmp_path, text, weight, usual)
    first = gentle(tmp_path)
    first.begin([7])
    first.begin([7])
    assert int(path.read_text()) == lower
    # The rollout was killed here; whoever comes next knows what the weight was.
    gentle(tmp_path).begin([7])
    gentle(tmp_path).end()
    assert int(path.read_text()) == usual
    assert not (tmp_path / "run/gentle.json").exists()


def test_what_is_slow_to_start_has_its_share_again_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = process(tmp_path, NEW, "system.slice/docker-x.scope/cpu.weight", 100)
    one = gentle(tmp_path)
    one.begin([7])
    one.end_when_due()
    assert int(path.read_text()) == 25
    monkeypatch.setattr("moorage.deploy.gentle.time.monotonic", lambda: 1e12)
    one.end_when_due()
    assert int(path.read_text()) == 100


@pytest.mark.parametrize(
    "text", ["", "0::/\n", "0::/../x\n", "1:cpu:/gone\n", "nonsense", "0::/elsewhere\n"]
)
def test_a_process_without_a_group_of_its_own_is_left_alone(tmp_path: Path, text: str) -> None:
    path = process(tmp_path, text, "system.slice/docker-x.scope/cpu.weight", 100)
    gentle(tmp_path).begin([7, 8])
    gentle(tmp_path).end()
    assert path.read_text() == "100\n"


@pytest.mark.parametrize("content", ["", "[]", '{"/etc/passwd": 1}', '{"x": "y"}', "{"])
def test_a_record_that_makes_no_sense_touches_nothing(tmp_path: Path, content: str) -> None:
    record = tmp_path / "run/gentle.json"
    record.parent.mkdir()
    outside = tmp_path / "outside"
    outside.write_text("as it was")
    record.write_text(content.replace("/etc/passwd", str(outside)))
    gentle(tmp_path).end()
    assert outside.read_text() == "as it was"
    assert not record.exists()
    record.write_text(json.dumps({str(tmp_path / "cgroup/gone/cpu.weight"): 100}))
    gentle(tmp_path).end()
