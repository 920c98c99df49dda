"""What happened long ago: kept over restarts, in files of a bounded size."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from files.moorage.tests.process_supervisor.conftest import until
from files.moorage.tests.process_supervisor.test_api_and_commands import cli
from process_supervisor import ProcessSupervisor
from process_supervisor.common import events as module
from process_supervisor.common.events import KEPT, Events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from files.moorage.tests.process_supervisor.conftest import Rig


def test_what_is_no_longer_in_memory_is_read_from_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_LIMIT", 60_000)
    path = tmp_path / "events.jsonl"
    events = Events(str(path), files=3)
    for number in range(4000):
        events.add("tick", f"p{number % 7}", number=number)
    files = sorted(tmp_path.iterdir())
    assert [item.name for item in files] == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    assert all(item.stat().st_size <= 60_000 for item in files)
    kept = [json.loads(line)["seq"] for item in files for line in item.read_text().splitlines()]
    first = min(kept)
    assert sorted(kept) == list(range(first, 4001))
    assert first < 4000 - KEPT
    for again in (events, Events(str(path), files=3)):
        found = again.since(0, 10_000)
        assert [item["seq"] for item in found] == sorted(kept)
        assert again.since(first + 9, 10_000)[0]["seq"] == first + 10
        assert [item["seq"] for item in again.since(0, 700)] == list(range(3301, 4001))
        middle = found[len(found) // 2]
        assert again.since(0, 10_000, middle["at"])[0]["at"] >= middle["at"]
        assert again.since(4000, 10) == again.since(0, 0) == []
        assert again.since(0, 3)[0]["seq"] == 3998
        assert again.seq == 4000
    # Fewer files, when that is what a reload says: the others are no longer looked at.
    events.files = 1
    for number in range(2000):
        events.add("tock", number=number)
    assert path.stat().st_size <= 60_000


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\0" * 5000, b"[" * 5000, b'{"seq": 1}\n', b"{}\n[]\n5\n",
        b'{"seq": "x", "at": 1}\n{"seq": 7, "at": 1, "event": "e"}',
    ],
)  # fmt: skip
def test_files_of_others_are_no_trouble(tmp_path: Path, text: bytes) -> None:
    for name in ("events.jsonl", "events.jsonl.1", "events.jsonl.2"):
        tmp_path.joinpath(name).write_bytes(text)
    events = Events(str(tmp_path / "events.jsonl"))
    events.add("new")
    assert events.since(0, 100)[-1]["event"] == "new"


def test_what_was_noted_is_told_before_what_comes_after_it(tmp_path: Path) -> None:
    told: list[int] = []

    def tell(entry: Mapping[str, object]) -> None:
        told.append(int(str(entry["seq"])))
        if entry["event"] == "state":
            events.add("echo")  # a listener's own

    path = tmp_path / "events.jsonl"
    events = Events(str(path), tell)
    events.note("state", "web")
    assert not told and not path.read_text()
    assert [entry["event"] for entry in events.since(0, 10)] == ["state"]
    events.add("request")
    assert told == [1, 2, 3]
    assert [json.loads(line)["seq"] for line in path.read_text().splitlines()] == told


def test_since_a_number_or_a_time(rig: Rig) -> None:
    rig.path("state").mkdir()
    old = [{"seq": n, "at": time.time() - 7200 + n, "event": "old"} for n in range(1, 3000)]
    text = "".join(json.dumps(entry) + "\n" for entry in old)
    rig.path("state").joinpath("events.jsonl").write_text(text)
    rig.start({"name": "web", "command": ["sleep", "1000"]})
    assert len(cli(rig, "events").stdout.splitlines()) == 100
    assert cli(rig, "events", "--since", "5", "-n", "4000").stdout.startswith("6 ")
    assert "old" not in cli(rig, "events", "--since", "30m", "-n", "5").stdout
    lines = cli(rig, "events", "--since", "3h").stdout.splitlines()
    assert len(lines) > 3000
    assert "old" not in cli(rig, "events", "--since", "1m").stdout
    assert cli(rig, "events", "--since", "yesterday").returncode == 2


def test_the_last_step_before_the_end_is_written(tmp_path: Path) -> None:
    section = {"run_dir": str(tmp_path / "run"), "state_dir": str(tmp_path)}
    entry = {"name": "fails", "command": ["false"], "restart_delay": 600}
    supervisor = ProcessSupervisor({"version": 1, "supervisor": section, "processes": [entry]})
    supervisor.start_monitoring()
    supervisor.start_process("fails")
    until(lambda: supervisor.get_process_status("fails")["state"] == "BACKOFF", "it has failed")
    supervisor.shutdown()
    last = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    assert (last["from"], last["to"]) == ("BACKOFF", "STOPPED")
