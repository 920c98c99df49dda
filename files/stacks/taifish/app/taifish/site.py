"""What the pages stand on: one set of connections an application, one user a request."""

import unicodedata
from dataclasses import dataclass, field

from flask import current_app, g, session
from werkzeug.exceptions import Forbidden, Unauthorized

from moorage.application import passwords
from moorage.panel.devices import Brake, Devices
from taifish import db
from taifish.cache import Cache
from taifish.config import Config, WebConfig
from taifish.db import Database
from taifish.jobs import Queue
from taifish.limits import Limits
from taifish.sessions import Sessions


@dataclass
class Site:
    """Connections and settings; made before the first request, connected by it."""

    config: Config
    web: WebConfig
    database: Database
    queue: Queue
    sessions: Sessions
    limits: Limits
    cache: Cache
    devices: Devices
    brake: Brake = field(default_factory=Brake)
    # Set when database and Redis have answered once: /health/live stays green through an outage.
    seen: bool = False

    @classmethod
    def make(cls, config: Config, web: WebConfig) -> "Site":
        """Connect to nothing yet."""
        return cls(
            config,
            web,
            Database(config),
            Queue(config),
            Sessions(config),
            Limits(config),
            Cache(config),
            Devices(web.session_key, "taifish_device"),
        )


def site() -> Site:
    """Return the application's site."""
    found = current_app.extensions["taifish"]
    assert isinstance(found, Site)
    return found


def user() -> db.Row | None:
    """Return the account that is signed in: as long as its session and its password last."""
    if "user" not in g or g.get("failing"):
        g.user = None if g.get("failing") else _load()
    found: db.Row | None = g.user
    return found


def member() -> db.Row:
    """Return the account that is signed in; whoever is not is asked to."""
    found = user()
    if found is None:
        raise Unauthorized
    return found


def administrator() -> db.Row:
    """Return the administrator's account; others are refused."""
    found = member()
    if not found["is_admin"]:
        raise Forbidden
    return found


def _load() -> db.Row | None:
    identity, number = session.get("user"), session.get("sid", "")
    if not isinstance(identity, int) or not (mark := site().sessions.mark(identity, number)):
        return None
    found = site().database.row("SELECT * FROM users WHERE id = %s", [identity])
    return found if found and passwords.mark(found["password_hash"]) == mark else None


def text(given: str, most: int, *, lines: bool = False) -> str:
    """Return a text as it is kept: without control characters, at most `most` long."""
    kept = "".join(
        sign
        for sign in given.replace("\r\n", "\n")
        if unicodedata.category(sign) not in ("Cc", "Cs") or (lines and sign == "\n")
    )
    return kept.strip()[:most]
