"""Figures and verdicts from samples made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.probe import Figures, Sample, Target, too_busy, verdict
from moorage.probe.figures import figures_of, percentile
from moorage.probe.strain import Strain
from moorage.probe.target import Busy

TARGETS = [
    Target("web", "127.0.0.1", 80, "/"),
    Target("web", "127.0.0.1", 80, "/health"),
    Target("api", "127.0.0.1", 81, "/"),
]
WELL = Figures(20, {}, 2.0, 4.0, 5.0, 21.0, 0.4, [])


def judge(before: Figures, during: Figures, budget: int = 0) -> str | None:
    return verdict(before, during, budget=budget, p99_factor=5.0, p99_floor_seconds=1.0)


@pytest.mark.parametrize(
    ("count", "percent", "rank"),
    [(1, 50, 1), (2, 50, 1), (100, 99, 99), (99, 99, 99), (101, 99, 100), (20, 95, 19), (5, 0, 1)],
)
def test_percentiles_are_values_that_were_seen(count: int, percent: float, rank: int) -> None:
    assert percentile([float(n) for n in range(1, count + 1)], percent) == rank


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.1, 100))
def test_a_percentile_is_not_exceeded_by_that_many(values: list[float], percent: float) -> None:
    value = percentile(sorted(values), percent)
    assert value in values
    assert sum(v <= value for v in values) >= percent / 100 * len(values) - 1e-6


def test_no_values_have_no_percentile() -> None:
    assert percentile([], 99) is None


def test_samples_are_counted_in_the_window_they_were_sent_in() -> None:
    samples = [
        Sample(0.95, 1.20, 0),
        Sample(1.00, 1.01, 0),
        Sample(1.10, 1.13, 1, "status", False, "answered 502"),
        Sample(1.20, 1.22, 0, "", True),
        Sample(1.25, 1.25, 0, "unsent", False, "late"),
        Sample(1.30, 3.30, 0, "timeout", False, "no answer within 2 s"),
        Sample(1.35, 3.35, 0, "timeout", False, "no answer within 2 s"),
        Sample(1.50, 1.51, 0),
    ]
    figures = figures_of(samples, [(1.0, 1.5)], TARGETS)
    assert figures.requests == 5
    assert figures.failed == {"status": 1, "timeout": 2}
    assert figures.failures == 3
    assert (figures.unsent, figures.retried, figures.seconds) == (1, 1, 0.5)
    assert (figures.p50_ms, figures.p95_ms, figures.max_ms) == (10.0, 20.0, 20.0)
    assert figures.examples == [
        "web: GET http://127.0.0.1:80/health: answered 502",
        "web: GET http://127.0.0.1:80/: no answer within 2 s",
    ]


def test_a_second_is_a_thousand_milliseconds_in_every_figure() -> None:
    samples = [Sample(float(n), n + 1.0, 0) for n in range(4)]
    figures = figures_of(samples, [(0.0, 5.0)], TARGETS)
    measures = [figures.p50_ms, figures.p95_ms, figures.p99_ms, figures.max_ms]
    measures += [figures.calm_p99_ms, figures.third_ms, figures.half_ms, figures.longest_gap_ms]
    assert measures == [1000.0] * len(measures)
    assert figures.seconds == 5.0


def test_a_window_ends_where_the_next_one_begins() -> None:
    samples = [Sample(1.0, 1.5, 0), Sample(2.0, 2.5, 0)]
    windows = [
        figures_of(samples, [span], TARGETS) for span in ((0.0, 1.0), (1.0, 2.0), (2.0, 3.0))
    ]
    assert [window.requests for window in windows] == [0, 1, 1]


def test_the_longest_gap_reaches_to_the_end_and_is_that_of_one_service() -> None:
    steady = [Sample(n / 10, n / 10 + 0.01, 0) for n in range(10)]
    assert figures_of(steady, [(0.0, 1.0)], TARGETS).longest_gap_ms == 100.0
    assert figures_of(steady, [(0.0, 2.0)], TARGETS).longest_gap_ms == pytest.approx(1090.0)
    silent = [*steady, Sample(0.2, 0.21, 2), *[Sample(0.3, 0.8, 2, "reset")], Sample(0.7, 0.75, 2)]
    assert figures_of(silent, [(0.0, 1.0)], TARGETS).longest_gap_ms == pytest.approx(540.0)
    never = [Sample(0.4, 0.5, 0, "reset")]
    assert figures_of(never, [(0.0, 1.0)], TARGETS).longest_gap_ms == pytest.approx(600.0)
    assert figures_of([], [(0.0, 1.0)], TARGETS).longest_gap_ms is None


def test_a_window_that_comes_again_is_one_window() -> None:
    samples = [Sample(0.1, 0.2, 0), Sample(1.1, 1.2, 0), Sample(2.1, 2.2, 0)]
    figures = figures_of(samples, [(0.0, 1.0), (2.0, 3.0)], TARGETS)
    assert (figures.requests, figures.seconds, figures.longest_gap_ms) == (2, 2.0, 800.0)


def test_all_is_well_within_budget_and_limits() -> None:
    assert judge(WELL, WELL) is None
    assert judge(WELL, replace(WELL, failed={"reset": 2}), budget=2) is None
    # Ten times slower, and still far below the floor.
    assert judge(WELL, replace(WELL, p99_ms=50.0)) is None


def test_a_spent_budget_is_told_with_kinds_and_examples() -> None:
    during = replace(WELL, failed={"refused": 1, "status": 2}, examples=["web: answered 502"])
    assert judge(WELL, during, budget=2) == (
        "3 of 20 requests failed (1 refused, 2 status); the budget is 2\n  web: answered 502"
    )


@pytest.mark.parametrize(("slow", "good"), [(1, True), (2, True), (3, False), (30, False)])
def test_one_or_two_slow_answers_of_some_dozens_put_nothing_back(slow: int, good: bool) -> None:
    lasted = [1.286] * slow + [0.002] * (70 - slow)
    samples = [Sample(n / 50, n / 50 + seconds, 0) for n, seconds in enumerate(lasted)]
    during = figures_of(samples, [(0.0, 1.4)], TARGETS)
    assert during.p99_ms == pytest.approx(1286)
    assert (judge(WELL, during) is None) is good


def test_slowness_needs_both_the_factor_and_the_floor() -> None:
    slow = replace(WELL, p99_ms=1100.0)
    assert judge(WELL, slow) == (
        "too slow: the 99th percentile is 1100 ms of 20 requests, 5 ms before; the limit is 1000 ms"
    )
    assert judge(replace(WELL, p99_ms=300.0), slow) is None
    assert judge(replace(WELL, requests=0, p99_ms=None), slow) is None


def test_what_was_broken_before_is_not_blamed_on_its_repair() -> None:
    broken = replace(WELL, failed={"status": 20}, p99_ms=None)
    assert judge(broken, replace(WELL, failed={"status": 19})) is None
    half = replace(WELL, failed={"status": 10})
    assert judge(half, replace(WELL, failed={"status": 10})) is None
    reason = judge(half, replace(WELL, failed={"status": 12}))
    assert reason is not None
    assert "the budget is 0 and 10 would have failed before it too" in reason


def test_figures_that_do_not_tell_are_a_reason() -> None:
    assert "cannot be judged" in str(judge(WELL, replace(WELL, incomplete="the prober ended")))


def busy_figures(samples: list[Sample], busy: list[Busy], seconds: float = 10.0) -> Figures:
    return figures_of(samples, [(0.0, seconds)], TARGETS, busy=busy)


def test_timeouts_while_the_host_had_no_time_are_told_and_not_judged_one_by_one() -> None:
    quick = [Sample(n / 10, n / 10 + 0.02, 0) for n in range(80)]
    late = [Sample(3.0, 5.0, 0, "timeout", False, "no answer within 2 s")]
    slow = [Sample(3.1, 6.0, 0)]
    calm, busy = busy_figures(quick + late + slow, []), [Busy(2.9, 4.9, "no time")]
    assert "1 timeout" in str(judge(WELL, calm))
    loaded = busy_figures(quick + late + slow, busy)
    assert (loaded.strained_timeouts, loaded.busy_why, loaded.busy) == (1, "no time", 0.2)
    assert judge(WELL, loaded) is None
    said = too_busy(WELL, loaded, p99_factor=5.0, p99_floor_seconds=1.0)
    assert "1 of 82 requests timed out" in said and said.endswith("no time")
    assert not too_busy(WELL, busy_figures(quick, busy), p99_factor=5.0, p99_floor_seconds=1.0)


@pytest.mark.parametrize("busy", [[Busy(0.0, 10.0, "no time")], []], ids=["busy", "calm"])
@pytest.mark.parametrize(
    "samples",
    [
        [Sample(n / 10, n / 10 + 2.0, 0, "timeout", False, "no answer") for n in range(80)],
        [Sample(n / 10, n / 10 + 3.0, 0) for n in range(80)],
        [Sample(n / 10, n / 10 + 0.01, 0, "status", False, "answered 500") for n in range(2)],
        [Sample(n / 10, n / 10 + 0.01, 0, "reset", False, "connection reset") for n in range(2)],
    ],
    ids=["hangs", "slow", "500", "crash"],
)
def test_what_is_really_bad_goes_back_on_a_busy_host_too(
    samples: list[Sample], busy: list[Busy]
) -> None:
    assert judge(WELL, busy_figures(samples, busy))


def test_what_could_not_be_sent_is_nobody_s_failure() -> None:
    nothing = replace(WELL, requests=0, unsent=7, p99_ms=None)
    assert judge(WELL, nothing) is None
    said = too_busy(WELL, nothing, p99_factor=5.0, p99_floor_seconds=1.0)
    assert "none of 7 requests could be sent" in said


def test_the_floor_grows_with_the_load_of_the_host() -> None:
    slow = replace(WELL, p99_ms=1400.0)
    assert judge(WELL, slow)
    assert judge(WELL, replace(slow, busy=0.5)) is None
    assert judge(WELL, replace(slow, busy=0.2))


def proc(directory: Path, idle: int, used: int, waited: int) -> Path:
    """Write what Strain reads, as the kernel has it."""
    (directory / "self").mkdir(exist_ok=True)
    (directory / "stat").write_text(f"cpu  {used} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3\n")
    (directory / "self/schedstat").write_text(f"12 {waited} 3\n")
    return directory


@pytest.mark.parametrize(
    ("idle", "waited", "passed", "why"),
    [
        (50, 0, 0.25, None),
        (0, 0, 0.25, "0 % of its processors' time was idle"),
        (50, 200_000_000, 0.25, "the prober waited 0.20 s for a processor"),
        (50, 0, 3.0, "the prober did not get to run for 3.00 s"),
    ],
)
def test_a_busy_host_is_known_by_what_the_kernel_counts(
    tmp_path: Path, idle: int, waited: int, passed: float, why: str | None
) -> None:
    strain = Strain(10.0, proc(tmp_path, 100, 100, 5))
    assert strain.look(10.1) is None
    proc(tmp_path, 100 + idle, 150, 5 + waited)
    found = strain.look(10.0 + passed)
    assert found == (Busy(10.0, 10.0 + passed, why) if why else None)


def test_a_host_that_tells_nothing_of_its_load_is_not_called_busy(tmp_path: Path) -> None:
    strain = Strain(10.0, tmp_path)
    assert strain.look(10.3) is None
    (tmp_path / "stat").write_text("nonsense")
    assert strain.look(10.6) is None
