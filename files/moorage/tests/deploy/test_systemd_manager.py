"""What systemd says of a unit, in its own words, and what is made of that."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from moorage.deploy.release import Release
from moorage.deploy.runtimes.managers import systemd
from moorage.deploy.runtimes.managers.base import Look
from moorage.deploy.runtimes.managers.systemd import Systemd
from moorage.release.manifest import parse
from moorage.release.native import Process, unit_file

Seen = Callable[..., Look]
# As systemd 257 has said it.
_RUNS = """\
Id=shop-web@1a.service
LoadState=loaded
ActiveState=active
SubState=running
Result=success
MainPID=4711
NRestarts=3
ExecMainCode=0
ExecMainStatus=0
ExecMainStartTimestamp=@1796064738
ExecMainExitTimestamp=
ExecMainExitTimestampMonotonic=0
InactiveExitTimestampMonotonic=1593668999
UnitFileState=enabled
"""
_ENDED = {
    "ActiveState": "failed", "SubState": "failed", "MainPID": "0", "Result": "exit-code",
    "ExecMainCode": "1", "ExecMainStatus": "3", "ExecMainExitTimestamp": "@1796064739",
}  # fmt: skip


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """A function that returns what is seen of the unit above, with some of it other."""

    def look(**other: str) -> Look:
        values = dict(line.split("=", 1) for line in _RUNS.splitlines()) | other
        text = "".join(f"{name}={value}\n" for name, value in values.items())
        program = tmp_path / "systemctl"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return Systemd().look(["shop-web@1a"])["shop-web@1a"]

    return look


def test_what_runs(look: Seen) -> None:
    assert look() == Look("running", 4711, 0, 3, "2026-11-30T18:52:18.0Z")


@pytest.mark.parametrize(
    ("other", "state"),
    [
        # Its last process has ended badly, then it has waited for a start, which was one too many.
        ({"ExecMainExitTimestampMonotonic": "1593664247"}, "dead"),
        # It has ended badly when it was told to stop.
        ({"ExecMainExitTimestampMonotonic": "1599999999"}, "exited"),
        # It was told to stop while it waited for a start.
        ({"ExecMainExitTimestampMonotonic": "1593664247", "ActiveState": "inactive"}, "exited"),
        # Each of its processes has ended well.
        ({"Result": "start-limit-hit", "ExecMainStatus": "0"}, "dead"),
    ],
)
def test_what_was_given_up_is_told_from_what_was_stopped(
    look: Seen, other: dict[str, str], state: str
) -> None:
    found = look(**{**_ENDED, **other})
    assert (found.state, bool(found.refused)) == (state, state == "dead")
    # The start that was refused is none.
    assert found.restarts == (2 if state == "dead" else 3)


def test_what_somebody_has_stopped_and_systemd_has_forgotten_has_not_ended_well(look: Seen) -> None:
    forgotten = {
        "ActiveState": "inactive", "SubState": "dead", "MainPID": "0", "NRestarts": "0",
        "ExecMainStartTimestamp": "", "ExecMainExitTimestampMonotonic": "0",
    }  # fmt: skip
    assert look(**forgotten, UnitFileState="disabled").exit_code == 143
    assert look(**forgotten).exit_code == 0
    remembered = {**forgotten, "ExecMainExitTimestamp": "@1796064739"}
    assert look(**remembered, UnitFileState="disabled").exit_code == 0


class Rewritten:
    """A stack's units below a directory, and what systemctl was told of them."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said = path / "said"
        self.manager = Systemd()
        self.release = Release("1" * 12, path, parse({"topology": "host", "units": []}))
        self.units = path / "etc"
        self.units.mkdir()
        file = path / unit_file("web")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("[Service]\n")
        program = path / "systemctl"
        program.write_text(f'#!/bin/sh\necho "$@" >>{self.said}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(path), prepend=":")
        monkeypatch.setattr(systemd, "UNIT_DIRECTORY", self.units)

    def install(self) -> None:
        process = Process("shop-web@1a", "web", ("web",), "/", "/bin", "1:1")
        self.manager.install(self.release, {"web": process})

    def rereads(self) -> int:
        """How often systemd was told, until now and since the last question, to read all units."""
        lines = self.said.read_text().splitlines() if self.said.exists() else []
        self.said.unlink(missing_ok=True)
        reloading = ("daemon-reload", "enable", "disable")
        return sum(
            words[0] in reloading and "--no-reload" not in words for words in map(str.split, lines)
        )


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rewritten:
    return Rewritten(tmp_path, monkeypatch)


def test_systemd_reads_all_units_anew_once_for_a_process_that_is_made_in_the_place_of_another(
    shop: Rewritten,
) -> None:
    shop.install()
    shop.manager.start(["shop-web@1a"], timeout_seconds=10.0)
    shop.manager.settle()
    assert (shop.rereads(), os.listdir(shop.units)) == (1, ["shop-web@1a.service"])
    shop.manager.remove(["shop-web@1a"])
    shop.install()
    shop.manager.start(["shop-web@1a"], timeout_seconds=10.0)
    shop.manager.settle()
    assert shop.rereads() == 1


def test_what_is_removed_or_installed_and_not_started_is_known_to_systemd_when_it_has_settled(
    shop: Rewritten,
) -> None:
    shop.install()
    assert shop.rereads() == 0
    shop.manager.settle()
    assert shop.rereads() == 1
    shop.manager.remove(["shop-web@1a"])
    shop.manager.settle()
    assert (shop.rereads(), os.listdir(shop.units)) == (1, [])
    shop.manager.settle()
    assert shop.rereads() == 0
