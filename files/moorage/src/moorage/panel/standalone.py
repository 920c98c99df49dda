"""The panel as a site of its own, for stacks without a front end: sign-in, language, headers."""

import ipaddress
import logging
import math
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response, flash, g, redirect, render_template, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from flask_babel import Babel, get_locale
from werkzeug.exceptions import HTTPException

from moorage.control import ControlBackend, ControlError
from moorage.panel import assets, csrf
from moorage.panel.accounts import Accounts, EndedSessions, Limiter
from moorage.panel.blueprint import create_blueprint
from moorage.panel.devices import Brake, Devices
from moorage.panel.text import gettext as _
from moorage.panel.views import problem, wants_json

LANGUAGES = {"en": "English", "zh": "中文"}
SESSION_SECONDS = 12 * 3600
# One account may be tried from many addresses at once.
ACCOUNT_FACTOR = 10
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
_log = logging.getLogger("moorage.panel")


@dataclass(frozen=True)
class Settings:
    """What the command line decides. Times in seconds."""

    session_key: bytes
    ended_sessions_file: Path | None = None
    title: str = "Moorage"
    own_service: str = ""
    login_limit: int = 5
    login_window: float = 900.0
    max_streams: int = 4


class _Sessions(SecureCookieSessionInterface):
    """Marks the cookie secure whenever the visitor came by HTTPS."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure


class _SignIn:
    """Signing in and out."""

    def __init__(self, accounts: Accounts, settings: Settings) -> None:
        self._accounts = accounts
        self._ended = EndedSessions(settings.ended_sessions_file, SESSION_SECONDS)
        self._devices = Devices(settings.session_key, "moorage_panel_device")
        self._known = Limiter(settings.login_limit, settings.login_window)
        self._brake = Brake()
        limit, window = settings.login_limit, settings.login_window
        self._addresses = Limiter(limit, window)
        self._names = Limiter(limit * ACCOUNT_FACTOR, window)

    def user(self) -> str:
        """Return who is signed in, or an empty string."""
        if "user" not in g:
            g.user = self._user()
        return str(g.user)

    def _user(self) -> str:
        name, since = session.get("user"), session.get("since", 0)
        if not isinstance(name, str) or time.time() - since > SESSION_SECONDS:
            return ""
        if not isinstance(session.get("id"), str) or session["id"] in self._ended:
            return ""
        # Whoever has changed a password has ended the sessions that began with the old one.
        return name if session.get("epoch") == self._accounts.epoch(name) else ""

    def require(self) -> ResponseReturnValue | None:
        """Answer for whoever is not signed in: 401 to programs, the form to people."""
        if self.user():
            return None
        if wants_json():
            return problem(ControlError("unauthorized", _("Sign in first."), status=401))
        target = request.full_path.rstrip("?") if request.method == "GET" else None
        return redirect(url_for("sign_in", next=target))

    def form(self) -> ResponseReturnValue:
        """Show the form, or the services to whoever is signed in already."""
        target = _local(request.args.get("next", ""))
        return redirect(target) if self.user() else _form(target)

    def check(self) -> ResponseReturnValue:
        """Check name and password; 429 when there were too many attempts."""
        name, address = request.form.get("username", "").strip()[:64], _address()
        device = self._devices.known(request, name)
        wait = self._take(name, address, device)
        if wait:
            _log.warning("sign-in from %s: too many attempts", address)
            flash(_("Too many attempts. Wait a while and try again."), "error")
            answer = Response(_form(_local(request.form.get("next", "")), name), 429)
            answer.headers["Retry-After"] = str(math.ceil(wait))
            return answer
        if not self._accounts.verify(name, request.form.get("password", "")):
            _log.warning("sign-in from %s as %r: wrong name or password", address, name)
            flash(_("Wrong name or password."), "error")
            return _form(_local(request.form.get("next", "")), name), 401
        if device:
            self._known.forget(device)
        else:
            self._addresses.forget(address)
        # A fresh session: what was in the cookie before the sign-in may be somebody else's.
        session.clear()
        session.permanent = True
        number = secrets.token_hex(16)
        epoch = self._accounts.epoch(name)
        session.update(user=name, epoch=epoch, since=int(time.time()), id=number)
        _log.info("sign-in from %s as %s", address, name)
        led = redirect(_local(request.form.get("next", "")), 303)
        self._devices.remember(request, led, name)
        return led

    def leave(self) -> ResponseReturnValue:
        """End the session, of copies of its cookie too."""
        if self.user():
            self._ended.end(session["id"])
        session.clear()
        return redirect(url_for("sign_in"), 303)

    def _take(self, name: str, address: str, device: str) -> float:
        """Note an attempt; return 0, or the seconds until there may be another one.

        Noted before the password is looked at: parallel attempts then see each other. Of a browser
        that the account is known from, no attempt of others counts.
        """
        if device:
            return self._known.take(device)
        wait = self._addresses.take(address)
        if not wait and self._names.take(name) and not self._brake.wait():
            return math.ceil(self._brake.seconds)
        return wait


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
    app.session_interface = _Sessions()
    Babel(app, locale_selector=_language)
    csrf.protect(app)
    assets.register(app)
    gate = _SignIn(accounts, settings)
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


def _add_routes(app: Flask, gate: _SignIn) -> None:
    @app.get("/")
    def home() -> ResponseReturnValue:
        return redirect(url_for("panel.index"))

    @app.get("/health")
    def health() -> ResponseReturnValue:
        return {"status": "ok"}

    app.add_url_rule("/sign-in", "sign_in", gate.form)
    app.add_url_rule("/sign-in", "check", gate.check, methods=["POST"])

    app.add_url_rule("/sign-out", "sign_out", gate.leave, methods=["POST"])

    @app.get("/language/<any(en, zh):code>")
    def choose_language(code: str) -> ResponseReturnValue:
        response = redirect(_local(request.args.get("next", "")), 303)
        response.set_cookie(
            "lang", code, max_age=_YEAR, samesite="Lax", httponly=True, secure=request.is_secure
        )
        return response


def _form(target: str, name: str = "") -> str:
    return render_template("panel/sign_in.html", next=target, username=name)


def _local(target: str) -> str:
    # A path of this site and nothing that a browser could take for another's address.
    sound = target.startswith("/") and target[1:2] not in ("/", "\\") and target.isprintable()
    return target if sound else url_for("panel.index")


def _language() -> str:
    chosen = request.cookies.get("lang", "")
    if chosen in LANGUAGES:
        return chosen
    return request.accept_languages.best_match(list(LANGUAGES)) or "en"


def _address() -> str:
    address = request.remote_addr or "unknown"
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6:
        # Whoever has one address of a /64 has all of them.
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return address


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
