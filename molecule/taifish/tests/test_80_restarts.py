"""The engine restarts, and the host, in order and without power."""

from __future__ import annotations

from shared_restarts import (
    filled,  # noqa: F401 - of this scenario, too
    test_the_engine_restarts_and_containers_run_on,  # noqa: F401
    test_the_host_restarts,  # noqa: F401
)
