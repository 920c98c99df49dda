"""Merging one canonical description over another, for `extends` and override files.

Rules: Compose Specification, chapter "Merge": mappings merge, lists are appended to, and what
can be there only once (a mount's target, a port, a command) is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

_REPLACED = {
    ("command",),
    ("entrypoint",),
    ("healthcheck", "test"),
}
_SECTIONS = ("services", "networks", "volumes", "secrets", "configs")


def _port_key(port: dict[str, Any]) -> Any:
    keys = ("host_ip", "published", "target", "protocol")
    return tuple(port.get(key) for key in keys)


def _grant_key(grant: dict[str, Any]) -> Any:
    return grant.get("target") or f"/{grant['source']}"


_UNIQUE: dict[tuple[str, ...], Callable[[Any], Any]] = {
    ("ports",): _port_key,
    ("volumes",): lambda mount: mount["target"],
    ("secrets",): _grant_key,
    ("configs",): _grant_key,
}


def merge_files(
    base: dict[str, Any], over: dict[str, Any], replaced: Iterable[Sequence[str | int]] = ()
) -> dict[str, Any]:
    """A whole file with an override file merged over it, which replaces what is at some paths."""
    base = without_paths(base, replaced)
    result = {**base, **over}
    for section in _SECTIONS:
        first, second = base.get(section, {}), over.get(section, {})
        merge = merge_services if section == "services" else _merge_plain
        merged = {**first, **second}
        for name in first.keys() & second.keys():
            merged[name] = merge(first[name], second[name])
        result[section] = merged
    return result


def without_paths(data: Any, paths: Iterable[Sequence[str | int]]) -> Any:
    """A description without what is at some paths; what is not there is passed over."""
    for first, *rest in paths:
        if isinstance(data, dict) and first in data:
            inner = without_paths(data[first], [rest]) if rest else None
            kept = {key: value for key, value in data.items() if key != first}
            data = {**data, first: inner} if rest else kept
    return data


def merge_services(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """A service with another one merged over it."""
    merged = _merge(base, over, ())
    return unique_service(merged)


def unique_service(service: dict[str, Any]) -> dict[str, Any]:
    """A service whose lists hold each port, mount and grant once; the last one wins."""
    result = dict(service)
    for (key,), index in _UNIQUE.items():
        if key in result:
            result[key] = list(_last_of_each(result[key], index).values())
    return result


def _last_of_each(items: list[Any], index: Callable[[Any], Any]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for item in items:
        found[index(item)] = item
    return found


def _merge_plain(base: dict[str, Any], over: dict[str, Any]) -> Any:
    return _merge(base, over, ("",))


def _merge(base: Any, over: Any, path: tuple[str, ...]) -> Any:
    if path in _REPLACED or (path[:1] == ("ulimits",) and len(path) == 2):
        return over
    if path == ("logging",) and _other_driver(base, over):
        return over
    if isinstance(base, dict) and isinstance(over, dict):
        merged = dict(base)
        for key, value in over.items():
            merged[key] = _merge(base[key], value, (*path, key)) if key in base else value
        return merged
    if isinstance(base, list) and isinstance(over, list):
        if path in _UNIQUE or path == ("extra_hosts",):
            return base + over
        return base + [item for item in over if item not in base]
    return over


def _other_driver(base: dict[str, Any], over: dict[str, Any]) -> bool:
    drivers = {item["driver"] for item in (base, over) if "driver" in item}
    return len(drivers) > 1
