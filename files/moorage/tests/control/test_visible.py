"""What others wrote is shown, and does nothing to the terminal or page that shows it."""

from __future__ import annotations

import sys

import pytest

from moorage.cli.main import _pass_on
from moorage.cli.tables import table
from moorage.common.text import say, visible

ATTACK = "\x1b]0;owned\x07\x1b[2J\x9b31m gnp\u202egnp.exe \u2066x\u2069\u200b\r\x08done"
SHOWN = r"\x1b]0;owned\x07\x1b[2J\x9b31m gnp\u202egnp.exe \u2066x\u2069\u200b\x0d\x08done"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (ATTACK, SHOWN),
        ("\ud800 half", r"\ud800 half"),
        ("\U000e0041tag", r"\U000e0041tag"),
        ("\u2028\u0085\x7f\x00", r"\u2028\x85\x7f\x00"),
    ],
)
def test_what_acts_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    "text", ["流浪地球 ünïcode", "a\tb\nc", "می\u200cخواهم", "👩\u200d🚀", "עברית", "C:\\x1b", ""]
)
def test_what_is_read_stays(text: str) -> None:
    assert visible(text) == text


def test_lines_cells_and_followed_output(capfd: pytest.CaptureFixture[str]) -> None:
    say(ATTACK)
    print(table([["NAME", "NOTE"], ["web", f"{ATTACK}\nsecond"]]))
    program = f"import sys; print({ATTACK!r}); print('\\udcff', file=sys.stderr); sys.exit(3)"
    assert _pass_on([sys.executable, "-X", "utf8", "-c", program]) == 3
    said = capfd.readouterr().out
    assert said.count(SHOWN) == 3, said
    assert not any(sign in said for sign in "\x1b\x9b\u202e\x07\x08"), said
    assert len(said.splitlines()) >= 5
