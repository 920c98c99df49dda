"""The panel as a site of its own, for stacks without a front end: sign-in, language, headers."""

from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import Babel, get_locale
from werkzeug.exceptions import HTTPException

from moorage.control import ControlBackend, ControlError
from moorage.panel import assets, csrf
from moorage.panel.accounts import Accounts
from moorage.panel.blueprint import create_blueprint
from moorage.panel.sign_in import SESSION_SECONDS, Sessions, SignIn, SignInSettings
from moorage.panel.text import gettext as _
from moorage.panel.views import problem

LANGUAGES = {"en": "English", "zh": "中文"}
_YEAR = 365 * 86400
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}


@dataclass(frozen=True)
class Settings(SignInSettings):
    """What the command line decides. Times in seconds."""

    title: str = "Moorage"
    own_service: str = ""
    max_streams: int = 4


def create_app(backend: ControlBackend, accounts: Accounts, settings: Settings) -> Flask:
    """Return the site; it connects to nothing before the first request."""
    app = Flask(__name__, static_folder=None)
    app.secret_key = settings.session_key
    accounts.key(settings.session_key)
    app.config.update(
        SESSION_COOKIE_NAME="moorage_panel",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        PERMANENT_SESSION_LIFETIME=SESSION_SECONDS,
        SESSION_REFRESH_EACH_REQUEST=False,
        MAX_CONTENT_LENGTH=20_000,
        SEND_FILE_MAX_AGE_DEFAULT=_YEAR,
        BABEL_TRANSLATION_DIRECTORIES=str(Path(__file__).parent / "translations"),
    )
    app.session_interface = Sessions()
    Babel(app, locale_selector=_language)
    csrf.protect(app)
    assets.register(app)
    gate = SignIn(accounts, settings, "moorage_panel", _form, lambda: url_for("panel.index"))
    app.jinja_env.globals.update(
        site_title=settings.title,
        languages=LANGUAGES,
        language=lambda: str(get_locale()),
        signed_in=gate.user,
    )
    _add_routes(app, gate)
    app.after_request(_secure)
    app.register_error_handler(HTTPException, _refused)
    panel = create_blueprint(
        backend,
        authorize=gate.require,
        current_user=gate.user,
        own_service=settings.own_service,
        max_streams=settings.max_streams,
    )
    app.register_blueprint(panel, url_prefix="/services")
    return app


def _add_routes(app: Flask, gate: SignIn) -> None:
    @app.get("/")
    def home() -> ResponseReturnValue:
        return redirect(url_for("panel.index"))

    @app.get("/health")
    def health() -> ResponseReturnValue:
        return {"status": "ok"}

    gate.add_routes(app)

    @app.get("/language/<any(en, zh):code>")
    def choose_language(code: str) -> ResponseReturnValue:
        response = redirect(gate.local(request.args), 303)
        response.set_cookie(
            "lang", code, max_age=_YEAR, samesite="Lax", httponly=True, secure=request.is_secure
        )
        return response


def _form(target: str, name: str) -> str:
    return render_template("panel/sign_in.html", next=target, username=name)


def _language() -> str:
    chosen = request.cookies.get("lang", "")
    if chosen in LANGUAGES:
        return chosen
    return request.accept_languages.best_match(list(LANGUAGES)) or "en"


def _secure(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", f"max-age={_YEAR}")
    if request.endpoint != "panel.static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def _refused(error: Exception) -> ResponseReturnValue:
    assert isinstance(error, HTTPException)
    status = error.code or 500
    known = {
        400: _("This form has expired: go back, reload the page and send it again."),
        404: _("There is nothing at this address."),
    }
    detail = known.get(status, error.description or "")
    return problem(ControlError("http", detail, status=status, title=error.name))
