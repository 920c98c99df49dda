"""The restart policy: a pure function of how a process ended, its history and the clock."""

from __future__ import annotations

from enum import StrEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    class RestartRules(Protocol):
        """The settings that the policy reads; ProcessConfig has them. Times are seconds."""

        autorestart: str
        restart_limit: int | None
        restart_window: float
        restart_delay: float
        restart_delay_max: float
        restart_backoff: float
        restart_jitter: float


# Without it a delay of 0 could not grow, and a crash loop would spend its limit in milliseconds,
# before a database that is just starting had a chance to answer.
SMALLEST_STEP = 0.02


class Action(StrEnum):
    """What to do with a process that has ended by itself."""

    RESTART = "restart"
    LEAVE = "leave"
    GIVE_UP = "give up"


class Decision:
    """An action, the seconds to wait before it, and why."""

    __slots__ = ("action", "delay", "reason")

    def __init__(self, action: Action, delay: float = 0.0, reason: str = "") -> None:
        self.action = action
        self.delay = delay
        self.reason = reason


# Who ran for so many seconds does not fail as soon as it starts: Docker's engine says the same.
GOOD_RUN = 10.0
FOR_EVER = 1e8


def recent(history: Sequence[float], now: float, window: float) -> list[float]:
    """Return the restarts that lie within the window before now."""
    return [at for at in history if now - window < at <= now]


def remembered(
    rules: RestartRules, history: Sequence[float], now: float, ran: float
) -> list[float]:
    """Return the restarts that still count after a run of so many seconds.

    Where nothing is limited, they only make the pauses longer: a good run begins anew.
    """
    if rules.restart_limit is None and ran >= GOOD_RUN:
        return []
    return recent(history, now, rules.restart_window)


def delay_before(rules: RestartRules, count: int, chance: float) -> float:
    """Return the seconds to wait before the next restart.

    count is the number of restarts in the window; chance, in [0, 1), spreads the delay by
    `restart_jitter` so that services which failed together do not return together.
    """
    if count == 0 or rules.restart_backoff <= 1.0:
        delay = rules.restart_delay
    else:
        step = max(rules.restart_delay, SMALLEST_STEP)
        # The exponent is capped because a float overflows beyond 2 ** 1023.
        delay = step * rules.restart_backoff ** min(count, 64)
    delay = min(delay, max(rules.restart_delay_max, rules.restart_delay))
    return delay * (1.0 + rules.restart_jitter * (2.0 * chance - 1.0))


def within(window: float) -> str:
    """Say how long the window is, nothing for one that no process outlives."""
    return f" within {window:g} s" if window < FOR_EVER else ""


def decide(
    rules: RestartRules, history: Sequence[float], now: float, failed: bool, chance: float = 0.5
) -> Decision:
    """Say what follows the end of a process that nobody stopped.

    history holds the times of earlier restarts on the same clock as now.
    """
    if rules.autorestart == "never":
        return Decision(Action.LEAVE, reason="autorestart is never")
    if rules.autorestart == "on-failure" and not failed:
        return Decision(Action.LEAVE, reason="it completed")
    count = len(recent(history, now, rules.restart_window))
    if rules.restart_limit is not None and count >= rules.restart_limit:
        return Decision(
            Action.GIVE_UP,
            reason=f"{count} restarts{within(rules.restart_window)} reached restart_limit",
        )
    return Decision(Action.RESTART, delay_before(rules, count, chance))
