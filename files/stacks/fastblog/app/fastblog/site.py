"""What the pages stand on."""

from dataclasses import dataclass

from flask import current_app, request, url_for

from fastblog.comments import Stamps
from fastblog.config import Config
from fastblog.db import Database
from moorage.control import ControlBackend
from moorage.panel.accounts import Limiter
from moorage.panel.sign_in import SignIn

THEMES = ("paper", "slate")
DEFAULTS = {"title": "FastBlog", "tagline": "", "theme": "paper", "blocked": "", "comments": "on"}


@dataclass(frozen=True)
class Site:
    """The application's own objects; one process serves the site, so limits are in memory."""

    config: Config
    database: Database
    control: ControlBackend
    gate: SignIn
    stamps: Stamps
    comment_limit: Limiter

    def settings(self) -> dict[str, str]:
        """Return what the administrator has set."""
        found = self.database.rows("SELECT name, value FROM settings")
        return DEFAULTS | {row["name"]: row["value"] for row in found}


def site() -> Site:
    """Return the application's site."""
    found = current_app.extensions["fastblog"]
    assert isinstance(found, Site)
    return found


def page() -> int:
    """Return the number of the page that was asked for."""
    return min(max(request.args.get("page", 1, type=int), 1), 100_000)


def external(endpoint: str, **values: str) -> str:
    """Return a whole address: below SITE_URL where that is set, else as the request came."""
    base = site().config.site_url or request.host_url.rstrip("/")
    return f"{base}{url_for(endpoint, **values)}"  # type: ignore[arg-type]
