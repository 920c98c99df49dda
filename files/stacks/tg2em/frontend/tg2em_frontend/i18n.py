"""Chinese and English: the browser's wish by default, a cookie once somebody has chosen."""

from pathlib import Path

from flask import Blueprint, Flask, abort, redirect, request
from flask.typing import ResponseReturnValue
from flask_babel import Babel, get_locale

import moorage.panel
from tg2em_frontend.links import local_path

LANGUAGES = {"en": "English", "zh": "中文"}
COOKIE = "lang"
YEAR = 365 * 86400

blueprint = Blueprint("language", __name__)


def select() -> str:
    """Return the language of this request."""
    chosen = request.cookies.get(COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    return request.accept_languages.best_match(list(LANGUAGES)) or "en"


def init(app: Flask) -> None:
    """Set up Flask-Babel with the application's and the panel's translations."""
    folders = [Path(__file__).parent / "translations"]
    folders += [Path(p) / "translations" for p in moorage.panel.__path__]
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = ";".join(str(f) for f in folders)
    Babel(app, locale_selector=select)
    app.jinja_env.globals["languages"] = LANGUAGES
    app.jinja_env.globals["language"] = lambda: str(get_locale())
    app.register_blueprint(blueprint)


@blueprint.get("/language/<code>")
def choose(code: str) -> ResponseReturnValue:
    """Remember a language and go back to where the visitor was."""
    if code not in LANGUAGES:
        abort(404)
    response = redirect(local_path(request.args.get("next", "")), 303)
    response.set_cookie(
        COOKIE, code, max_age=YEAR, samesite="Lax", httponly=True, secure=request.is_secure
    )
    return response
