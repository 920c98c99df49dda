"""Bad builds: the old processes go on, nobody notices, and the operator is told the truth."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from update_bad import give_way
from update_site import Harbour, Operator

BAD = (
    "crash-at-start", "never-healthy", "front-page-500", "missing-secret", "does-not-build",
    "out-of-memory",
)  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_build_gives_way_and_says_why(
    site: Harbour, operator: Operator, name: str, figure: Callable[[str], None]
) -> None:
    give_way(site, operator, name, figure)
