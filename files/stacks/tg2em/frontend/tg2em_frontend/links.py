"""Addresses: which may be followed, and where a picture is."""

from urllib.parse import urlsplit

from flask import url_for
from tg2em_core.models import Article

from tg2em_frontend.store import settings


def external(link: str) -> str:
    """Return a link that may be shown as one: http(s) with a host; else nothing."""
    try:
        parts = urlsplit(link)
    except ValueError:
        return ""
    return link if parts.scheme in ("http", "https") and parts.netloc else ""


def origin(address: str) -> str:
    """Return scheme and host of an address; nothing when it is empty."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def image_url(article: Article) -> str:
    """Return the address of an article's picture for a browser; empty when it has none."""
    path = urlsplit(article.image).path
    if not path.startswith("/d/"):
        return ""
    public = settings().tgstate_public_url
    return public + path if public else url_for("images.show", picture=path.removeprefix("/d/"))
