"""Restarts of everything that can restart: all is back without help, and no data is lost."""

from __future__ import annotations

from shared_restarts import *  # noqa: F403 - these are tests of this scenario, too
from shared_restarts import wait_until_serving
from support import Machine
from tg2em_site import kept


def test_the_container_restarts(filled: Machine) -> None:
    before = kept(filled)
    filled.sh("docker restart tg2em-unified")
    wait_until_serving(filled, 60)
    assert kept(filled) == before
