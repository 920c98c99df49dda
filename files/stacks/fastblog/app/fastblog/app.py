"""The application factory."""

import time
from datetime import UTC, datetime

from flask import Flask, Response, abort, g, render_template, request, url_for

import moorage.panel
from fastblog import admin, api, public, updating
from fastblog.comments import Stamps
from fastblog.config import Config
from fastblog.db import Database, Unavailable
from fastblog.site import DEFAULTS, Site
from moorage.application import errors, i18n, metrics
from moorage.application.proxies import NamedProxies
from moorage.control.connect import connect
from moorage.panel import assets, create_blueprint, csrf
from moorage.panel.accounts import Accounts, Limiter
from moorage.panel.sign_in import SESSION_SECONDS, Sessions, SignIn, SignInSettings
from moorage.panel.text import moment

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
    # A post may show pictures of other sites by HTTPS; nothing else is loaded from anywhere.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:;"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}
_YEAR = 365 * 86400


def create_app(config: Config) -> Flask:
    """Return the application; raises ConfigurationError, AccountError, OSError, sqlite3.Error."""
    app = Flask(__name__)
    app.secret_key = config.session_key
    # It makes the directory, too.
    database = Database(config.data / "fastblog.sqlite3")
    accounts = Accounts(config.password_file, config.admin)
    key = config.session_key.encode()
    accounts.key(key)
    settings = SignInSettings(key, config.data / "ended-sessions", config.login_limit)
    gate = SignIn(accounts, settings, "fastblog", _form, lambda: url_for("admin.dashboard"))
    control = connect(config.control or None)
    made = Site(
        config,
        database,
        control,
        gate,
        Stamps(config.session_key),
        Limiter(config.comment_limit, 600.0),
    )
    app.extensions["fastblog"] = made
    if config.trusted_proxies:
        app.wsgi_app = NamedProxies(  # type: ignore[method-assign]
            app.wsgi_app, config.trusted_proxies, config.proxy_networks
        )
    app.config.update(
        SESSION_COOKIE_NAME="fastblog",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=SESSION_SECONDS,
        SESSION_REFRESH_EACH_REQUEST=False,
        MAX_CONTENT_LENGTH=11_000_000,
        MAX_FORM_MEMORY_SIZE=1_000_000,
        MAX_FORM_PARTS=50,
        SEND_FILE_MAX_AGE_DEFAULT=_YEAR,
    )
    app.session_interface = Sessions()
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters["moment"] = _moment
    app.jinja_env.filters["iso"] = lambda at: datetime.fromtimestamp(at, UTC).isoformat(
        "T", "seconds"
    )
    app.jinja_env.globals.update(csrf_token=csrf.token, signed_in=gate.user, now=time.time)
    app.context_processor(lambda: {"settings": DEFAULTS if g.get("failing") else made.settings()})
    metrics.init(app, "fastblog")
    app.before_request(_forged)
    app.after_request(_secure)
    assets.register(app)
    i18n.init(app, moorage.panel)
    errors.init(app, Unavailable)
    gate.add_routes(app)
    for module in (public, admin, updating, api):
        app.register_blueprint(module.blueprint)
    panel = create_blueprint(
        control,
        authorize=gate.require,
        current_user=gate.user,
        own_service=api.OWN_SERVICE,
        layout="panel_layout.html",
    )
    app.register_blueprint(panel, url_prefix="/admin/services")
    return app


def _form(target: str, name: str) -> str:
    return render_template("sign_in.html", next=target, username=name)


def _moment(at: float) -> str:
    return moment(datetime.fromtimestamp(at, UTC), "medium")


def _forged() -> None:
    safe = request.method in ("GET", "HEAD", "OPTIONS") or api.has_token()
    if not safe and not csrf.valid():
        abort(400, description="csrf")


def _secure(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint in ("static", "panel.static"):
        response.cache_control.public, response.cache_control.immutable = True, True
        response.cache_control.no_cache = None
    elif response.mimetype == "text/html" or request.path.startswith("/api/"):
        # It holds a form's token, or what only the administrator sees.
        response.headers.setdefault("Cache-Control", "private, no-store")
    return response
