"""Chinese and English: the browser's wish by default, a cookie once somebody has chosen."""

from pathlib import Path
from types import ModuleType

from flask import Blueprint, Flask, abort, redirect, request
from flask.typing import ResponseReturnValue
from flask_babel import Babel, get_locale

from moorage.application.links import local_path

LANGUAGES = {"en": "English", "zh": "中文"}
COOKIE = "lang"

blueprint = Blueprint("language", __name__)


def select() -> str:
    """Return the language of this request."""
    chosen = request.cookies.get(COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    return request.accept_languages.best_match(list(LANGUAGES)) or "en"


def init(app: Flask, *further: ModuleType) -> None:
    """Set up Flask-Babel with the translations of the application, ours, and further packages'."""
    places = [Path(app.root_path), Path(__file__).parent]
    places += [Path(package.__file__ or "").parent for package in further]
    folders = ";".join(str(place / "translations") for place in places)
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = folders
    Babel(app, locale_selector=select)
    app.jinja_env.globals["languages"] = LANGUAGES
    app.jinja_env.globals["language"] = lambda: str(get_locale())
    app.register_blueprint(blueprint)


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
