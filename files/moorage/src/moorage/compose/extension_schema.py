"""The shapes of the keys of `x-moorage`; unlike other extension fields they are strict."""

from __future__ import annotations

from typing import Any

from moorage.compose import shapes as s
from moorage.compose.command import command
from moorage.compose.extension import MIN_SECRET_LENGTH
from moorage.compose.schema_build import BUILD
from moorage.compose.shapes import INVALID, Place
from moorage.compose.shorthand import resolve_path
from moorage.compose.units import parse_duration

_OWNER = s.matching(r"\d+:\d+", 'a numeric "uid:gid", in quotes')
_MODE = s.matching(r"0?[0-7]{3,4}", 'an octal mode in quotes, such as "0750"')
_LOCAL_URL = s.matching(
    r"http://(localhost|127\.0\.0\.1)(:\d+)?(/\S*)?", "a URL such as http://127.0.0.1:80/health"
)
_ABSOLUTE = s.matching(r"/\S*", "an absolute path of the container")
# What a proxy and a prober can ask for as it stands: no spaces, no quotes, no braces.
_URL_PATH = s.matching(r"/[A-Za-z0-9._~!&*+,;=:@%/?-]*", "a path such as /health")
_ROUTE_PATH = s.matching(r"/[A-Za-z0-9._~+,=:@%/-]*", "a path such as /pictures/")
_FILE_NAME = s.matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a file name such as dump.sql")
_PATH = s.matching(r"[^/\s]\S*", "a path beside the Compose file, such as requirements.txt")
_DEBIAN = s.matching(r"[a-z0-9][a-z0-9+.-]+", "the name of a Debian package")
_DIRECTORY = r"[a-z][a-z0-9_]*"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
_UWSGI = r"[a-z][a-z0-9-]*"
_TITLE = s.matching(r"\S.*", "a few words")


def _beside(value: Any, place: Place) -> Any:
    """A path beside the file that names it, made absolute: another may include that."""
    checked = _PATH(value, place)
    return checked if checked is INVALID else resolve_path(checked, place.base)


def _seconds(value: Any, place: Place) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    checked = s.duration(value, place)
    return checked if checked is INVALID else parse_duration(checked)


def _at_least(least: int) -> s.Shape:
    def check(value: Any, place: Place) -> Any:
        checked = s.integer(value, place)
        if checked is not INVALID and checked < least:
            return place.wrong("is too small", value, f"write {least} or more")
        return checked

    return check


def _port(value: Any, place: Place) -> Any:
    checked = s.integer(value, place)
    if checked is not INVALID and not 1 <= checked <= 65535:
        return place.wrong("is no port", value, "write a number from 1 to 65535")
    return checked


def _argv(value: Any, place: Place) -> Any:
    checked = command(value, place)
    if checked is INVALID or checked:
        return checked
    return place.wrong("has no command to run", value, "write the program and its arguments")


_BACKUP = s.record(
    {"dump": _argv, "restore": _argv, "restore_tables": _argv, "files": s.boolean},
    extensions=False,
)


def _backup(value: Any, place: Place) -> Any:
    if value is False:
        return value
    found = _BACKUP(value, place)
    if found is INVALID:
        return found
    ways = sorted(key for key, said in found.items() if said)
    if ways in (["files"], ["dump", "restore"], ["dump", "restore", "restore_tables"]):
        return {key: found[key] for key in ways}
    advice = "write {dump: […], restore: […]}, {files: true}, or false where nothing is to be saved"
    return place.wrong("does not say how the data is saved", value, advice)


def _generate(value: Any, place: Place) -> Any:
    if value is True:
        return {}
    keys = {"length": _at_least(MIN_SECRET_LENGTH)}
    return s.record(keys, extensions=False)(value, place)


_VARIABLES = s.mapped(s.scalar_text, _VARIABLE, "a variable")
_ENVIRONMENT: dict[str, s.Shape] = {
    "packages": s.listed(_DEBIAN, unique=True),
    "requirements": _beside,
    "sources": s.mapped(_beside, _DIRECTORY, "a directory of the release, such as app"),
    "environment": _VARIABLES,
    "uwsgi": s.mapped(s.scalar_text, _UWSGI, "an option of uWSGI, such as max-requests"),
}
_LOCAL_SERVICE = s.record(
    {"environment": _VARIABLES, "reload": s.matching(_VARIABLE, "the name of a variable")},
    extensions=False,
)
_LOCAL_STACK = s.record(
    {"without": s.listed(s.text, unique=True), "variables": _VARIABLES, "environment": _VARIABLES},
    extensions=False,
)
SERVICE_EXTENSION = s.record(
    {
        "singleton": s.boolean,
        "on_demand": s.boolean,
        "restart_limit": _at_least(0),
        "restart_window": _seconds,
        "restart_delay": _seconds,
        "restart_delay_max": _seconds,
        "unhealthy": s.choice("restart", "ignore"),
        "user": _OWNER,
        "health_url": _LOCAL_URL,
        "edge": s.boolean,
        "probe_paths": s.listed(_URL_PATH, unique=True),
        "backup": _backup,
        "host": s.record(
            {**_ENVIRONMENT, "command": _argv, "local": _LOCAL_SERVICE}, extensions=False
        ),
    },
    extensions=False,
)
SECRET_EXTENSION = s.record({"generate": _generate, "optional": s.boolean}, extensions=False)
VOLUME_EXTENSION = s.record({"owner": _OWNER, "mode": _MODE}, extensions=False)
_HOOK = s.record(
    {
        "name": _TITLE,
        "service": s.text,
        "command": _argv,
        "save_as": _FILE_NAME,
        "timeout_seconds": _seconds,
    },
    ("name", "service", "command"),
    extensions=False,
)
_HOOKS = s.listed(_HOOK)
STACK_EXTENSION_KEYS: dict[str, s.Shape] = {
    "unified": s.record(
        {"build": BUILD, "user": _OWNER, "data_dir": _ABSOLUTE, "log_dir": _ABSOLUTE},
        extensions=False,
    ),
    "host": s.record({**_ENVIRONMENT, "local": _LOCAL_STACK}, extensions=False),
    "routes": s.listed(
        s.record(
            {"path": _ROUTE_PATH, "service": s.text, "port": _port},
            ("path", "service"),
            extensions=False,
        )
    ),
    "hooks": s.record({"before": _HOOKS, "after": _HOOKS}, extensions=False),
    "migrations": s.record(
        {"service": s.text, "plan": _argv}, ("service", "plan"), extensions=False
    ),
}
