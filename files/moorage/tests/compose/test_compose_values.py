"""Values: durations, sizes, variables and what the model makes of `x-moorage`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.compose import load_stack
from moorage.compose.dotenv import DotenvError, parse_dotenv
from moorage.compose.interpolate import InterpolationError, substitute
from moorage.compose.source import plain_scalar
from moorage.compose.units import format_duration, parse_duration
from moorage.settings.readers import parse_bytes


def nothing(name: str) -> str | None:
    """A lookup that finds no variable."""
    return None


@settings(deadline=None)
@given(st.integers(0, 10**15))
def test_a_duration_survives_writing(nanoseconds: int) -> None:
    written = format_duration(nanoseconds / 10**9)
    assert round(parse_duration(written) * 10**9) == pytest.approx(nanoseconds, rel=1e-9, abs=1)
    assert format_duration(parse_duration(written)) == written


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1 s", "1d", "1s2", "1.s.", "one"])
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "m", "-5m", "1e3", "5 minutes", "5x"])
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_bytes(text)


@settings(deadline=None)
@given(st.text())
def test_text_without_dollars_is_not_touched(text: str) -> None:
    plain = text.replace("$", "")
    assert substitute(plain, nothing) == plain


@settings(deadline=None)
@given(st.text())
def test_doubled_dollars_are_literal(text: str) -> None:
    assert substitute(text.replace("$", "$$"), nothing) == text


@settings(deadline=None)
@given(st.text(alphabet="${}:-?+AB ", max_size=30))
def test_any_text_is_filled_in_or_refused(text: str) -> None:
    try:
        result = substitute(text, {"A": "1"}.get)
    except InterpolationError as error:
        assert error.advice
    else:
        assert isinstance(result, str)


def test_nothing_follows_a_nested_default_wrongly() -> None:
    # Docker Compose 2.26 loses the place of the closing brace here.
    assert substitute("${X-a${Y:-b}c} ${Z:-d}", nothing) == "abc d"


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_environment_file_is_read_or_refused(text: str) -> None:
    try:
        result = parse_dotenv(text, {})
    except DotenvError as error:
        assert "line" in str(error)
    else:
        assert all(isinstance(value, str) for value in result.values())


@settings(deadline=None)
@given(st.text(alphabet="0123456789.eExXoOb_-+:TZ", min_size=1, max_size=12))
def test_any_plain_scalar_has_a_value(text: str) -> None:
    value = plain_scalar(text)
    assert isinstance(value, (str, int, float))


def test_extension_of_a_stack(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text(
        """
x-moorage: {unified: {build: {context: ., target: all}, user: "5:6"}}
services:
  a:
    build: .
    secrets: [s, t]
    volumes: ["data:/d"]
    x-moorage: {singleton: true, restart_window: 2m, restart_delay: 0.5, unhealthy: ignore}
secrets:
  s: {x-moorage: {generate: {}}}
  t: {x-moorage: {optional: true}}
volumes: {data: {x-moorage: {owner: "7:8", mode: "0700"}}}
""",
        encoding="utf-8",
    )
    stack = load_stack(tmp_path)
    unified = stack.moorage.unified
    assert unified is not None
    assert (unified.user, unified.data_dir, unified.log_dir) == ("5:6", "/app/data", "/app/logs")
    assert unified.build is not None
    assert unified.build.target == "all"
    moorage = stack.services["a"].moorage
    assert (moorage.singleton, moorage.restart_window, moorage.restart_delay) == (True, 120.0, 0.5)
    assert moorage.unhealthy == "ignore"
    assert stack.secrets["s"].moorage.generate == 40
    assert stack.secrets["t"].moorage.optional
    assert stack.volumes["data"].moorage.owner == "7:8"


def test_the_callers_variables_win_and_the_shells_are_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_SHELL", "leaked")
    (tmp_path / ".env").write_text("ONE=dotenv\nTWO=dotenv\n", encoding="utf-8")
    (tmp_path / "compose.yml").write_text(
        "services: {a: {image: 'x$FROM_SHELL', environment: {ONE: $ONE, TWO: $TWO}}}",
        encoding="utf-8",
    )
    service = load_stack(tmp_path, environment={"ONE": "given"}).services["a"]
    assert service.image == "x"
    assert service.environment == {"ONE": "given", "TWO": "dotenv"}
