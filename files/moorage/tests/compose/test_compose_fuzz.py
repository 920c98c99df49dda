"""Whatever a file holds, it is read as Compose reads it, or refused in sentences, soon, in little.

Files are made of the specification's keys with fitting and odd values, and by damage to real ones.
MOORAGE_FUZZ=5000 looks longer.
"""

from __future__ import annotations

import os
import resource
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from files.moorage.tests.compose.conftest import comparable
from moorage.compose import ComposeError, load_stack, specification

HERE = Path(__file__).parent
STACKS = HERE.parents[2] / "stacks"
LONG = int(os.environ.get("MOORAGE_FUZZ", "0"))
# Of a processor: what waits for one counts nothing.
_SECONDS, _BYTES = 5.0, 200 << 20
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 3.5, 2**63, "", " ", "x", "a b", "0", "-1", "1s", "64m", "80:80",
    "127.0.0.1:80:80", "./here:/there", "data:/data", "/a", "~", "..", "$X", "${X:-y}", "${X:?no}",
    "$$", "${", "1e3", "yes", "\u5b57", "a=b", "=", ":", "a:b:c:d:e", "KEY=", "99999999999:80",
    [], [None], ["x"], ["x", "x"], [["x"]], {}, {"x": None}, {"x": "y"}, {"": ""}, {"x": {"x": []}},
]  # fmt: skip
# What is under `develop` is for a developer's desk: it is not looked at.
KEYS = [key for key in specification.KEYS if not key.startswith("services.*.develop.")]
FEW = settings(
    max_examples=LONG or 60,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@cache
def real_files() -> list[str]:
    """Return the texts of files that are read in other tests, and of our own stacks."""
    paths = sorted((*HERE.glob("corpus/**/*.y*ml"), *STACKS.glob("*/compose*.yml")))
    return [path.read_text(encoding="utf-8") for path in paths if path.stat().st_size < 20_000]


@cache
def values() -> dict[str, list[Any]]:
    """Return what real files have for a key, by its name."""
    found: dict[str, list[Any]] = {}

    def look(value: Any) -> None:
        if isinstance(value, list):
            for entry in value:
                look(entry)
        if isinstance(value, dict):
            for key, entry in value.items():
                found.setdefault(str(key), []).append(entry)
                look(entry)

    for text in real_files():
        # Tags of Compose, files that are none, keys that are no keys.
        with suppress(yaml.YAMLError, TypeError, ValueError):
            look(yaml.safe_load(text))
    return found


@st.composite
def made(draw: st.DrawFn) -> str:
    """Make a file of a few keys of the specification, each with a value that fits or does not."""
    document: dict[str, Any] = {"services": {"web": {"image": "x"}}}
    for path in draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=8)):
        *parents, last = path.replace("*", "web").split(".")
        place = document
        for part in parents:
            place = _entered(place, part)
        fitting = st.sampled_from(values().get(last.removesuffix("[]"), [None]))
        place[last.removesuffix("[]")] = draw(st.one_of(fitting, st.sampled_from(ODD)))
    return str(yaml.safe_dump(document))


def _entered(place: dict[str, Any], part: str) -> dict[str, Any]:
    """Go into a mapping, or the first entry of a list; what else was there gives way."""
    name = part.removesuffix("[]")
    inner = place.get(name)
    if part.endswith("[]"):
        first = inner[0] if isinstance(inner, list) and inner else None
        entry: dict[str, Any] = first if isinstance(first, dict) else {}
        place[name] = [entry]
        return entry
    if not isinstance(inner, dict):
        place[name] = inner = {}
    return inner


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Damage a real file here and there."""
    lines = draw(st.sampled_from(real_files())).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        if not lines:
            break
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["drop", "twice", "indent", "value", "cut", "byte", "swap"])):
            case "drop":
                del lines[at]
            case "twice":
                lines.insert(at, lines[at])
            case "indent":
                lines[at] = " " * draw(st.integers(1, 3)) + lines[at]
            case "value":
                value = yaml.safe_dump(draw(st.sampled_from(ODD)), default_flow_style=True)
                lines[at] = f"{lines[at].partition(':')[0]}: {value.splitlines()[0]}"
            case "cut":
                lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
            case "byte":
                lines[at] += draw(st.sampled_from("\t\0\x1b&*!%@`\"'{[#|>-?:,\ufeff\u2028"))
            case "swap":
                other = draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], lines[at]
    return "\n".join(lines) + "\n"


# docs/compose.md says so.
LESS_STRICT = "one of file|environment must be set"


class Slow(BaseException):
    """It took too much of a processor; no handler of errors takes it for one."""


@contextmanager
def bounded() -> Iterator[None]:
    """Raise Slow and MemoryError for what takes too much."""

    def late(*_: Any) -> None:
        raise Slow

    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGPROF, late)
    resource.setrlimit(resource.RLIMIT_AS, (_in_use() + _BYTES, before[1]))
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGPROF, handler)


def _in_use() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def compared(text: str, oracle: Any, variables: dict[str, str]) -> None:
    """Read a file here and by Compose: what is taken here Compose takes alike."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory, "project")
        place.mkdir()
        (place / "compose.yml").write_text(text, encoding="utf-8")
        try:
            with bounded():
                ours = load_stack(place, environment=variables, profiles=("extra",)).to_dict()
        except ComposeError as error:
            assert error.problems and all(problem.message for problem in error.problems)
            return
        theirs = oracle.run(place, None, ("extra",))
        if isinstance(theirs, str) and theirs.endswith(LESS_STRICT):
            return
        assert isinstance(theirs, dict), f"Compose refuses it: {theirs}\n{text}"
        assert comparable(ours, oracle=False) == comparable(theirs, oracle=True), text


@FEW
@given(text=made())
def test_files_of_the_specifications_keys(
    text: str, oracle: Any, variables: dict[str, str]
) -> None:
    compared(text, oracle, variables)


@FEW
@given(text=damaged())
def test_damaged_files(text: str, oracle: Any, variables: dict[str, str]) -> None:
    compared(text, oracle, variables)


def test_the_bounds_hold() -> None:
    with pytest.raises(MemoryError), bounded():
        bytes(_BYTES * 2)
