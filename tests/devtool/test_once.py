"""What test hosts leave for one another: the programs of molecule/shared/once with stand-ins."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from devtool import testhost

# Whatever it is asked for, it notes; `load` takes what `save` has written and nothing else.
DOCKER = """#!/bin/sh
echo "docker $*" >> "{notes}"
case "$1 $2" in
  'save --output') echo whole > "$3" ;;
  'load --input') grep -qx whole "$3" ;;
  *) exit 1 ;;
esac
"""
REAL = """#!/bin/sh
echo "{name} $*" >> "{notes}"
for word; do case $word in */root.tar) echo root > "$word" ;; esac; done
"""


@dataclass
class Host:
    """A host's programs, what they keep for others, and the notes of what was really done."""

    root: Path

    @property
    def kept(self) -> list[str]:
        return sorted(path.name for path in (self.root / "once").iterdir() if "@" in path.name)

    def run(self, name: str, *arguments: str) -> list[str]:
        """Run a program; return the first words of what that has really run."""
        notes = self.root / "notes"
        notes.write_text("")
        env = {**os.environ, "PATH": f"{self.root}:{os.environ['PATH']}"}
        subprocess.run([self.root / name, *arguments], env=env, check=True, timeout=20)
        return [" ".join(line.split()[:2]) for line in notes.read_text().splitlines()]

    def build(self, reference: str) -> list[str]:
        return self.run("docker-buildx", "buildx", "build", "--tag", reference, "/context")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "once").mkdir()
    for name in ("docker-buildx", "mmdebstrap"):
        text = (testhost._PROGRAMS / name).read_text()
        real = next(line for line in text.splitlines() if line.startswith("real="))
        text = text.replace(real, f"real={tmp_path}/real-{name}")
        text = text.replace(testhost._KEPT_ON_HOST, f"{tmp_path}/once")
        write(tmp_path / name, text)
        write(tmp_path / f"real-{name}", REAL.format(name=name, notes=tmp_path / "notes"))
    write(tmp_path / "docker", DOCKER.format(notes=tmp_path / "notes"))
    return Host(tmp_path)


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_an_image_is_built_by_the_first_and_loaded_by_the_others(host: Host) -> None:
    reference = "moorage/shop-web:0123456789ab"
    assert host.build(reference) == ["docker-buildx buildx", "docker save"]
    assert host.kept == ["shop-web@0123456789ab.tar"]
    assert host.build(reference) == ["docker load"]


def test_another_hash_is_built_and_only_the_first_is_kept(host: Host) -> None:
    host.build("moorage/shop-web:0123456789ab")
    done = host.build("moorage/shop-web:ba9876543210")
    assert done == ["docker image", "docker-buildx buildx"], "the first may serve as a cache"
    assert host.kept == ["shop-web@0123456789ab.tar"]


def test_an_archive_that_cannot_be_loaded_is_as_good_as_none(host: Host) -> None:
    (host.root / "once" / "shop-web@0123456789ab.tar").write_text("who")
    done = host.build("moorage/shop-web:0123456789ab")
    assert done == ["docker load", "docker image", "docker-buildx buildx"]


@pytest.mark.parametrize("words", [("buildx", "version"), ("buildx", "build", "--tag", "my:tag")])
def test_what_has_no_hash_in_its_name_is_not_shared(host: Host, words: tuple[str, ...]) -> None:
    for _ in range(2):
        assert host.run("docker-buildx", *words) == ["docker-buildx buildx"]
    assert host.kept == []


def test_a_root_file_system_is_made_once_wherever_it_is_wanted(host: Host) -> None:
    outputs = [host.root / name / "root.tar" for name in ("one", "two", "three")]
    for output in outputs:
        output.parent.mkdir()
    done = [host.run("mmdebstrap", "trixie", str(outputs[n]), f"deb {n // 2}") for n in range(3)]
    assert done == [["mmdebstrap trixie"], [], ["mmdebstrap trixie"]], "other options, another one"
    assert {output.read_text() for output in outputs} == {"root\n"}


def test_hosts_share_while_a_run_plays_its_scenarios_and_not_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testhost, "_KEPT", tmp_path / "kept")
    monkeypatch.delenv(testhost._KEPT_VARIABLE, raising=False)
    assert testhost._once() == []
    with testhost.building_once():
        kept, *programs = testhost._once()
        there = Path(kept.partition(":")[0])
        (there / "shop-web@0123456789ab.tar").touch()
        assert all(Path(volume.partition(":")[0]).stat().st_mode & 0o111 for volume in programs)
    assert not there.exists()
    assert testhost._once() == []
