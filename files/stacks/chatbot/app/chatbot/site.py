"""What the pages stand on: one database an application, one administrator a request."""

import hashlib
import secrets
import time
from dataclasses import dataclass, field

from flask import current_app, g, session
from werkzeug.exceptions import TooManyRequests, Unauthorized

from chatbot import db
from chatbot.config import Config, WebConfig
from chatbot.db import Database
from chatbot.limits import Limits
from moorage.application import passwords
from moorage.panel.devices import Brake, Devices

SESSION_SECONDS = 12 * 3600


@dataclass
class Site:
    """Connections and settings; made before the first request, connected by it."""

    config: Config
    web: WebConfig
    database: Database
    limits: Limits
    devices: Devices
    brake: Brake = field(default_factory=Brake)
    # Set when the database has answered once: /health/live stays green through an outage.
    seen: bool = False

    @classmethod
    def make(cls, config: Config, web: WebConfig) -> "Site":
        """Connect to nothing yet."""
        database = Database(config)
        return cls(
            config,
            web,
            database,
            Limits(database, web.session_key),
            Devices(web.session_key, "chatbot_device"),
        )


def site() -> Site:
    """Return the application's site."""
    found = current_app.extensions["chatbot"]
    assert isinstance(found, Site)
    return found


def limit(bucket: str, most: int, seconds: int) -> None:
    """Count a try; raises TooManyRequests beyond `most` within `seconds`."""
    if site().limits.count(bucket, seconds) > most:
        site().limits.take_back(bucket)
        raise TooManyRequests(retry_after=seconds)


def _hash(number: str) -> str:
    return hashlib.sha256(number.encode()).hexdigest()


def enter(found: db.Row) -> None:
    """Begin a session; what was in the cookie before may be somebody else's."""
    flashes = session.get("_flashes", [])
    session.clear()
    number = secrets.token_urlsafe(24)
    site().database.run(
        "INSERT INTO sessions (id, admin, mark, until) VALUES (%s, %s, %s, %s)",
        [
            _hash(number),
            found["name"],
            passwords.mark(found["password_hash"]),
            time.time() + SESSION_SECONDS,
        ],
    )
    session.permanent = True
    session.update(sid=number, _flashes=flashes)
    g.admin = found


def leave(found: db.Row) -> None:
    """End all sessions of an administrator: a copied cookie too."""
    site().database.run("DELETE FROM sessions WHERE admin = %s", [found["name"]])
    session.clear()


def admin() -> db.Row | None:
    """Return the administrator who is signed in, as long as session and password last."""
    if "admin" not in g or g.get("failing"):
        g.admin = None if g.get("failing") else _load()
    found: db.Row | None = g.admin
    return found


def administrator() -> db.Row:
    """Return the administrator who is signed in; whoever is not is asked to."""
    found = admin()
    if found is None:
        raise Unauthorized
    return found


def _load() -> db.Row | None:
    number = session.get("sid")
    if not isinstance(number, str):
        return None
    found = site().database.row(
        "SELECT a.*, s.mark FROM sessions s JOIN admins a ON a.name = s.admin"
        " WHERE s.id = %s AND s.until > %s",
        [_hash(number), time.time()],
    )
    return found if found and passwords.mark(found["password_hash"]) == found["mark"] else None
