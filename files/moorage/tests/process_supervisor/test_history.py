"""What processes have used: a sample a minute, kept over restarts of the supervisor."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from process_supervisor.cli import usage
from process_supervisor.cli.main import main
from process_supervisor.common.loop import EventLoop
from process_supervisor.supervisor.history import INTERVAL, RECORD, SAMPLES, History

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig


def this_minute() -> int:
    """Return the minute since 1970."""
    return int(time.time()) // INTERVAL


class Itself:
    """This process in the place of one under supervision."""

    def __init__(self, name: str, started: float) -> None:
        self.name, self.pid, self.started = name, os.getpid(), started


def history(tmp_path: Path, *processes: Itself) -> History:
    """Samples of processes, taken when the test says so."""
    named: Any = {process.name: process for process in processes}
    return History(str(tmp_path), EventLoop(), named)


def test_a_day_is_kept_and_no_more(tmp_path: Path) -> None:
    mine = Itself("me", time.monotonic() - 1)
    made, now = history(tmp_path, mine), this_minute()
    for minute in range(now - SAMPLES - 500, now + 1, 10):
        made.sample(minute)
    found = made.read("me")
    assert [at // INTERVAL for at, _, _ in found] == list(range(now - SAMPLES + 10, now + 1, 10))
    assert all(size > 1 << 20 for _, _, size in found)
    path = tmp_path / "history" / "me.day"
    assert path.stat().st_size <= SAMPLES * RECORD.size
    # Another supervisor goes on; what was torn or is of another time is none.
    again = history(tmp_path, mine)
    assert again.read("me") == found
    with path.open("r+b") as file:
        file.write(os.urandom(50))
        file.truncate(SAMPLES * RECORD.size - 5)
    assert set(again.read("me")) <= set(found)
    path.write_bytes(b"")
    assert again.read("me") == again.read("nobody") == []
    again.forget("me")
    assert not path.exists()


def test_a_share_is_of_the_time_since_the_sample_before(tmp_path: Path) -> None:
    mine = Itself("me", time.monotonic() - 3600)
    made, now = history(tmp_path, mine), this_minute()
    made.sample(now - 1)
    assert made.read("me") == []  # adopted: its whole life says nothing of the last minute
    begun = time.process_time()
    while time.process_time() < begun + 0.3:
        pass
    made.sample(now)
    ((at, share, _),) = made.read("me")
    # Not of an hour, of which this would be nothing.
    assert at == now * INTERVAL and 1 < share < 150
    made._directory = "/dev/null/x"
    with pytest.raises(OSError, match="Not a directory"):
        made.sample(now)
    made._again()  # a disk that cannot be written is no end of anything


def fill(rig: Rig, name: str, now: int, *minutes: int) -> None:
    """Note samples of the past: half a CPU, then twice as much; 10 MiB, then 20."""
    directory = rig.path("state") / "history"
    directory.mkdir(exist_ok=True)
    with (directory / f"{name}.day").open("wb") as file:
        for factor, ago in enumerate(minutes, 1):
            file.seek((now - ago) % SAMPLES * RECORD.size)
            file.write(RECORD.pack(now - ago, 500 * factor, factor * 10 << 10))


def test_it_is_told_and_outlives_the_supervisor(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    sleep = ["sleep", "1000"]
    rig.start({"name": "web", "command": sleep}, {"name": "new", "command": sleep})
    rig.pid("new")
    # A minute may end meanwhile, with a sample of next to nothing.
    now = this_minute()
    fill(rig, "web", now, 600, 10)
    rig.kill_supervisor()
    samples = rig.client.history("web")["samples"][:2]
    assert samples == [
        [(now - 600) * INTERVAL, 50.0, 10 << 20], [(now - 10) * INTERVAL, 100.0, 20 << 20],
    ]  # fmt: skip

    def said(*words: str) -> str:
        assert main(["-s", rig.client.path, *words]) == 0
        return capsys.readouterr().out

    top = said("top", "--by", "memory").splitlines()
    row = next(line for line in top if line.startswith("web "))
    assert top[0].split()[0] == "NAME" and "100.0%" in row and "21.0 MB" in row
    facts = {item["name"]: item for item in json.loads(said("top", "--json"))}
    assert facts["web"]["cpu_percent_most"] == 100.0
    assert facts["web"]["memory_bytes_most"] == 20 << 20
    assert 0 < facts["web"]["cpu_percent_day"] <= 75.0
    assert set(facts) == {"web", "new"}
    shown = said("history", "web")
    assert "most 100.0 %" in shown and "most 21.0 MB" in shown and "▄" in shown and "█" in shown
    assert json.loads(said("history", "web", "--json"))["samples"][:2] == samples
    # What is configured no more is forgotten.
    rig.configure({"name": "new", "command": sleep})
    rig.client.reload()
    rig.until(lambda: not (rig.path("state") / "history" / "web.day").exists(), "it is forgotten")


def test_bars_are_the_most_of_their_part() -> None:
    now = 1_000_000.0
    samples = [[now - usage.DAY + 1, 1.0, 0.0], [now - 5, 4.0, 0.0], [now - 4, 8.0, 0.0]]
    drawn = usage.bars(samples, usage.CPU, now)
    assert len(drawn) == usage.COLUMNS and drawn[0] == "▁" and drawn[-1] == "█"
    assert set(drawn[1:-1]) == {" "}
    assert (usage.mean(samples, usage.CPU), usage.most(samples, usage.CPU)) == (13 / 3, 8.0)
    assert usage.mean([], usage.CPU) is usage.most([], usage.CPU) is None
    assert usage.bars([[now - 5, 0.0, 0.0]], usage.CPU, now)[-1] == "▁"
