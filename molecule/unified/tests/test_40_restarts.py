"""Restarts of everything that can restart: all is back without help, and no data is lost."""

from __future__ import annotations

from shared_restarts import (
    filled,
    test_the_engine_restarts_and_containers_run_on,
    test_the_host_restarts,
    test_what_was_stopped_stays_stopped_when_the_host_restarts,
    wait_until_serving,
)
from support import Machine
from tg2em import kept

__all__ = [
    "filled",
    "test_the_engine_restarts_and_containers_run_on",
    "test_the_host_restarts",
    "test_what_was_stopped_stays_stopped_when_the_host_restarts",
]


def test_the_container_restarts(filled: Machine) -> None:
    before = kept(filled)
    filled.sh("docker restart tg2em-unified")
    wait_until_serving(filled, 60)
    assert kept(filled) == before
