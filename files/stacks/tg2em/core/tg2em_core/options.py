"""The settings that an administrator changes at run time, each with its type and its limits."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from tg2em_core.environment import read_secret
from tg2em_core.models import Setting


class InvalidOption(ValueError):
    """A value that a setting cannot take; `name` says which, `reason` is a message key."""

    def __init__(self, name: str, reason: str, **details: object) -> None:
        super().__init__(f"{name}: {reason % details if details else reason}")
        self.name = name
        self.reason = reason
        self.details = details


def _option(
    default: Any,
    group: str,
    *,
    low: int | None = None,
    high: int | None = None,
    env: str = "",
    url: bool = False,
    secret: bool = False,
) -> Any:
    meta = {"group": group, "low": low, "high": high, "env": env, "url": url, "secret": secret}
    if isinstance(default, tuple):
        return field(default_factory=lambda: default, metadata=meta)
    return field(default=default, metadata=meta)


@dataclass(frozen=True)
class Options:
    """All of them; `load` reads them, `save` checks and stores what is given."""

    # The scraper stays running and answers its health check while this is off.
    scraper_enabled: bool = _option(True, "scraper")
    scraper_interval: int = _option(300, "scraper", low=5, high=86400, env="SCRAPER_INTERVAL")
    scraper_base_url: str = _option("https://t.me", "scraper", env="SCRAPER_BASE_URL", url=True)
    # How many older preview pages a new channel is followed back.
    scraper_backfill_pages: int = _option(5, "scraper", low=0, high=1000)
    scraper_blocked_tags: tuple[str, ...] = _option((), "scraper")
    picture_enabled: bool = _option(True, "images")
    picture_max_edge: int = _option(1024, "images", low=64, high=1024)
    picture_quality: int = _option(80, "images", low=10, high=100)
    tgstate_url: str = _option("http://127.0.0.1:8088", "images", env="TGSTATE_URL", url=True)
    # What browsers use for pictures; empty: they come through the front end.
    tgstate_public_url: str = _option("", "images", env="TGSTATE_PUBLIC_URL", url=True)
    tgstate_password: str = _option("", "images", env="TGSTATE_PASSWORD", secret=True)
    site_title: str = _option("tg2em", "site")
    site_page_size: int = _option(24, "site", low=1, high=100)


def defaults(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what holds until an administrator says otherwise: the environment's word first."""
    env = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for item in fields(Options):
        name = item.metadata["env"]
        given = read_secret(env, name, "") if item.metadata["secret"] else env.get(name, "")
        if given:
            values[item.name] = check(item.name, given)
    return values


def load(session: Session, environ: Mapping[str, str] | None = None) -> Options:
    """Return the settings in force; one query. A stored value no longer valid is passed over."""
    values = defaults(environ)
    for row in session.scalars(select(Setting)):
        try:
            values[row.name] = check(row.name, row.value)
        except InvalidOption:
            # Left behind by another version: the default is safer than a service that is down.
            continue
    return Options(**values)


def save(session: Session, values: Mapping[str, Any]) -> None:
    """Check and store the given settings; raises InvalidOption before anything is stored."""
    checked = {name: check(name, value) for name, value in values.items()}
    for name, value in checked.items():
        session.merge(Setting(name=name, value=list(value) if isinstance(value, tuple) else value))


def check(name: str, value: Any) -> Any:
    """Return the value in the setting's type; raises InvalidOption."""
    known = {item.name: item for item in fields(Options)}
    if name not in known:
        raise InvalidOption(name, "no such setting")
    item = known[name]
    if item.type is bool or item.type == "bool":
        return _boolean(name, value)
    if item.type is int or item.type == "int":
        return _integer(name, value, item.metadata["low"], item.metadata["high"])
    if item.type is str or item.type == "str":
        return _string(name, value, url=item.metadata["url"])
    return _strings(name, value)


def _boolean(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"1": True, "true": True, "on": True, "yes": True}
    words |= {"0": False, "false": False, "off": False, "no": False, "": False}
    try:
        return words[str(value).strip().lower()]
    except KeyError as error:
        raise InvalidOption(name, "must be on or off") from error


def _integer(name: str, value: Any, low: int, high: int) -> int:
    try:
        number = int(str(value).strip())
    except ValueError as error:
        raise InvalidOption(name, "must be a whole number") from error
    if not low <= number <= high:
        reason = "must be between %(low)s and %(high)s"
        raise InvalidOption(name, reason, low=low, high=high)
    return number


def _string(name: str, value: Any, *, url: bool) -> str:
    if not isinstance(value, str) or len(value) > 2048:
        raise InvalidOption(name, "must be a text of at most 2048 characters")
    word = value.strip()
    if url and word:
        parts = urlsplit(word)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InvalidOption(name, "must be a URL that begins with http:// or https://")
        word = word.rstrip("/")
    return word


def _strings(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.replace("，", ",").replace("\n", ",").split(",")
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise InvalidOption(name, "must be a list of words")
    words = (v.strip().removeprefix("#") for v in value)
    return tuple(dict.fromkeys(w for w in words if w))
