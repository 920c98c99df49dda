"""Headers and cookies that limit what a page, and whoever meddles with one, can do."""

from flask import Flask, Response, current_app, g, request
from flask.sessions import SecureCookieSessionInterface

from tg2em_frontend.links import origin

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self';"
    " connect-src 'self'; manifest-src 'self'; img-src 'self' data:{pictures};"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Sessions(SecureCookieSessionInterface):
    """Marks the cookie secure whenever the visitor came by HTTPS, whatever the setting says."""

    def get_cookie_secure(self, app: Flask) -> bool:
        """Say whether browsers may send the cookie by HTTPS only."""
        return bool(app.config["SESSION_COOKIE_SECURE"]) or request.is_secure


def init(app: Flask, *, cookie_secure: bool, behind_proxy: bool) -> None:
    """Add the headers to every response and set up the session cookie.

    Behind a proxy it is the proxy's business to bind visitors to HTTPS: it has the certificate.
    """
    app.config["HSTS"] = not behind_proxy
    app.config.update(
        SESSION_COOKIE_NAME="tg2em",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=cookie_secure,
        PERMANENT_SESSION_LIFETIME=12 * 3600,
        # Else each picture's answer carries the cookie as it was when it was asked for, and one
        # that is late undoes what a form has put into it meanwhile.
        SESSION_REFRESH_EACH_REQUEST=False,
        MAX_CONTENT_LENGTH=1_000_000,
        # Their addresses hold a hash of their content.
        SEND_FILE_MAX_AGE_DEFAULT=365 * 86400,
        MAX_FORM_MEMORY_SIZE=500_000,
    )
    app.session_interface = Sessions()
    app.after_request(_secure)


def _secure(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    # Only known when the request read the settings, as every page with pictures does.
    found = g.get("options")
    pictures = origin(found.tgstate_public_url) if found else ""
    policy = _POLICY.format(pictures=f" {pictures}" if pictures else "")
    response.headers.setdefault("Content-Security-Policy", policy)
    if request.is_secure and current_app.config["HSTS"]:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if request.path.startswith(("/admin", "/dm")):
        response.headers.setdefault("Cache-Control", "no-store")
    return response
