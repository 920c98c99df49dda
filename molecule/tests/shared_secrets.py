"""Secrets are files, and nothing but files."""

from __future__ import annotations

from pathlib import Path

from application import APPLICATION
from support import Machine

FINDER = Path(__file__).with_name("find_secrets.py")


def test_no_secret_is_anywhere_but_in_its_file(settled: Machine, stack: str) -> None:
    *found, last = settled.python(FINDER, stack).splitlines()
    assert last.startswith("looked for ")
    assert found == []


def test_the_search_finds_what_is_there(settled: Machine, stack: str) -> None:
    """A search that cannot find anything would prove nothing."""
    secret, planted = f"/opt/{stack}/secrets/session_key", f"/opt/{stack}/logs/planted.txt"
    container = settled.container_of(stack, APPLICATION.VISITED)
    image = settled.sh(f"docker inspect -f '{{{{.Config.Image}}}}' {container}")
    settled.sh(
        f"cat {secret} > {planted}; docker run -d --name planted -e PLANTED=$(cat {secret}) "
        f"--entrypoint sleep {image} 600"
    )
    try:
        found = settled.python(FINDER, stack).splitlines()
        pid = settled.sh("docker inspect -f '{{.State.Pid}}' planted")
    finally:
        settled.sh(f"docker rm -f planted; rm {planted}")
    places = {line.removeprefix("session_key is in ") for line in found}
    assert {planted, f"/proc/{pid}/environ"} <= places
    assert any("docker inspect" in place for place in places)


def test_secrets_are_long_ascii_and_all_different(settled: Machine, stack: str) -> None:
    shown = settled.sh(
        f"cd /opt/{stack}/secrets && for f in $(find . -maxdepth 1 -type f -size +0); "
        "do printf '%s ' $f; cat $f; echo; done"
    )
    values = dict(line.split() for line in shown.splitlines())
    assert len(values) >= 4
    assert len(set(values.values())) == len(values)
    assert all(len(value) >= 32 and value.isascii() for value in values.values())
