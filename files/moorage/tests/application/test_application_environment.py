"""What a configuration says when it lacks something, and what a process does about its life."""

import re
from pathlib import Path

import pytest

from moorage.application import probe
from moorage.application.environment import ConfigurationError, number, read_secret


def test_a_secret_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    assert read_secret({"KEY_FILE": str(tmp_path / "key")}, "KEY") == "s3cret"
    assert read_secret({"KEY_FILE": str(tmp_path / "x")}, "KEY", "") == ""
    (tmp_path / "odd").write_bytes(b"\xff")
    for path, why in (
        ("", "KEY_FILE: .*not set"),
        (f"{tmp_path}/x", f"there is no file {tmp_path}/x"),
        (f"{tmp_path}/odd", "can't decode"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            read_secret({"KEY_FILE": path}, "KEY")


@pytest.mark.parametrize("value", ["x", "-1", "\u0663"])
def test_a_number_is_whole(value: str) -> None:
    assert number({"PORT": ""}, "PORT", 7) == 7 and number({"PORT": "8"}, "PORT", 7) == 8
    with pytest.raises(ConfigurationError, match=re.escape(f"whole number, not {value!r}")):
        number({"PORT": value}, "PORT", 7)


def test_each_replica_touches_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARTBEAT_FILE", str(tmp_path / "heartbeat"))
    monkeypatch.setenv("PROCESS_SUPERVISOR_NAME", "task-3")
    assert probe.main(["heartbeat", "60"]) == 1
    (tmp_path / "heartbeat.task-3").touch()
    assert probe.main(["heartbeat", "60"]) == 0
