"""From figures to a verdict, whether a release is put back: pure."""

from __future__ import annotations

import math

from moorage.probe.target import Figures

# So many of all requests tell, whatever the host was doing meanwhile.
_HALF = 0.5


def verdict(
    before: Figures, during: Figures, *, budget: int, p99_factor: float, p99_floor_seconds: float
) -> str | None:
    """Return the reason to go back to the previous release, None when all is well.

    - More than ``budget`` failed requests. What failed at that rate before the rollout had begun
      is not blamed on it: an update must be able to mend what is broken.
    - The 99th percentile is above ``p99_factor`` times the one before *and* above the floor, which
      grows with the load of the host. Few requests were sent before, so theirs is rough; the floor
      keeps that from mattering. When nothing succeeded before there is nothing to compare with.
      Of some dozens of requests it is the slowest one: two alone are told and not judged.
    - Of what took most of its time while the host had none to spare, timeouts and slowness tell
      nothing one by one; only that half of all requests fared so does.
    - The figures do not tell: the prober ended.
    """
    if during.incomplete:
        return f"the rollout cannot be judged: {during.incomplete}"
    usual = before.failures / before.requests if before.requests else 0.0
    allowed = budget + math.ceil(usual * during.requests)
    half = during.half_ms or 0.0
    hangs = during.strained_timeouts > 0 and math.isinf(half) and usual < _HALF
    if hangs or during.failures - during.strained_timeouts > allowed:
        return _spent(during, budget, allowed)
    if before.p99_ms is None or during.p99_ms is None:
        return None
    limit = _limit(before.p99_ms, during, p99_factor, p99_floor_seconds)
    if during.strained and half > limit:
        return f"too slow: half of {during.requests} requests took over {limit:.0f} ms"
    p99 = during.calm_p99_ms if during.strained else during.p99_ms
    several = during.third_ms is None or during.third_ms > limit
    if p99 is not None and p99 > limit and several:
        return (
            f"too slow: the 99th percentile is {p99:.0f} ms of {during.requests} "
            f"requests, {before.p99_ms:.0f} ms before; the limit is {limit:.0f} ms"
        )
    return None


def too_busy(
    before: Figures, during: Figures, *, p99_factor: float, p99_floor_seconds: float
) -> str:
    """Return why the figures could not tell all of it: the host's own doing; empty when they did.

    That is said of what would have been a reason to go back otherwise, and where nothing could be
    sent.
    """
    seen = []
    if during.unsent and not during.requests:
        seen.append(f"none of {during.unsent} requests could be sent")
    if during.strained_timeouts:
        seen.append(f"{during.strained_timeouts} of {during.requests} requests timed out")
    if during.strained and before.p99_ms is not None and during.p99_ms is not None:
        limit = _limit(before.p99_ms, during, p99_factor, p99_floor_seconds)
        if during.p99_ms > limit:
            seen.append(f"the 99th percentile is {during.p99_ms:.0f} ms")
    if not seen:
        return ""
    why = during.busy_why or "the prober did not get to run"
    return f"{' and '.join(seen)} while the host was too busy to judge by it: {why}"


def _limit(usual_ms: float, during: Figures, factor: float, floor_seconds: float) -> float:
    return max(factor * usual_ms, floor_seconds * 1000 * (1 + during.busy))


def _spent(during: Figures, budget: int, allowed: int) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in during.failed.items())
    usual = f" and {allowed - budget} would have failed before it too" if allowed > budget else ""
    lines = [
        f"{during.failures} of {during.requests} requests failed ({kinds}); "
        f"the budget is {budget}{usual}"
    ]
    return "\n".join([*lines, *(f"  {example}" for example in during.examples)])
