"""From samples to figures: pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from moorage.probe.target import UNSENT, Busy, Figures, Sample, Target

_EXAMPLES = 5
# What took this share of its time while the host was busy is not judged by itself.
_HALF = 0.5
# Fewer slow answers are no evidence: one lost packet is a second for whoever waits for it.
_SLOW_ONES = 3

#: A stretch of time of one window: when it began and ended (monotonic seconds).
Span = tuple[float, float]


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """Return the nearest-rank percentile of ascending values, None of no values.

    It is the smallest value that at least ``percent`` % of all values do not exceed, so always a
    value that was really seen. Of fewer than 100 values the 99th percentile is the largest.
    """
    if not ordered:
        return None
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def figures_of(
    samples: Sequence[Sample],
    spans: Sequence[Span],
    targets: Sequence[Target],
    *,
    pending: int = 0,
    incomplete: str = "",
    busy: Sequence[Busy] = (),
) -> Figures:
    """Return the figures of the samples that were sent within the spans of one window."""
    mine = [s for s in samples if any(begin <= s.sent < end for begin, end in spans)]
    sent = [s for s in mine if s.kind != UNSENT]
    good = sorted((s.ended - s.sent) * 1000 for s in sent if not s.kind)
    p50, p95, p99 = (_rounded(percentile(good, percent)) for percent in (50, 95, 99))
    gaps = [gap for span in spans for gap in _gaps(sent, span, targets)]
    seconds = sum(max(0.0, end - begin) for begin, end in spans)
    strained = [s for s in sent if _overlap((s.sent, s.ended), busy) > _HALF * (s.ended - s.sent)]
    calm = sorted((s.ended - s.sent) * 1000 for s in {*sent} - {*strained} if not s.kind)
    late = [math.inf for s in sent if s.kind == "timeout"]
    loaded = sum(_overlap(span, busy) for span in spans)
    return Figures(
        requests=len(sent),
        failed=dict(sorted(Counter(s.kind for s in sent if s.kind).items())),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=_rounded(good[-1] if good else None),
        longest_gap_ms=_rounded(max(gaps, default=None)),
        seconds=round(seconds, 3),
        examples=_examples(mine, targets),
        retried=sum(s.retried for s in sent),
        unsent=len(mine) - len(sent),
        pending=pending,
        incomplete=incomplete,
        strained=len(strained),
        strained_timeouts=sum(s.kind == "timeout" for s in strained),
        calm_p99_ms=_rounded(percentile(calm, 99)),
        third_ms=calm[-min(_SLOW_ONES, len(calm))] if calm else None,
        half_ms=percentile([*good, *late], 50),
        busy=round(min(1.0, loaded / seconds), 3) if seconds else 0.0,
        busy_why=max(busy, key=lambda b: _overlap_any(b, spans)).why if loaded else "",
    )


def _overlap(span: Span, busy: Iterable[Busy]) -> float:
    """Return for how many seconds of a span the host had no time to spare."""
    begin, end = span
    return sum(max(0.0, min(end, b.ended) - max(begin, b.began)) for b in busy)


def _overlap_any(busy: Busy, spans: Iterable[Span]) -> float:
    return sum(_overlap(span, [busy]) for span in spans)


def _gaps(sent: Iterable[Sample], span: Span, targets: Sequence[Target]) -> Iterable[float]:
    """Yield the longest time without a success, in milliseconds, for each service asked in a span.

    Service by service: that one answers is no comfort for who waits for the other. From the first
    request on: before it nobody has asked. To the end of the span: a success that has not come
    yet is a gap as well.
    """
    begin, end = span
    by_service: dict[str, list[Sample]] = {}
    for sample in sent:
        if begin <= sample.sent < end:
            by_service.setdefault(targets[sample.target].service, []).append(sample)
    for samples in by_service.values():
        moments = sorted(s.ended for s in samples if not s.kind)
        first = min(s.sent for s in samples)
        edges = [first, *moments, max([end, *moments[-1:]])]
        yield max(b - a for a, b in pairwise(edges)) * 1000


def _examples(samples: Iterable[Sample], targets: Sequence[Target]) -> list[str]:
    """Return a line for each kind of failure at each target, the earliest first, a few at most.

    What could not be sent is told where nothing failed: it is no failure.
    """
    seen: dict[tuple[int, str, str], str] = {}
    for sample in sorted(samples, key=lambda s: (s.kind == UNSENT, s.ended)):
        if sample.kind and not (sample.kind == UNSENT and seen):
            key = (sample.target, sample.kind, sample.detail)
            seen.setdefault(key, f"{targets[sample.target]}: {sample.detail}")
    return list(seen.values())[:_EXAMPLES]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
