"""The shapes of the keys of `x-moorage`; unlike other extension fields they are strict."""

from __future__ import annotations

from typing import Any

from moorage.compose import shapes as s
from moorage.compose.extension import MIN_SECRET_LENGTH
from moorage.compose.schema_build import BUILD
from moorage.compose.shapes import INVALID, Place
from moorage.compose.units import parse_duration

_OWNER = s.matching(r"\d+:\d+", 'a numeric "uid:gid", in quotes')
_MODE = s.matching(r"0?[0-7]{3,4}", 'an octal mode in quotes, such as "0750"')
_LOCAL_URL = s.matching(
    r"http://(localhost|127\.0\.0\.1)(:\d+)?(/\S*)?", "a URL such as http://127.0.0.1:80/health"
)
_ABSOLUTE = s.matching(r"/\S*", "an absolute path of the container")


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


def _generate(value: Any, place: Place) -> Any:
    if value is True:
        return {}
    keys = {"length": _at_least(MIN_SECRET_LENGTH)}
    return s.record(keys, extensions=False)(value, place)


SERVICE_EXTENSION = s.record(
    {
        "singleton": s.boolean,
        "restart_limit": _at_least(0),
        "restart_window": _seconds,
        "restart_delay": _seconds,
        "restart_delay_max": _seconds,
        "unhealthy": s.choice("restart", "ignore"),
        "user": _OWNER,
        "health_url": _LOCAL_URL,
    },
    extensions=False,
)
SECRET_EXTENSION = s.record({"generate": _generate, "optional": s.boolean}, extensions=False)
VOLUME_EXTENSION = s.record({"owner": _OWNER, "mode": _MODE}, extensions=False)
STACK_EXTENSION_KEYS: dict[str, s.Shape] = {
    "unified": s.record(
        {"build": BUILD, "user": _OWNER, "data_dir": _ABSOLUTE, "log_dir": _ABSOLUTE},
        extensions=False,
    )
}
