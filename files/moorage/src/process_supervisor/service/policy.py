"""The restart policy: a pure function of how a process ended, and how often it has before."""

from __future__ import annotations

from enum import StrEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class RestartRules(Protocol):
        """The settings that the policy reads; ProcessConfig has them. Times are seconds."""

        autorestart: str
        restart_limit: int | None
        restart_reset_seconds: float
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


FOR_EVER = 1e8


def remembered(rules: RestartRules, count: int, ran: float) -> int:
    """Return how many restarts still count after a run that was well for so many seconds."""
    return 0 if ran >= rules.restart_reset_seconds else count


def delay_before(rules: RestartRules, count: int, chance: float) -> float:
    """Return the seconds to wait before the next restart.

    count is the number of restarts since the last good run; chance, in [0, 1), spreads the delay by
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


def without(seconds: float) -> str:
    """Say how long a good run is, nothing for one that no process reaches."""
    return f" without a run of {seconds:g} s" if seconds < FOR_EVER else ""


def decide(rules: RestartRules, count: int, failed: bool, chance: float = 0.5) -> Decision:
    """Say what follows the end of a process that nobody stopped.

    count is the number of restarts since the last good run.
    """
    if rules.autorestart == "never":
        return Decision(Action.LEAVE, reason="autorestart is never")
    if rules.autorestart == "on-failure" and not failed:
        return Decision(Action.LEAVE, reason="it completed")
    if rules.restart_limit is not None and count >= rules.restart_limit:
        return Decision(
            Action.GIVE_UP,
            reason=f"{count} restarts{without(rules.restart_reset_seconds)} reached restart_limit",
        )
    return Decision(Action.RESTART, delay_before(rules, count, chance))
