"""Chinese and English: the browser's wish by default, a cookie once somebody has chosen."""

from datetime import UTC, datetime
from pathlib import Path

from flask import Blueprint, Flask, abort, redirect, request
from flask.typing import ResponseReturnValue
from flask_babel import Babel, get_locale

from chatbot.auth import local_path
from moorage.panel.text import moment

LANGUAGES = {"en": "English", "zh": "中文"}
COOKIE = "lang"

blueprint = Blueprint("language", __name__)


def select() -> str:
    """Return the language of this request."""
    chosen = request.cookies.get(COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    return request.accept_languages.best_match(list(LANGUAGES)) or "en"


def init(app: Flask) -> None:
    """Set up Flask-Babel."""
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = str(Path(__file__).parent / "translations")
    Babel(app, locale_selector=select)
    app.jinja_env.globals["languages"] = LANGUAGES
    app.jinja_env.globals["language"] = lambda: str(get_locale())
    app.jinja_env.filters["moment"] = _moment
    app.register_blueprint(blueprint)


def _moment(value: float) -> str:
    return moment(datetime.fromtimestamp(value, UTC), "short")


@blueprint.get("/language/<code>")
def choose(code: str) -> ResponseReturnValue:
    """Remember a language and go back to where the visitor was."""
    if code not in LANGUAGES:
        abort(404)
    answer = redirect(local_path(request.args.get("next", "")), 303)
    answer.set_cookie(
        COOKIE, code, max_age=365 * 86400, samesite="Lax", httponly=True, secure=request.is_secure
    )
    return answer
