"""The shape of `build`."""

from __future__ import annotations

from typing import Any

from moorage.compose import shapes as s
from moorage.compose import shorthand
from moorage.compose.shapes import INVALID, Place


def _contexts(value: Any, place: Place) -> Any:
    checked = s.pairs("")(value, place)
    if checked is INVALID:
        return INVALID
    return {name: shorthand.context(path, place.at(name)) for name, path in checked.items()}


def _build(value: Any, place: Place) -> Any:
    checked = _LONG({"context": value} if isinstance(value, str) else value, place)
    if checked is INVALID:
        return INVALID
    if "dockerfile" in checked and "dockerfile_inline" in checked:
        advice = "keep one of them"
        return place.wrong("has both dockerfile and dockerfile_inline", value, advice)
    return checked


_LONG = s.record(
    {
        "context": shorthand.context,
        "dockerfile": s.text,
        "dockerfile_inline": s.text,
        "target": s.text,
        "args": s.pairs(None),
        "additional_contexts": _contexts,
        "ssh": s.pairs(""),
        "labels": s.pairs(""),
        "cache_from": s.listed(s.text),
        "cache_to": s.listed(s.text),
        "no_cache": s.boolean,
        "network": s.text,
        "pull": s.boolean,
        "shm_size": s.size,
        "extra_hosts": shorthand.extra_hosts,
        "isolation": s.text,
        "privileged": s.boolean,
        "secrets": s.listed(shorthand.grant(None)),
        "tags": s.listed(s.text),
        "ulimits": s.mapped(shorthand.ulimit),
        "platforms": s.listed(s.text),
        "entitlements": s.listed(s.text),
    }
)

BUILD: s.Shape = _build
