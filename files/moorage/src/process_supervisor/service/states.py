"""The states of a supervised process and the legal transitions between them.

This is the whole vocabulary: nothing else in the package invents a state, and nothing here
imports from it.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a process is in its life."""

    STOPPED = "STOPPED"  # not running and not wanted, or not started yet
    STARTING = "STARTING"  # wanted; waiting for a dependency or about to be run
    RUNNING = "RUNNING"  # the program runs
    BACKOFF = "BACKOFF"  # it ended; the next start waits for its delay
    STOPPING = "STOPPING"  # a stop signal was sent; the grace period runs
    EXITED = "EXITED"  # it ended by itself and its policy is to leave it so
    FATAL = "FATAL"  # it failed too often; only an operator starts it again


class Health(StrEnum):
    """What the health check says of a running process."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.STOPPED: frozenset({State.STARTING}),
    State.STARTING: frozenset({State.RUNNING, State.BACKOFF, State.FATAL, State.STOPPED}),
    State.RUNNING: frozenset({State.STOPPING, State.BACKOFF, State.EXITED, State.FATAL}),
    State.BACKOFF: frozenset({State.STARTING, State.STOPPED}),
    State.STOPPING: frozenset({State.STOPPED, State.BACKOFF, State.EXITED, State.FATAL}),
    State.EXITED: frozenset({State.STARTING, State.STOPPED}),
    State.FATAL: frozenset({State.STARTING, State.STOPPED}),
}

ALIVE = frozenset({State.RUNNING, State.STOPPING})
"""States in which the process has a pid."""

SETTLED = frozenset({State.STOPPED, State.EXITED, State.FATAL})
"""States that last until somebody asks for something else."""


class IllegalTransition(Exception):
    """A step that the table does not allow: a defect in the supervisor, never an operator's."""

    def __init__(self, name: str, old: State, new: State) -> None:
        super().__init__(f"{name}: {old} cannot become {new}")


def check_transition(name: str, old: State, new: State) -> None:
    """Raise IllegalTransition unless the table allows the step from old to new."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(name, old, new)
