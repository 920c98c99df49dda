"""Accounts: signing up, in and out, and a new password."""

import ipaddress
import math

from flask import Blueprint, flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import TooManyRequests
from werkzeug.wrappers import Response

from moorage.application import passwords
from moorage.application.errors import problem, wants_json
from moorage.application.links import local_path
from moorage.panel.text import gettext as _
from taifish import db, files, mail
from taifish.names import account_name
from taifish.site import member, site, user

blueprint = Blueprint("auth", __name__)

_SHORTEST = 8
_LONGEST = 1024
# One account may be tried from many addresses at once.
_ACCOUNT_FACTOR = 10


@blueprint.get("/signup")
def signup() -> ResponseReturnValue:
    """Show the form."""
    return render_template("signup.html")


@blueprint.post("/signup")
def sign_up() -> ResponseReturnValue:
    """Make an account and sign in."""
    given, password = request.form.get("username", "").strip(), request.form.get("password", "")
    name, email = account_name(given), request.form.get("email", "").strip()
    if not name:
        wrong = _("A name has 1 to 32 letters or digits, and no spaces.")
    elif not _SHORTEST <= len(password) <= _LONGEST:
        wrong = _("A password has at least 8 characters.")
    elif email and not mail.address(email):
        wrong = _("This is no mail address.")
    else:
        bucket = f"signup:{_address()}"
        if site().limits.count(bucket, 3600) > site().web.signup_limit:
            site().limits.take_back(bucket)
            raise TooManyRequests(retry_after=3600)
        made = _insert(name, given, mail.address(email), password)
        if made:
            files.audit(site().config.data, "sign-up", user=name, address=request.remote_addr)
            return _enter(made, url_for("board.home"))
        wrong = _("This name is taken.")
    flash(wrong, "error")
    return render_template("signup.html", username=given[:64], email=email[:254]), 422


def _insert(name: str, shown: str, email: str, password: str) -> db.Row | None:
    return site().database.row(
        "INSERT INTO users (name, shown, email, password_hash) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING RETURNING *",
        [name, shown, email, passwords.hash_password(password)],
    )


@blueprint.get("/login")
def login() -> ResponseReturnValue:
    """Show the form, or the front page to whoever is signed in already."""
    target = local_path(request.args.get("next", ""))
    return redirect(target) if user() else render_template("login.html", next=target)


@blueprint.post("/login")
def sign_in() -> ResponseReturnValue:
    """Check name and password; 429 when there were too many failures."""
    given, target = request.form.get("username", "")[:64], local_path(request.form.get("next", ""))
    name = account_name(given)
    device = site().devices.known(request, name)
    # A browser that the owner has signed in from is counted by itself: no stranger shuts it out.
    buckets = [f"device:{device}"] if device else [f"address:{_address()}", f"account:{name}"]
    _count(buckets)
    found = site().database.row("SELECT * FROM users WHERE name = %s", [name])
    # An unknown name takes as long as a known one.
    stored = found["password_hash"] if found else passwords.dummy_hash()
    right = passwords.verify(stored, request.form.get("password", "")[:_LONGEST])
    event = "sign-in" if found and right else "sign-in refused"
    files.audit(site().config.data, event, user=name, address=request.remote_addr)
    if found is None or not right:
        flash(_("Wrong name or password."), "error")
        return render_template("login.html", next=target, username=given), 401
    site().limits.forget(*buckets)
    return _enter(found, target)


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    """End the session, with those of this account everywhere: a copied cookie too."""
    found = user()
    if found:
        site().sessions.end(found["id"])
    session.clear()
    return redirect(url_for("board.home"), 303)


@blueprint.get("/account")
def account() -> ResponseReturnValue:
    """Show the form for another password."""
    member()
    return render_template("account.html")


@blueprint.post("/account/password")
def change_password() -> ResponseReturnValue:
    """Change the password: sessions that were opened with the old one end everywhere."""
    found = member()
    new = request.form.get("new_password", "")
    bucket = f"password:{found['id']}"
    _count([bucket])
    if not passwords.verify(found["password_hash"], request.form.get("password", "")[:_LONGEST]):
        flash(_("Wrong name or password."), "error")
        return render_template("account.html"), 401
    if not _SHORTEST <= len(new) <= _LONGEST:
        flash(_("A password has at least 8 characters."), "error")
        return render_template("account.html"), 422
    site().limits.forget(bucket)
    changed = site().database.row(
        "UPDATE users SET password_hash = %s WHERE id = %s RETURNING *",
        [passwords.hash_password(new), found["id"]],
    )
    assert changed is not None
    site().sessions.end(found["id"])
    flash(_("The password is changed. Other devices have to sign in anew."), "success")
    return _enter(changed, url_for("auth.account"))


def ask(_error: Exception) -> ResponseReturnValue:
    """Answer for whoever is not signed in: 401 to programs, the form to people."""
    if wants_json():
        return problem(401, _("Sign in first."))
    target = request.full_path.rstrip("?") if request.method == "GET" else "/"
    return redirect(url_for("auth.login", next=target), 303)


def _enter(found: db.Row, target: str) -> Response:
    # A fresh session: what was in the cookie before may be somebody else's.
    flashes = session.get("_flashes", [])
    session.clear()
    number = site().sessions.open(found["id"], passwords.mark(found["password_hash"]))
    session.permanent = True
    session.update(user=found["id"], sid=number, _flashes=flashes)
    g.user = found
    answer = redirect(target, 303)
    site().devices.remember(request, answer, found["name"])
    return answer


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
