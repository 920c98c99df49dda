"""Made-up values are read as Docker Compose reads them; each file for it holds many services."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moorage.compose import load_stack

FEW = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
UNITS = ("ns", "us", "ms", "s", "m", "h")
NUMBERS = st.one_of(st.integers(0, 999).map(str), st.decimals(0, 99, places=2).map(str))
DURATIONS = st.lists(st.tuples(NUMBERS, st.sampled_from(UNITS)), min_size=1, max_size=3).map(
    lambda parts: "".join(number + unit for number, unit in parts)
)
SIZES = st.tuples(
    st.integers(1, 5000), st.sampled_from(["", "b", "k", "K", "kb", "m", "MB", "g", "gib", " m"])
).map(lambda size: f"{size[0]}{size[1]}")
PORTS = st.tuples(
    st.sampled_from(["", "127.0.0.1:", "0.0.0.0:", "[::1]:"]),
    st.integers(1, 60000),
    st.integers(1, 60000),
    st.integers(0, 3),
    st.sampled_from(["", "/tcp", "/udp"]),
).map(
    lambda p: (
        f"{p[0]}{p[1]}-{p[1] + p[3]}:{p[2]}-{p[2] + p[3]}{p[4]}"
        if p[3]
        else f"{p[0]}{p[1]}:{p[2]}{p[4]}"
    )
)
VARIABLE = st.sampled_from(["PRESENT", "EMPTY", "ABSENT", "NUMBER"])
PLAIN = st.text(alphabet="ab -_/.:", max_size=6)
EXPANSIONS = st.tuples(
    PLAIN, VARIABLE, st.sampled_from(["", ":-", "-", ":+", "+"]), PLAIN, PLAIN
).map(lambda e: f"{e[0]}${{{e[1]}{e[2]}{e[3] if e[2] else ''}}}{e[4]}$$")


def _both(
    services: list[dict[str, Any]], oracle: Any, variables: dict[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    document = {"services": {f"s{i}": {"image": "x", **s} for i, s in enumerate(services)}}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        (path / "compose.yml").write_text(json.dumps(document), encoding="utf-8")
        theirs = oracle.run(path, None, ())
        assert isinstance(theirs, dict), theirs
        return load_stack(path, environment=variables).to_dict(), theirs


@FEW
@given(values=st.lists(DURATIONS, min_size=40, max_size=60))
def test_durations(values: list[str], oracle: Any, variables: dict[str, str]) -> None:
    ours, theirs = _both([{"stop_grace_period": value} for value in values], oracle, variables)
    for number, value in enumerate(values):
        key = f"s{number}"
        mine = ours["services"][key]["stop_grace_period"]
        assert mine == theirs["services"][key]["stop_grace_period"], value


@FEW
@given(values=st.lists(SIZES, min_size=40, max_size=60))
def test_sizes(values: list[str], oracle: Any, variables: dict[str, str]) -> None:
    ours, theirs = _both([{"mem_limit": value} for value in values], oracle, variables)
    for number, value in enumerate(values):
        key = f"s{number}"
        assert ours["services"][key]["mem_limit"] == theirs["services"][key]["mem_limit"], value


@FEW
@given(values=st.lists(PORTS, min_size=40, max_size=60))
def test_ports(values: list[str], oracle: Any, variables: dict[str, str]) -> None:
    ours, theirs = _both([{"ports": [value]} for value in values], oracle, variables)
    for number, value in enumerate(values):
        key = f"s{number}"
        assert ours["services"][key]["ports"] == theirs["services"][key]["ports"], value


@FEW
@given(values=st.lists(EXPANSIONS, min_size=40, max_size=60))
def test_variables(values: list[str], oracle: Any, variables: dict[str, str]) -> None:
    services = [{"environment": {"VALUE": value}} for value in values]
    ours, theirs = _both(services, oracle, variables)
    for number, value in enumerate(values):
        mine = ours["services"][f"s{number}"]["environment"]["VALUE"]
        other = theirs["services"][f"s{number}"]["environment"]["VALUE"]
        assert mine == other.replace("$$", "$"), value
