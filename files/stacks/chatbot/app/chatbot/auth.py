"""The administrator's signing in and out."""

import math

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import TooManyRequests

from chatbot.limits import origin
from chatbot.site import admin, enter, leave, site
from moorage.application import passwords
from moorage.application.errors import problem, wants_json
from moorage.application.links import local_path
from moorage.panel.devices import account_name
from moorage.panel.text import gettext as _

blueprint = Blueprint("auth", __name__)

_LONGEST = 1024
# One account may be tried from many addresses at once.
_ACCOUNT_FACTOR = 10


@blueprint.get("/login")
def login() -> ResponseReturnValue:
    """Show the form, or the administration to whoever is signed in already."""
    target = local_path(request.args.get("next", ""), url_for("admin.dashboard"))
    return redirect(target) if admin() else render_template("login.html", next=target)


@blueprint.post("/login")
def sign_in() -> ResponseReturnValue:
    """Check name and password; 429 when there were too many failures."""
    given = request.form.get("username", "")[:64]
    target = local_path(request.form.get("next", ""), url_for("admin.dashboard"))
    name = account_name(given)
    device = site().devices.known(request, name)
    address = origin(request.remote_addr)
    # A browser that the owner has signed in from is counted by itself: no stranger shuts it out.
    buckets = [f"device:{device}"] if device else [f"login:{address}", f"account:{name}"]
    _count(buckets)
    found = site().database.row("SELECT * FROM admins WHERE name = %s", [name])
    # An unknown name takes as long as a known one.
    stored = found["password_hash"] if found else passwords.dummy_hash()
    right = passwords.verify(stored, request.form.get("password", "")[:_LONGEST])
    event = "sign-in" if found and right else "sign-in refused"
    current_app.logger.warning("%s: %r from %s", event, name, request.remote_addr)
    if found is None or not right:
        flash(_("Wrong name or password."), "error")
        return render_template("login.html", next=target, username=given), 401
    site().limits.forget(*buckets)
    enter(found)
    answer = redirect(target, 303)
    site().devices.remember(request, answer, found["name"])
    return answer


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    """End the session, with all others of this administrator."""
    if found := admin():
        leave(found)
    return redirect(url_for("chat.page"), 303)


def ask(_error: Exception) -> ResponseReturnValue:
    """Answer for whoever is not signed in: 401 to programs, the form to people."""
    if wants_json():
        return problem(401, _("Send the conversation's token."))
    target = request.full_path.rstrip("?") if request.method == "GET" else ""
    return redirect(url_for("auth.login", next=target), 303)


def _count(buckets: list[str]) -> None:
    # Counted before the password is looked at: attempts side by side then see each other.
    limits, window = site().limits, site().web.login_window
    counts = [limits.count(bucket, window) for bucket in buckets]
    # Of the address, or of the known device; guesses from many addresses only make answers slow.
    refused, wait = counts[0] > site().web.login_limit, window
    if not refused and counts[-1] > site().web.login_limit * _ACCOUNT_FACTOR:
        refused, wait = not site().brake.wait(), math.ceil(site().brake.seconds)
    if refused:
        for bucket in buckets:
            limits.take_back(bucket)
        raise TooManyRequests(retry_after=wait)
