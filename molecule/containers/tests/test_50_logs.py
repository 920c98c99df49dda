"""Logs are the engine's: bounded, and the newest lines are the ones that are kept."""

from __future__ import annotations

import json

from support import Machine, wait_until

WRITER = """
out = open('/proc/1/fd/1', 'w')
for n in range(60000):
    print(f'{n:099d}', file=out)
"""
LIMIT, FILES = 1_000_000, 3


def test_every_container_has_a_bounded_log(settled: Machine, stack: str) -> None:
    names = settled.container_ids(stack)
    for container in json.loads(settled.sh(f"docker inspect {' '.join(names)}")):
        # As the scenario's host_vars ask for.
        assert container["HostConfig"]["LogConfig"] == {
            "Type": "json-file",
            "Config": {"max-size": "1m", "max-file": "3"},
        }, container["Name"]


def test_a_service_that_floods_its_log_fills_no_disk(settled: Machine, stack: str) -> None:
    container = settled.container_of(stack, "scraper")
    runs = settled.runs(stack)
    settled.sh(f'docker exec {container} python3 -c "{WRITER}"')
    last = f"{59999:099d}"
    wait_until(
        "the last line is shown",
        lambda: last in settled.sh(f"moorage logs --lines 50 {stack} scraper"),
        seconds=30,
    )
    path = settled.sh(f"docker inspect -f '{{{{.LogPath}}}}' {container}")
    sizes = [int(size) for size in settled.sh(f"stat -c %s {path}*").split()]
    assert len(sizes) == FILES, "six megabytes were written"
    # A file is full with the line that goes beyond the limit.
    assert all(size <= LIMIT + 1000 for size in sizes), sizes
    assert settled.runs(stack) == runs
