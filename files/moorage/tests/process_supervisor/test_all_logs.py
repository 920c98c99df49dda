"""Logs of several processes as one: in order, since a time, searched, over rotated files."""

from __future__ import annotations

import datetime
import gzip
import os
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from process_supervisor.cli.logs import Source, names
from process_supervisor.output import times
from process_supervisor.output.times import Times, parse, thinned

if TYPE_CHECKING:
    from typing import Any

    from files.moorage.tests.process_supervisor.conftest import Rig

SOURCES = Path(__file__).parents[2] / "src"


def cli(rig: Rig, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run `process_supervisor logs`."""
    return subprocess.run(
        [sys.executable, "-m", "process_supervisor", "-s", rig.client.path, "logs", *words],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        timeout=120,
        **more,
    )


class Talkers:
    """Processes that write what they are told to."""

    def __init__(self, rig: Rig, *names: str, **more: Any) -> None:
        self.rig = rig
        for name in names:
            rig.path(f"{name}.said").touch()
        rig.start(*(
            {"name": name, "command": ["tail", "-n0", "-f", str(rig.path(f"{name}.said"))], **more}
            for name in names
        ))  # fmt: skip
        for name in names:
            rig.pid(name)
            # What is said before it looks is not heard.
            rig.until(partial(self._hears, name), f"{name} listens")

    def _hears(self, name: str) -> bool:
        self._write(name, "ready")
        return "ready" in self.rig.client.logs(name)

    def _write(self, name: str, line: str) -> None:
        with self.rig.path(f"{name}.said").open("a") as said:
            said.write(line + "\n")

    def say(self, name: str, line: str) -> float:
        """Have a line written, and return a time after it and before the next one's mark."""
        self._write(name, line)
        self.rig.until(lambda: line in self.rig.client.logs(name, lines=10_000), f"{line} is there")
        at = time.time()
        self.rig.until(lambda: time.time() > at + 2.5 * times.RESOLUTION, "another mark")
        # A mark is exact to a hundredth of a second only, and its line may have been seen at once.
        return at + 2.2 * times.RESOLUTION


def said(text: str) -> list[str]:
    """Return the lines but those of the beginning."""
    return [line for line in text.splitlines() if not line.endswith("ready")]


def test_all_as_one_in_order_and_since_a_time(rig: Rig) -> None:
    talkers = Talkers(rig, "a", "long-name")
    talkers.say("long-name", "first")
    talkers.say("a", "second")
    between = talkers.say("long-name", "third")
    talkers.say("a", "fourth 字 \x1b[31m")
    shown = cli(rig)
    assert shown.returncode == 0 and len({line.index("|") for line in said(shown.stdout)}) == 1
    assert [" ".join(line.split()) for line in said(shown.stdout)] == [
        "long-name | first", "a | second", "long-name | third", "a | fourth 字 \\x1b[31m",
    ]  # fmt: skip

    def texts(*words: str) -> list[str]:
        found = cli(rig, *words)
        assert found.returncode == 0, found.stderr
        return [line.split("| ")[-1].split()[0] for line in said(found.stdout)]

    moment = datetime.datetime.fromtimestamp(between, datetime.UTC).isoformat()
    assert texts("--since", moment) == ["fourth"]
    assert texts("--since", moment, "--grep", "first|fourth") == ["fourth"]
    assert texts("--since", "10m") == ["first", "second", "third", "fourth"]
    assert texts("--grep", "i.*r", "-n", "1") == ["third"]
    assert texts("-n", "2") == ["third", "fourth"]
    assert texts("a", "--since", moment) == ["fourth"]
    # One alone is not prefixed, and the times outlive the supervisor.
    rig.kill_supervisor()
    assert said(cli(rig, "a", "--since", "1h").stdout) == ["second", "fourth 字 \\x1b[31m"]
    assert "|" not in cli(rig, "a").stdout


def test_standard_error_is_shown_as_such(rig: Rig) -> None:
    rig.start({"name": "both", "command": ["sh", "-c", "echo out; echo err >&2; sleep 1000"]})
    rig.until(lambda: rig.client.logs("both", "stderr"), "both have written")
    shown = sorted(cli(rig).stdout.splitlines())
    assert [line.split(" | ") for line in shown] == [["both       ", "out"], ["both/stderr", "err"]]
    assert cli(rig, "--stderr").stdout == "both | err\n"
    assert cli(rig, "both", "--since", "1h").stdout == "out\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--since", "yesterday"], "'yesterday' is not like 30m, 2h, 1d"),
        (["--grep", "("], "'(': missing )"),
        (["absent", "--since", "1h"], "there is no process absent"),
        (["mute", "--since", "1h"], "nothing of that is logged to a file"),
    ],
)
def test_what_cannot_be_shown_is_told(rig: Rig, words: list[str], why: str) -> None:
    rig.start({"name": "mute", "command": ["sleep", "1000"], "stdout_logfile": None,
               "stderr_logfile": None})  # fmt: skip
    shown = cli(rig, *words)
    assert shown.returncode in (1, 2) and why in shown.stderr and not shown.stdout


def test_following_all_sees_each_line_once_over_rotation(rig: Rig) -> None:
    talkers = Talkers(rig, "a", "b", log_max_bytes=2000, log_backups=50)
    command = [sys.executable, "-m", "process_supervisor", "-s", rig.client.path, "logs", "-f"]
    with subprocess.Popen(
        [*command, "--grep", "line"],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stdout=subprocess.PIPE,
        text=True,
    ) as follower:
        assert follower.stdout is not None
        expected = []
        for number in range(120):
            name = "ab"[number % 2]
            talkers._write(name, f"line {number} {'x' * 60}")
            expected.append(f"{name} | line {number} {'x' * 60}")
        found = sorted(line.strip() for _, line in zip(expected, follower.stdout, strict=False))
        assert [" ".join(line.replace("/stderr", "").split()) for line in found] == sorted(expected)
        follower.terminate()
    assert list(rig.directory.glob("a.log.*"))


def read(source: Source, since: float = 0.0, count: int | None = None) -> list[str]:
    """Return the lines of a source."""
    found = source.lines(since, count, False)
    return [line.decode("utf-8", "replace") for _, _, line in found]


def test_rotated_and_compressed_files_are_read_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    marks = []
    for number, (name, at) in enumerate((("old", 1000.0), ("mid", 2000.0), ("new", 3000.0))):
        file = tmp_path / name
        file.write_text(f"{name} 1\n{name} 2\n")
        marks.append(f"{at:.2f} {file.stat().st_ino} 0\n{at + 100:.2f} {file.stat().st_ino} 6\n")
        os.utime(file, (at + 100, at + 100))
        assert number < 3
    (tmp_path / "new").rename(path)
    (tmp_path / "mid").rename(f"{path}.1")
    # As logrotate does: another file, with the time of the last change.
    with gzip.open(f"{path}.2.gz", "wb") as packed:
        packed.write((tmp_path / "old").read_bytes())
    os.utime(f"{path}.2.gz", (1100, 1100))
    text = "".join(marks)
    everything = ["old 1", "old 2", "mid 1", "mid 2", "new 1", "new 2"]
    assert read(Source("a", str(path), text)) == everything
    for since, left in ((1050, 5), (1500, 4), (2050, 3), (3050, 1), (4000, 0)):
        assert read(Source("a", str(path), text), since) == everything[6 - left :], since
    for count in range(8):
        assert read(Source("a", str(path), text), count=count) == everything[max(0, 6 - count) :]
    # Without marks a whole file is as old as its last change.
    assert read(Source("a", str(path), ""), 2050) == everything[2:]
    path.unlink()
    assert [Path(name).name for name in names(str(path))] == ["a.log.1", "a.log.2.gz"]
    assert read(Source("a", str(path), text)) == everything[:4]


def test_what_is_no_log_does_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"\x00\xff\xfe\n" + b"y" * 200_000 + b"\nlast, unfinished")
    os.mkfifo(f"{path}.1")
    found = read(Source("a", str(path), "torn\n1 2\nnan x y\n5 6 7 8 9\n"))
    assert [len(line) for line in found] == [3, 1 << 16, len("last, unfinished")]
    os.unlink(f"{path}.1")
    Path(f"{path}.1").symlink_to("/etc/passwd")
    assert len(read(Source("a", str(path), ""))) == 3
    os.unlink(f"{path}.1")
    whole = gzip.compress(b"".join(os.urandom(500).hex().encode() + b"\n" for _ in range(50)))
    Path(f"{path}.1.gz").write_bytes(whole[: len(whole) // 2])
    torn = Source("a", str(path), "")
    assert 3 < len(read(torn)) < 53 and torn.troubles == 1
    said = capsys.readouterr().err
    assert "a.log.1 is no file" in said and "ends in the middle" in said
    assert "Too many levels of symbolic links" in said


def test_a_huge_file_takes_little_memory(rig: Rig) -> None:
    rig.start({"name": "big", "command": ["sh", "-c", "echo small; sleep 1000"]})
    rig.until(lambda: rig.client.logs("big"), "it has written")
    with rig.path("big.log.1").open("wb") as file:
        file.write(b"needle\n")
        file.truncate(400 << 20)

    def little() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (150 << 20, 150 << 20))

    shown = cli(rig, "big", "--grep", "needle|small", preexec_fn=little)
    assert (shown.stdout, shown.stderr) == ("needle\nsmall\n", "")


def test_marks_are_bounded_and_the_oldest_the_least_exact(tmp_path: Path) -> None:
    made = Times(str(tmp_path / "times" / "a.stdout"))
    made.note(7, 0)
    many = times.MOST_BYTES // 26 + 1
    (tmp_path / "times" / "a.stdout").write_text(
        "".join(f"{1_700_000_000 + n}.00 {1_234_567 + n // 500} {n * 1000}\n" for n in range(many))
    )
    before = parse(made.text())
    made.begin_anew()
    made.note(9, 5)
    after = parse(made.text())
    assert len(after) < len(before) * 0.8 and len(made.text()) < 0.8 * times.MOST_BYTES
    assert after[0][0] == before[0][0] and after[0][1] >= before[1][1]
    assert after[-2] == before[-1] and after[-1][2:] == (9, 5)
    # Whatever was written at a time is still found at that time.
    for begin, end, inode, offset in before:
        assert any(
            m[0] <= begin and end <= m[1] and m[2] == inode and m[3] <= offset for m in after
        )
    while (fewer := thinned(after)) != after:
        after = fewer
    assert {m[2] for m in after} == {m[2] for m in before} | {9}
