"""Restarts of everything that can restart: all is back without help, and no data is lost."""

from __future__ import annotations

from shared_restarts import (
    filled,
    test_the_engine_restarts_and_containers_run_on,
    test_the_host_restarts,
    test_what_was_stopped_stays_stopped_when_the_host_restarts,
)

__all__ = [
    "filled",
    "test_the_engine_restarts_and_containers_run_on",
    "test_the_host_restarts",
    "test_what_was_stopped_stays_stopped_when_the_host_restarts",
]
