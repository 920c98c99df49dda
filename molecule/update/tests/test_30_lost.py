"""Whatever is lost in the middle of an update, visitors are served and the next run recovers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest
from support import wait_until
from update_site import (
    MARKER,
    POOLS,
    RESERVATION,
    STACK,
    Harbour,
    Operator,
    kill,
    wait_for_phase,
)

UNIT = f"moorage-activate-{STACK}.service"
# How far the update is, as the host shows it.
PHASES = {
    "reserved": f"test -e {RESERVATION} && ! test -e {MARKER}",
    "begun": f"test -e {MARKER}",
    "started": "docker ps --format '{{.Names}}' | grep -q -- '-next$'",
    "switched": f"test -e {MARKER} && ! cmp -s {POOLS} /tmp/pools-before",
}
Process = subprocess.Popen[bytes]


@pytest.fixture
def updating(site: Harbour, operator: Operator) -> dict[str, str]:
    """The next build: visitors would notice at once which of them answers."""
    site.sh(f"cp {POOLS} /tmp/pools-before")
    version = operator.next_version()
    return {"WEB_VERSION": version, "WORKER_VERSION": version}


def recover(site: Harbour, operator: Operator, build: dict[str, str]) -> float:
    """Update again, as an operator does who has lost the first run; return how long it took."""
    began = time.monotonic()
    operator.update(site.name, build).ok  # noqa: B018
    took = time.monotonic() - began
    assert site.version() == build["WEB_VERSION"]
    assert site.beats()[-1].version == build["WORKER_VERSION"]
    site.assert_in_order()
    return took


@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_playbook_is_recovered_by_the_next_run(
    site: Harbour,
    operator: Operator,
    updating: dict[str, str],
    phase: str,
    figure: Callable[[str], None],
) -> None:
    old = site.version()
    with site.visited() as visitors:
        with operator.updating(site.name, updating) as process:
            wait_for_phase(site, process, phase, PHASES[phase])
            kill(process)
        assert site.version() in (old, updating["WEB_VERSION"])
        took = recover(site, operator, updating)
    figure(f"{operator.topology}: killed when {phase}: the next run took {took:.1f} s")
    visitors.seen.assert_none_failed(200)


@pytest.mark.parametrize("phase", ["started", "switched"])
def test_a_killed_rollout_is_recovered_by_the_next_run(
    site: Harbour, operator: Operator, updating: dict[str, str], phase: str
) -> None:
    old = site.version()
    with site.visited() as visitors:
        with operator.updating(site.name, updating) as process:
            wait_for_phase(site, process, phase, PHASES[phase])
            site.sh(f"systemctl kill --signal KILL {UNIT}")
            assert process.wait(timeout=300) != 0
        assert "without an outcome" in operator.said, operator.said
        assert site.version() in (old, updating["WEB_VERSION"])
        assert "interrupted" in site.sh(f"moorage status {STACK}")
        recover(site, operator, updating)
    visitors.seen.assert_none_failed(200)


def test_a_power_cut_in_the_middle_is_recovered_by_the_next_run(
    site: Harbour, operator: Operator, updating: dict[str, str]
) -> None:
    old = site.version()
    phase = {"unified": "started", "containers": "switched"}[operator.topology]
    with operator.updating(site.name, updating) as process:
        wait_for_phase(site, process, phase, PHASES[phase])
        site.restart(cut_power=True)
    served = wait_until("visitors are served again", site.version, seconds=60)
    assert served in (old, updating["WEB_VERSION"])
    with site.visited() as visitors:
        recover(site, operator, updating)
    visitors.seen.assert_none_failed(100)
