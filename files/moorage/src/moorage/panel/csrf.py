"""Tokens against forged requests, for the panel and for the application that mounts it."""

import hmac
import secrets

from flask import Flask, abort, request, session

SESSION_KEY = "csrf"
FIELD = "csrf_token"
HEADER = "X-CSRF-Token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def token() -> str:
    """Return this session's token, made when it is first asked for."""
    value = session.get(SESSION_KEY)
    if not isinstance(value, str):
        value = session[SESSION_KEY] = secrets.token_urlsafe(32)
    return value


def valid() -> bool:
    """Say whether the request brought its session's token, in a form field or a header."""
    given = request.headers.get(HEADER) or request.form.get(FIELD, "")
    expected = session.get(SESSION_KEY)
    return isinstance(expected, str) and hmac.compare_digest(given.encode(), expected.encode())


def protect(app: Flask) -> None:
    """Refuse every changing request without a token (400) and give templates `csrf_token()`."""

    @app.before_request
    def check() -> None:
        if request.method not in _SAFE and not valid():
            abort(400, description="csrf")

    app.jinja_env.globals["csrf_token"] = token
