"""The URL by which a service says that it is well, where it has one."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from moorage.compose.parts import Healthcheck
from moorage.release import manifest
from moorage.render.service import PlacedService

# The engine's defaults, which a description that names no times was written for.
_INTERVAL, _TIMEOUT, _RETRIES, _START_PERIOD, _START_INTERVAL = 30.0, 30.0, 3, 0.0, 5.0
_LOCAL_URL = re.compile(r"http://127\.0\.0\.1(:\d+)?(/\S*)?")
_FAIL = re.compile(r"-[sS]*f[sS]*|--fail")
_QUIET = re.compile(r"-[sS]+|--silent|--show-error")
_SHELL_SIGNS = re.compile(r"[;&|<>$`'\"\\()*?{}\[\]~#\n]")


def health_url(service: PlacedService) -> manifest.HealthUrl | None:
    """Port and path of the URL by which a service says that it is well, where it names one."""
    return _parsed(service.moorage.health_url)


def health_path(service: PlacedService, port: int) -> str:
    """The path at which a port of a service says whether it is well; empty where none does."""
    if service.moorage.unhealthy == "ignore":
        return ""
    url, check = health_url(service), service.healthcheck
    if url is None and check is not None and check.active and check.test:
        # From outside there is one way to it, whatever the name means inside.
        words = tuple(word.replace("//localhost", "//127.0.0.1") for word in check.test)
        url = _parsed(http_url(words))
    return url.path if url is not None and url.port == port else ""


def _parsed(url: str | None) -> manifest.HealthUrl | None:
    if url is None:
        return None
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return manifest.HealthUrl(parts.port or 80, path)


def http_url(test: tuple[str, ...]) -> str | None:
    """The URL of a test that is nothing but `curl -f URL` on this machine, else None.

    Only that is equal to the supervisor's own check, where 2xx and 3xx pass: wget follows
    redirects, and `localhost` may be another address.
    """
    kind, *words = test
    if kind == "CMD-SHELL":
        text = re.sub(r"\s*\|\|\s*exit 1\s*$", "", words[0]).strip()
        words = [] if _SHELL_SIGNS.search(text) else text.split()
    if len(words) < 3 or words[0] not in ("curl", "/usr/bin/curl"):
        return None
    *options, url = words[1:]
    fails = any(_FAIL.fullmatch(option) for option in options)
    plain = all(_FAIL.fullmatch(option) or _QUIET.fullmatch(option) for option in options)
    return url if fails and plain and _LOCAL_URL.fullmatch(url) else None


def health_check(service: PlacedService) -> dict[str, Any] | None:
    """`healthcheck` as our supervisor has it: a process's in supervisor.json; None without one."""
    check = service.healthcheck
    if check is None or not check.active or check.test is None:
        return None
    given = check
    url = service.moorage.health_url or http_url(check.test)
    test = {"type": "http", "url": url} if url else {"type": "command", "command": _argv(check)}
    return {
        **test,
        "interval": _or(given.interval, _INTERVAL),
        "timeout": _or(given.timeout, _TIMEOUT),
        "retries": given.retries or _RETRIES,
        "start_period": _START_PERIOD if given.start_period is None else given.start_period,
        "start_interval": _or(given.start_interval, _START_INTERVAL),
        "restart_when_unhealthy": service.moorage.unhealthy == "restart",
    }


def _or(value: float | None, default: float) -> float:
    return value or default  # the engine takes 0 for its default


def _argv(check: Healthcheck) -> list[str]:
    kind, *words = check.test or ("CMD",)
    return ["/bin/sh", "-c", words[0]] if kind == "CMD-SHELL" else words
