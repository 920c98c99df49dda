"""The request's database session, and what is known about the database."""

from dataclasses import dataclass, field

from flask import Flask, current_app, g
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from tg2em_core import options, search
from tg2em_core.db import SessionFactory, make_engine, make_sessions
from tg2em_core.environment import DatabaseConfig
from tg2em_core.options import Options


@dataclass
class Store:
    """The engine and its sessions; which full-text index there is, once it has been seen."""

    engine: Engine
    sessions: SessionFactory
    # Set when the database has answered once: /health/live then stays green through an outage.
    seen: bool = False
    _search: search.Engine | None = field(default=None, repr=False)

    def search_engine(self, session: Session) -> search.Engine:
        """Return which index the migration made; asked of the database once."""
        if self._search is None:
            self._search = search.detect(session.connection())
        return self._search


def init(app: Flask, config: DatabaseConfig) -> None:
    """Make the store; connects to nothing yet."""
    engine = make_engine(config)
    app.extensions["store"] = Store(engine, make_sessions(engine))
    app.teardown_appcontext(_close)


def store() -> Store:
    """Return the application's store."""
    found = current_app.extensions["store"]
    assert isinstance(found, Store)
    return found


def db() -> Session:
    """Return the request's session; it is rolled back at the end unless committed."""
    if "db" not in g:
        g.db = store().sessions()
    session: Session = g.db
    return session


def settings() -> Options:
    """Return the settings in force, read once a request."""
    if "options" not in g:
        g.options = options.load(db())
    found: Options = g.options
    return found


def site_title() -> str:
    """Return the site's name, also on the page that says that the database is away."""
    if "options" in g or not g.get("failing"):
        return settings().site_title
    return Options.site_title


def _close(_error: BaseException | None) -> None:
    session = g.pop("db", None)
    if session is not None:
        session.close()
