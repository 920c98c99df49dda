"""The application factory."""

from datetime import UTC, datetime

from flask import Flask, Response, abort, request
from flask.sessions import SecureCookieSessionInterface
from werkzeug.exceptions import Unauthorized

from chatbot import admin, auth, chat, db, health
from chatbot.config import Config, WebConfig
from chatbot.documents import MOST_BYTES
from chatbot.site import SESSION_SECONDS, Site
from chatbot.site import admin as site_admin
from moorage.application import errors, i18n, metrics
from moorage.application.proxies import NamedProxies
from moorage.panel import assets, csrf
from moorage.panel.text import moment

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}
_YEAR = 365 * 86400


class _Cookies(SecureCookieSessionInterface):
    """Marks the cookie secure whenever the visitor came by HTTPS, whatever the setting says."""

    def get_cookie_secure(self, app: Flask) -> bool:
        """Say whether browsers may send the cookie by HTTPS only."""
        return bool(app.config["SESSION_COOKIE_SECURE"]) or request.is_secure


def create_app(config: Config, web: WebConfig) -> Flask:
    """Return the application; it connects to nothing before the first request."""
    app = Flask(__name__)
    app.secret_key = web.session_key
    app.extensions["chatbot"] = Site.make(config, web)
    if web.trusted_proxies:
        app.wsgi_app = NamedProxies(  # type: ignore[method-assign]
            app.wsgi_app, web.trusted_proxies, web.proxy_networks
        )
    app.config.update(
        SESSION_COOKIE_NAME="chatbot",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=web.cookie_secure,
        PERMANENT_SESSION_LIFETIME=SESSION_SECONDS,
        # Else a late answer's cookie undoes what a form has put into it meanwhile.
        SESSION_REFRESH_EACH_REQUEST=False,
        MAX_CONTENT_LENGTH=MOST_BYTES + 100_000,
        MAX_FORM_MEMORY_SIZE=200_000,
        MAX_FORM_PARTS=50,
        # Addresses of static files hold a hash of their content.
        SEND_FILE_MAX_AGE_DEFAULT=_YEAR,
    )
    app.session_interface = _Cookies()
    app.after_request(_secure)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals["admin"] = site_admin
    collectors = health.JobsCollector(), health.ServerCollector(web.stats_socket)
    metrics.init(app, "chatbot", *collectors)
    app.before_request(_forged)
    app.jinja_env.globals["csrf_token"] = csrf.token
    assets.register(app)
    i18n.init(app)
    app.jinja_env.filters["moment"] = _moment
    app.register_error_handler(Unauthorized, auth.ask)
    errors.init(app, db.Unavailable)
    for module in (health, chat, auth, admin):
        app.register_blueprint(module.blueprint)
    return app


def _moment(value: float) -> str:
    return moment(datetime.fromtimestamp(value, UTC), "short")


def _forged() -> None:
    # The API goes by tokens that no browser sends by itself, and by no cookie.
    safe = request.method in ("GET", "HEAD", "OPTIONS") or request.path.startswith("/api/")
    if not safe and not csrf.valid():
        abort(400, description="csrf")


def _secure(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint == "static":
        response.cache_control.public, response.cache_control.immutable = True, True
        response.cache_control.no_cache = None
    elif response.mimetype == "text/html" or request.path.startswith("/api/"):
        # It holds a form's token, or what somebody has said.
        response.headers.setdefault("Cache-Control", "private, no-store")
    return response
