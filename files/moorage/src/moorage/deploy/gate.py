"""The gate: nothing counts as deployed before it is healthy, and waiting always ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Check:
    """What one service is like at this moment.

    ``hopeless`` marks a state that waiting will not mend; ``detail`` says what was seen, and
    ``log`` holds the service's last lines where that helps to understand it.
    """

    service: str
    ok: bool
    detail: str
    hopeless: bool = False
    log: Sequence[str] = field(default=())


class GateClosed(Exception):
    """The services did not become healthy; the message holds what each of them showed."""

    def __init__(self, reason: str, checks: Sequence[Check]) -> None:
        self.checks = [check for check in checks if not check.ok]
        lines = [reason]
        for check in self.checks:
            lines.append(f"  {check.service}: {check.detail}")
            lines.extend(f"    | {line}" for line in check.log)
        super().__init__("\n".join(lines))


def wait_until_healthy(
    look: Callable[[], Sequence[Check]],
    timeout_seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Sequence[Check]:
    """Return the checks once all of them are well.

    Raises GateClosed after ``timeout_seconds``, or at once when a state is hopeless.
    """
    deadline = clock() + timeout_seconds
    while True:
        checks = look()
        if all(check.ok for check in checks):
            return checks
        if any(check.hopeless for check in checks):
            raise GateClosed("the gate stayed closed: a service gave up", checks)
        if clock() >= deadline:
            raise GateClosed(f"the gate stayed closed for {timeout_seconds:g} s", checks)
        sleep(_POLL_SECONDS)
