"""The table of transitions and the restart policy, on a clock that is only a number."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from process_supervisor.config.settings import ProcessConfig
from process_supervisor.service.policy import (
    SMALLEST_STEP,
    Action,
    decide,
    delay_before,
    remembered,
)
from process_supervisor.service.states import (
    ALIVE,
    SETTLED,
    TRANSITIONS,
    IllegalTransition,
    State,
    check_transition,
)


def rules(**settings: object) -> ProcessConfig:
    """A process's configuration."""
    return ProcessConfig("p", ["x"], **settings)


def test_every_state_has_transitions_and_none_leads_to_itself() -> None:
    assert set(TRANSITIONS) == set(State)
    assert all(state not in following for state, following in TRANSITIONS.items())


@pytest.mark.parametrize("goal", [State.RUNNING, State.STOPPED, State.FATAL])
@pytest.mark.parametrize("start", list(State))
def test_every_state_can_lead_to_running_stopped_and_fatal(start: State, goal: State) -> None:
    reached, new = {start}, {start}
    while new:
        new = {after for state in new for after in TRANSITIONS[state]} - reached
        reached |= new
    assert goal in reached


def test_only_running_leads_out_of_starting_with_a_pid() -> None:
    assert {state for state in State if State.RUNNING in TRANSITIONS[state]} == {State.STARTING}
    assert not ALIVE & SETTLED


def test_an_illegal_step_names_process_and_states() -> None:
    with pytest.raises(IllegalTransition, match="web: STOPPED cannot become RUNNING"):
        check_transition("web", State.STOPPED, State.RUNNING)


@pytest.mark.parametrize(
    ("autorestart", "failed", "action"),
    [
        ("always", True, Action.RESTART),
        ("always", False, Action.RESTART),
        ("on-failure", True, Action.RESTART),
        ("on-failure", False, Action.LEAVE),
        ("never", True, Action.LEAVE),
        ("never", False, Action.LEAVE),
    ],
)
def test_autorestart(autorestart: str, failed: bool, action: Action) -> None:
    assert decide(rules(autorestart=autorestart), 0, failed).action is action


def test_the_first_restart_comes_at_once_and_the_next_ones_back_off() -> None:
    given_rules = rules(restart_jitter=0)
    assert delay_before(given_rules, 0, 0.5) == 0.0
    delays = [delay_before(given_rules, count, 0.5) for count in range(1, 15)]
    assert delays[0] == pytest.approx(2 * SMALLEST_STEP)
    assert delays[1] == pytest.approx(2 * delays[0])
    assert delays[-1] == 30.0


def test_without_backoff_every_restart_has_the_same_delay() -> None:
    given_rules = rules(restart_backoff=1, restart_delay=5, restart_jitter=0)
    assert {delay_before(given_rules, count, 0.5) for count in range(50)} == {5.0}


@pytest.mark.parametrize("life", [0.5, 5.0, 10.0, 59.0])
def test_a_crash_loop_ends_whatever_its_pauses_and_lives_take(life: float) -> None:
    for given_rules in (rules(), rules(restart_limit=3, restart_delay=5)):
        count = 0
        while True:
            count = remembered(given_rules, count, life)
            decision = decide(given_rules, count, True, 0.99)
            if decision.action is Action.GIVE_UP:
                break
            count += 1
        assert count == given_rules.restart_limit
        assert decision.reason == f"{count} restarts without a run of 60 s reached restart_limit"


def test_a_good_run_begins_anew() -> None:
    given_rules = rules(restart_limit=3, restart_reset_seconds=10)
    assert remembered(given_rules, 3, 9.9) == 3
    assert remembered(given_rules, 3, 10.0) == 0
    assert decide(given_rules, 3, True).action is Action.GIVE_UP
    assert decide(given_rules, 2, True).action is Action.RESTART


def test_a_limit_of_none_never_gives_up() -> None:
    decision = decide(rules(restart_limit=None), 10_000, True)
    assert decision.action is Action.RESTART
    assert decision.delay <= 30 * 1.1


@settings(deadline=None)
@given(
    count=st.integers(0, 10_000),
    chance=st.floats(0, 1, exclude_max=True),
    delay=st.floats(0, 1e4),
    most=st.floats(0, 1e4),
    backoff=st.floats(1, 100),
    jitter=st.floats(0, 1),
)
def test_delays_are_finite_bounded_and_never_negative(
    count: int, chance: float, delay: float, most: float, backoff: float, jitter: float
) -> None:
    given_rules = rules(
        restart_delay=delay, restart_delay_max=most, restart_backoff=backoff, restart_jitter=jitter
    )
    found = delay_before(given_rules, count, chance)
    assert 0 <= found <= max(delay, most) * (1 + jitter)
    steady = delay_before(given_rules, count, 0.5)
    assert steady <= delay_before(given_rules, count + 1, 0.5) * (1 + 1e-9)


@settings(deadline=None)
@given(
    count=st.integers(0, 30),
    limit=st.none() | st.integers(0, 20),
    failed=st.booleans(),
    autorestart=st.sampled_from(["always", "on-failure", "never"]),
)
def test_the_policy_gives_up_exactly_when_the_limit_is_spent(
    count: int, limit: int | None, failed: bool, autorestart: str
) -> None:
    given_rules = rules(restart_limit=limit, autorestart=autorestart)
    decision = decide(given_rules, count, failed)
    wants = autorestart == "always" or (autorestart == "on-failure" and failed)
    spent = limit is not None and count >= limit
    expected = Action.LEAVE if not wants else Action.GIVE_UP if spent else Action.RESTART
    assert decision.action is expected
