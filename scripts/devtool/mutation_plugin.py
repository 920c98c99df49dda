"""A plugin of pytest for `make test-mutation`: what each test takes, and only the tests chosen."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest


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
