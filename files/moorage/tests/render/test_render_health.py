"""Health checks: a cheaper check takes the place of a command only when it is the same check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from moorage.render.health import http_url

URL = "http://127.0.0.1:80/health?x=1"


@pytest.mark.parametrize(
    "test",
    [
        ("CMD", "curl", "-f", URL),
        ("CMD", "curl", "-fsS", URL),
        ("CMD", "curl", "--fail", "--silent", URL),
        ("CMD", "/usr/bin/curl", "-sf", URL),
        ("CMD-SHELL", f"curl -f {URL.split('?')[0]} || exit 1"),
        ("CMD-SHELL", f"curl -sS --fail {URL.split('?')[0]}"),
    ],
)
def test_same_as_a_get(test: tuple[str, ...]) -> None:
    assert http_url(test) in (URL, URL.split("?")[0])


@pytest.mark.parametrize(
    "test",
    [
        ("CMD", "curl", URL),  # passes on any status
        ("CMD", "curl", "-fL", URL),  # follows redirects
        ("CMD", "curl", "-f", "http://localhost:80/"),  # may be ::1
        ("CMD", "curl", "-f", "https://127.0.0.1/"),
        ("CMD", "curl", "-f", "http://example.com/"),
        ("CMD", "curl", "-f", URL, URL),
        ("CMD", "curl", "-f", "-X", "POST", URL),
        ("CMD", "wget", "-q", URL),  # follows redirects
        ("CMD-SHELL", f"curl -f {URL} && test -e /ok"),
        ("CMD-SHELL", "curl -f http://127.0.0.1:$PORT/"),
        ("CMD-SHELL", "curl -f http://127.0.0.1/ | grep ok"),
        ("CMD", "curl"),
        ("NONE",),
    ],
)
def test_not_the_same(test: tuple[str, ...]) -> None:
    assert http_url(test) is None


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ("{test: a && b}", {"type": "command", "command": ["/bin/sh", "-c", "a && b"]}),
        ("{test: [CMD, a, b c]}", {"type": "command", "command": ["a", "b c"]}),
        ("{test: [NONE]}", None),
        ("{test: a, disable: true}", None),
        ("{interval: 5s}", None),
        ("{test: [CMD, a], interval: 0s, retries: 0}", {"interval": 30.0, "retries": 3}),
    ],
)
def test_forms(check: str, expected: dict[str, Any] | None, render: Callable[..., Any]) -> None:
    text = (
        "x-moorage: {unified: {build: .}}\n"
        f"services: {{a: {{build: ., command: [a], healthcheck: {check}}}}}"
    )
    found = render(text).processes["a"].get("health_check")
    if expected is None:
        assert found is None
    else:
        assert {key: found[key] for key in expected} == expected


def test_health_url_takes_the_place_of_the_test(render: Callable[..., Any]) -> None:
    text = (
        "x-moorage: {unified: {build: .}}\n"
        "services: {a: {build: ., command: [a], healthcheck: {test: slow, interval: 5s},"
        f" x-moorage: {{health_url: '{URL}'}}}}}}"
    )
    check = render(text).processes["a"]["health_check"]
    assert (check["type"], check["url"], check["interval"]) == ("http", URL, 5.0)
