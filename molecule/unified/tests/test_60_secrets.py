"""Secrets are files, and nothing but files."""

from __future__ import annotations

from pathlib import Path

from support import Machine

FINDER = Path(__file__).parents[2] / "tests" / "find_secrets.py"


def test_no_secret_is_anywhere_but_in_its_file(settled: Machine, stack: str) -> None:
    *found, last = settled.python(FINDER, stack).splitlines()
    assert last.startswith("looked for ")
    assert found == []


def test_the_search_finds_what_is_there(settled: Machine, stack: str) -> None:
    """A search that cannot find anything would prove nothing."""
    planted = f"/opt/{stack}/logs/planted.txt"
    settled.sh(f"cat /opt/{stack}/secrets/session_key > {planted}")
    try:
        assert f"session_key is in {planted}" in settled.python(FINDER, stack).splitlines()
    finally:
        settled.sh(f"rm {planted}")


def test_secrets_are_long_ascii_and_all_different(settled: Machine, stack: str) -> None:
    shown = settled.sh(
        f"cd /opt/{stack}/secrets && for f in $(find . -maxdepth 1 -type f -size +0); "
        "do printf '%s ' $f; cat $f; echo; done"
    )
    values = dict(line.split() for line in shown.splitlines())
    assert len(values) >= 4
    assert len(set(values.values())) == len(values)
    assert all(len(value) >= 32 and value.isascii() for value in values.values())
