"""What is lost in the middle of an update, and how the next run recovers from that."""

from __future__ import annotations

import time

from support import wait_until
from update_site import (
    BASE,
    MARKER,
    POOLS,
    RESERVATION,
    STACK,
    Harbour,
    Operator,
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
STARTED_AS_PROCESS = f"test -n \"$(find {BASE}/instances -name '*-next.json')\""
"""The same of `started` where instances are processes of the host."""


def recover(site: Harbour, operator: Operator, build: dict[str, str]) -> float:
    """Update again, as an operator does who has lost the first run; return how long it took."""
    began = time.monotonic()
    operator.update(site.name, build).ok  # noqa: B018
    took = time.monotonic() - began
    assert site.version() == build["WEB_VERSION"]
    assert site.beats()[-1].version == build["WORKER_VERSION"]
    site.assert_in_order()
    return took


def cut_power(site: Harbour, operator: Operator, build: dict[str, str], phase: str) -> None:
    """Cut the host's power in that phase of an update; see that all comes back and goes on."""
    old = site.version()
    with operator.updating(site.name, build) as process:
        wait_for_phase(site, process, phase, PHASES[phase])
        site.restart(cut_power=True)
    served = wait_until("visitors are served again", site.version, seconds=60)
    assert served in (old, build["WEB_VERSION"])
    with site.visited() as visitors:
        recover(site, operator, build)
    visitors.seen.assert_none_failed(100)
