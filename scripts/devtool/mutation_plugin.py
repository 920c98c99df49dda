"""A plugin of pytest for `make test-mutation`: what each test takes, and only the tests chosen."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# At the end of our packages in the copy, so that an isolated interpreter runs it too: every process
# says which of their functions it enters, once for each test. One with an environment of its own
# does not know the test, only its file.
TRACE = """\
import os, sys

def entered(code, _):
    if code.co_filename.startswith({sources!r}):
        test = os.environ.get("PYTEST_CURRENT_TEST", {file!r}).rpartition(" (")[0] or {file!r}
        try:
            to = os.open({trace!r}, os.O_WRONLY | os.O_APPEND)
            os.write(to, f"{{code.co_filename}}\\t{{code.co_firstlineno}}\\t{{test}}\\n".encode())
            os.close(to)
        except OSError:
            pass
    return sys.monitoring.DISABLE

if hasattr(sys, "monitoring") and not sys.monitoring.get_tool(3):
    sys.monitoring.use_tool_id(3, "mutation")
    sys.monitoring.register_callback(3, sys.monitoring.events.PY_START, entered)
    sys.monitoring.set_events(3, sys.monitoring.events.PY_START)
"""


def pytest_runtest_logstart() -> None:
    """Let each test say again what it enters."""
    sys.monitoring.restart_events()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Append to the file MUTATION_TIMES: test, what it took, how it went."""
    if name := os.environ.get("MUTATION_TIMES"):
        with Path(name).open("a") as file:
            file.write(f"{report.nodeid}\t{report.duration:.3f}\t{report.outcome}\n")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of the file MUTATION_TESTS, in its order."""
    if name := os.environ.get("MUTATION_TESTS"):
        chosen = {line: at for at, line in enumerate(Path(name).read_text().splitlines())}
        items[:] = sorted(
            (item for item in items if item.nodeid in chosen), key=lambda item: chosen[item.nodeid]
        )
