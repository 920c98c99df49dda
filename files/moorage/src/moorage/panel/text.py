"""Words in the reader's language: Flask-Babel with types, for the panel and who mounts it."""

from datetime import datetime

import flask_babel


def gettext(message: str, **words: object) -> str:
    """Return the translation of a message for this request."""
    return str(flask_babel.gettext(message, **words))


def lazy(message: str) -> object:
    """Return what becomes the translation once it is turned into a string."""
    found: object = flask_babel.lazy_gettext(message)
    return found


def moment(value: datetime, pattern: str = "medium") -> str:
    """Return a point in time as the reader's language writes it."""
    return str(flask_babel.format_datetime(value, pattern))
