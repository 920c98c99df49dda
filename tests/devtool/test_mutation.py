"""`make test-mutation` on a package of two functions, of which a test knows one."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from devtool import mutation

SOURCES = "files/moorage/src/moorage"
RULES = "def known(a):\n    return a\n\n\ndef unknown(a):\n    return a\n"
TEST = "from moorage.tiny import rules\n\n\ndef test_it():\n    assert rules.known(5) == 5\n"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a checkout that holds nothing but the package and its test."""
    files = {
        f"{SOURCES}/__init__.py": "",
        f"{SOURCES}/tiny/__init__.py": "",
        f"{SOURCES}/tiny/rules.py": RULES,
        "files/moorage/tests/tiny/test_rules.py": TEST,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    monkeypatch.setattr(mutation, "project_files", lambda: [Path(name) for name in files])
    for name, value in {"SEED": "1", "PACKAGES": "tiny", "MINUTES": "5", "SHARE": "0.5"}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_what_a_test_notices_is_caught_and_what_none_notices_is_said(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = mutation._sample
    monkeypatch.setattr(mutation, "_sample", lambda *of: islice(sample(*of), 2))
    assert mutation.run() == 0
    said = capsys.readouterr().out.splitlines()
    words: dict[str, Any] = {line.split()[1]: line.split()[0] for line in said if "=>" in line}
    assert words == {
        f"{SOURCES}/tiny/rules.py:2": "caught",
        f"{SOURCES}/tiny/rules.py:6": "SURVIVED",
    }
    assert (checkout / SOURCES / "tiny/rules.py").read_text() == RULES


def test_the_time_is_up_even_while_the_first_tests_run(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    test = checkout / "files/moorage/tests/tiny/test_rules.py"
    wait = f"import pathlib, time; time.sleep(20); pathlib.Path({str(checkout)!r}, 'end').touch()"
    test.write_text(f"{TEST}    {wait}\n")
    monkeypatch.setenv("MINUTES", "0.02")
    assert mutation.run() == 1
    # Nobody knows what those tests would have said.
    assert capsys.readouterr().out.splitlines() == ["SEED=1 MINUTES=0.02 PACKAGES=tiny"]
    assert not (checkout / "end").exists()
