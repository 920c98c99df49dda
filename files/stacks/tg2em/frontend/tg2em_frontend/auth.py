"""Signing in at /dm: Argon2 hashes, and a limit on failures that all workers count together."""

import ipaddress
import math
import time
from datetime import timedelta

from flask import (
    Blueprint,
    current_app,
    flash,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from sqlalchemy import delete, func, select, update
from tg2em_core.models import AdminUser, LoginAttempt, utcnow
from werkzeug.exceptions import TooManyRequests

from moorage.application import passwords
from moorage.application.errors import problem, wants_json
from moorage.application.links import local_path
from moorage.panel.devices import Brake, Devices, account_name
from moorage.panel.text import gettext as _
from tg2em_frontend.config import FrontendConfig
from tg2em_frontend.store import db

blueprint = Blueprint("auth", __name__)

# The cookie itself outlives this by nothing; it is checked here, as a copy of one would not be.
SESSION_SECONDS = 12 * 3600
# One account may be tried from many addresses at once.
ACCOUNT_FACTOR = 10
_BRAKE = Brake()


@blueprint.get("/dm")
def login() -> ResponseReturnValue:
    """Show the form, or the dashboard to whoever is signed in already."""
    target = local_path(request.args.get("next", ""), url_for("admin.dashboard"))
    if user() is not None:
        return redirect(target)
    return render_template("login.html", next=target)


@blueprint.post("/dm")
def sign_in() -> ResponseReturnValue:
    """Check name and password; 429 when there were too many failures."""
    given = request.form.get("username", "").strip()[:64]
    name = account_name(given)
    device = _devices().known(request, name)
    buckets = [f"device:{device}"] if device else _buckets(name)
    _count(buckets)
    found = _account(name)
    # An unknown name takes as long as a known one.
    stored = found.password_hash if found else passwords.dummy_hash()
    right = passwords.verify(stored, request.form.get("password", "")[:1024])
    if found is None or not right:
        flash(_("Wrong name or password."), "error")
        target = local_path(request.form.get("next", ""), url_for("admin.dashboard"))
        return render_template("login.html", next=target, username=given), 401
    db().execute(delete(LoginAttempt).where(LoginAttempt.bucket.in_(buckets)))
    found.last_login_at = utcnow()
    db().commit()
    _remember(found)
    target = local_path(request.form.get("next", ""), url_for("admin.dashboard"))
    answer = redirect(target, 303)
    _devices().remember(request, answer, name)
    return answer


@blueprint.post("/dm/logout")
def logout() -> ResponseReturnValue:
    """End the session, with those of this account everywhere: a copied cookie too."""
    found = user()
    if found is not None:
        db().execute(
            update(AdminUser)
            .where(AdminUser.id == found.id)
            .values(session_epoch=AdminUser.session_epoch + 1)
        )
        db().commit()
    session.clear()
    return redirect(url_for("public.index"), 303)


def user() -> AdminUser | None:
    """Return who is signed in; a session from before the last change of password is nobody."""
    if "user" not in g:
        g.user = _load()
    found: AdminUser | None = g.user
    return found


def current_user() -> str:
    """Return the name of who is signed in, for the audit trail."""
    found = user()
    return found.username if found else ""


def require() -> ResponseReturnValue | None:
    """Answer for whoever is not signed in: 401 to programs, the form to people."""
    if user() is not None:
        return None
    if wants_json():
        return problem(401, _("Sign in first."))
    target = request.full_path.rstrip("?") if request.method == "GET" else "/admin"
    return redirect(url_for("auth.login", next=target))


def _account(name: str) -> AdminUser | None:
    if not name:
        return None
    found = db().scalars(select(AdminUser).where(AdminUser.username == name)).one_or_none()
    # The database compares as its collation does, which takes many spellings for one.
    return found if found and account_name(found.username) == name else None


def _devices() -> Devices:
    config: FrontendConfig = current_app.config["TG2EM"]
    return Devices(config.session_key, "tg2em_device")


def _load() -> AdminUser | None:
    identity, since = session.get("user"), session.get("since", 0)
    if not isinstance(identity, int) or time.time() - since > SESSION_SECONDS:
        return None
    found = db().get(AdminUser, identity)
    return found if found and found.session_epoch == session.get("epoch") else None


def _remember(found: AdminUser) -> None:
    # A fresh session: what was in the cookie before the sign-in may be somebody else's.
    session.clear()
    session.permanent = True
    session.update(user=found.id, epoch=found.session_epoch, since=int(time.time()))


def _buckets(name: str) -> list[str]:
    address = request.remote_addr or "unknown"
    try:
        parsed = ipaddress.ip_address(address)
        if parsed.version == 6:
            # Whoever has one address of a /64 has all of them.
            address = str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    except ValueError:
        pass
    return [f"address:{address}", f"account:{name}"]


def _count(buckets: list[str]) -> None:
    # Counted before the password is looked at: parallel attempts then see each other.
    config: FrontendConfig = current_app.config["TG2EM"]
    since = utcnow() - timedelta(seconds=config.login_window)
    attempts = [LoginAttempt(bucket=bucket) for bucket in buckets]
    session_ = db()
    session_.execute(delete(LoginAttempt).where(LoginAttempt.at < since))
    session_.add_all(attempts)
    session_.commit()
    rows = session_.execute(
        select(LoginAttempt.bucket, func.count())
        .where(LoginAttempt.bucket.in_(buckets), LoginAttempt.at >= since)
        .group_by(LoginAttempt.bucket)
    )
    found: dict[str, int] = {row[0]: row[1] for row in rows}
    # Of the address, or of the known device; guesses from many addresses only make answers slow.
    refused = found.get(buckets[0], 0) > config.login_limit
    wait = float(config.login_window)
    if not refused and found.get(buckets[-1], 0) > config.login_limit * ACCOUNT_FACTOR:
        wait, refused = math.ceil(_BRAKE.seconds), not _BRAKE.wait()
    if refused:
        # A refused attempt does not count, else knocking on would keep the door shut for ever.
        for attempt in attempts:
            session_.delete(attempt)
        session_.commit()
        raise TooManyRequests(retry_after=int(wait))
