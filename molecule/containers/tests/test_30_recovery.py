"""What dies comes back: each service, and the engine itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from described import DATA, HEALTH_URLS, OWN
from support import Machine, wait_until
from tg2em_site import visited

RECOVERY = Path(__file__).parents[2] / "tests/container_recovery.py"
Figure = Callable[[str], None]
# The front end says whether it reaches the database.
URLS = {**HEALTH_URLS, "mysql": HEALTH_URLS["frontend"]}


@pytest.mark.parametrize("name", [*OWN, *DATA])
def test_a_killed_service_is_replaced_and_serves(
    settled: Machine, stack: str, name: str, figure: Figure
) -> None:
    container, url = settled.container_of(stack, name), URLS.get(name, "")
    others = {n: run for n, run in settled.runs(stack).items() if n != name}
    seen = json.loads(settled.python(RECOVERY, container, *([url] if url else [])))
    figure(f"{name} killed: new process after {seen['process']} ms, serving {seen['serving']} ms")
    assert seen["restarts"] == 1
    assert seen["process"] < 5000
    assert {n: run for n, run in settled.runs(stack).items() if n != name} == others


def test_containers_outlive_a_killed_engine(settled: Machine, stack: str, figure: Figure) -> None:
    show = "systemctl show --property MainPID --value docker"
    before, runs = settled.sh(show), settled.runs(stack)
    # Nobody looks at the panel, which may well say that the engine is away.
    with visited(settled, streams=False) as visitors:
        settled.sh("systemctl kill --signal KILL docker")
        wait_until(
            "another engine answers",
            lambda: (
                settled.sh(show) not in ("0", before) and settled.host.run("docker ps -q").rc == 0
            ),
            seconds=60,
        )
    visitors.seen.assert_none_failed(200, set())
    wait_until("all is as it was", lambda: settled.runs(stack) == runs, seconds=20)
    # The new engine looks after those that the old one had started.
    container = settled.container_of(stack, "tgstate")
    seen = json.loads(settled.python(RECOVERY, container, HEALTH_URLS["tgstate"]))
    figure(f"tgstate killed after the engine was: serving {seen['serving']} ms")
    assert seen["restarts"] == 1


def test_memory_of_the_whole_stack(
    settled: Machine, stack: str, containers: dict[str, int], figure: Figure
) -> None:
    used = {}
    for name, number in settled.container_ids(stack).items():
        if name in containers:
            used[name] = int(settled.sh(f"cat {memory_file(settled, number)}"))
    unit = f"moorage-gateway-{stack}.service"
    used["gateway"] = int(settled.sh(f"systemctl show --property MemoryCurrent --value {unit}"))
    shown = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in sorted(used.items()))
    figure(f"memory: {sum(used.values()) / 1e6:.0f} MB ({shown})")
    assert all(size > 0 for size in used.values())
    assert used["gateway"] < 64e6


def memory_file(machine: Machine, number: str) -> str:
    """Return the file in which the kernel counts a container's memory, in either version."""
    found = machine.sh(
        f"find /sys/fs/cgroup -path '*{number}*' "
        "\\( -name memory.usage_in_bytes -o -name memory.current \\) | head -n 1"
    )
    assert found, number
    return found
