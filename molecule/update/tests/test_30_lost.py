"""Whatever is lost in the middle of an update, visitors are served and the next run recovers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from update_lost import PHASES, UNIT, cut_power, recover
from update_site import POOLS, STACK, Harbour, Operator, kill, wait_for_phase

Process = subprocess.Popen[bytes]


@pytest.fixture
def updating(site: Harbour, operator: Operator) -> dict[str, str]:
    """The next build: visitors would notice at once which of them answers."""
    site.sh(f"cp {POOLS} /tmp/pools-before")
    version = operator.next_version()
    return {"WEB_VERSION": version, "WORKER_VERSION": version}


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
    phase = {"unified": "started", "containers": "switched"}[operator.topology]
    cut_power(site, operator, updating, phase)
