"""The smoke check: one request to each target, and what went wrong in words."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.probe.client import Client
from moorage.probe.target import Sample, Target


def smoke(targets: Sequence[Target], timeout_seconds: float) -> list[str]:
    """Ask every target once, all at the same time, and return what went wrong, [] when all is well.

    It takes ``timeout_seconds`` at most. A line reads ``frontend: GET http://127.0.0.1:21344/:
    answered 500: …``; the lines are in the order of the targets.
    """
    samples: list[Sample] = []
    client = Client(targets, timeout_seconds, samples.append)
    try:
        for index in range(len(targets)):
            client.begin(index, kept=False)
        while len(client):
            client.turn(timeout_seconds)
    finally:
        client.close()
    failed = sorted((sample for sample in samples if sample.kind), key=lambda s: s.target)
    return [f"{targets[s.target]}: {_in_words(s, targets[s.target])}" for s in failed]


def _in_words(sample: Sample, target: Target) -> str:
    if sample.kind != "status":
        return sample.detail
    low, high = target.expect
    expected = f"{low}" if low == high else f"{low} to {high}"
    answer, colon, said = sample.detail.partition(":")
    return f"{answer} where {expected} is expected{colon}{said}"
