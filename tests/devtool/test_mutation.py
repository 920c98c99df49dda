"""`make test-mutation` on a package of two functions, of which a test knows one."""

from __future__ import annotations

from pathlib import Path

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
    for name, value in {"SEED": "1", "PACKAGES": "tiny", "MINUTES": "5", "MUTANTS": "2"}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_what_a_test_notices_is_caught_and_what_none_notices_is_said(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mutation.run() == 0
    said = capsys.readouterr().out.splitlines()
    assert sorted(said[2:4]) == [
        f"SURVIVED  {SOURCES}/tiny/rules.py:6  return a  =>  return None",
        f"caught  {SOURCES}/tiny/rules.py:2  return a  =>  return None",
    ]
    survivor = f"    {SOURCES}/tiny/rules.py:6  return a  =>  return None"
    assert said[4:] == ["Survivors:", survivor, "tiny: 1 of 2 caught"]
    assert (checkout / SOURCES / "tiny/rules.py").read_text() == RULES


def test_a_test_that_fails_by_itself_tells_nothing(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = checkout / "files/moorage/tests/tiny/test_rules.py"
    test.write_text(f"{TEST}\n\ndef test_red():\n    assert rules.unknown(1) == 2\n")
    assert mutation.run() == 0
    said = capsys.readouterr().out.splitlines()
    name = "files/moorage/tests/tiny/test_rules.py::test_red"
    assert f"left out, red without a mutation: {name}" in said
    assert said[-1] == "tiny: 1 of 2 caught"


def test_a_mutation_is_shown_to_what_enters_its_function_the_quickest_first() -> None:
    seconds = {"a::slow": 10.0, "a::quick": 1.0, "b::quicker": 0.5, "b::other": 0.1, "c::far": 15.0}
    entered = {("m.py", 3): {"a::slow", "a::quick", "b::quicker", "c"}, ("m.py", 9): {"b::other"}}
    known = mutation.Knowledge(seconds, entered)

    def tests(function: int, path: str = "m.py") -> list[str]:
        return known.tests_of(mutation.Mutation(Path(path), function, function, "", ""))

    # 11.5 s; with the one of which nobody knows more than the file it were more than 20.
    assert tests(3) == ["b::quicker", "a::quick", "a::slow"]
    assert tests(9) == ["b::other"]
    assert tests(0) == ["b::other", "b::quicker", "a::quick", "a::slow"]
    assert tests(5) == tests(3, "other.py") == []


def test_the_time_is_up_even_while_the_first_tests_run(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    test = checkout / "files/moorage/tests/tiny/test_rules.py"
    wait = f"import pathlib, time; time.sleep(20); pathlib.Path({str(checkout)!r}, 'end').touch()"
    test.write_text(f"{TEST}    {wait}\n")
    monkeypatch.setenv("MINUTES", "0.02")
    assert mutation.run() == 1
    # Nobody knows what those tests would have said.
    assert capsys.readouterr().out.splitlines()[-2:] == ["No survivors.", "tiny: 0 of 0 caught"]
    assert not (checkout / "end").exists()
