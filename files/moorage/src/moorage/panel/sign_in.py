"""Signing in and out of a site with a file of passwords, which one process serves."""

import ipaddress
import logging
import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response, flash, g, redirect, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
from flask.typing import ResponseReturnValue

from moorage.control import ControlError
from moorage.panel.accounts import Accounts, EndedSessions, Limiter
from moorage.panel.devices import Brake, Devices
from moorage.panel.text import gettext as _
from moorage.panel.views import problem, wants_json

SESSION_SECONDS = 12 * 3600
# One account may be tried from many addresses at once.
ACCOUNT_FACTOR = 10
_log = logging.getLogger("moorage.panel")


@dataclass(frozen=True)
class SignInSettings:
    """What cookies are signed with, and how often somebody may guess. Times in seconds."""

    session_key: bytes
    ended_sessions_file: Path | None = None
    login_limit: int = 5
    login_window: float = 900.0


class Sessions(SecureCookieSessionInterface):
    """Marks the cookie secure whenever the visitor came by HTTPS."""

    def get_cookie_secure(self, app: Flask) -> bool:
        """Say whether browsers may send the cookie by HTTPS only."""
        return request.is_secure


class SignIn:
    """Signing in and out."""

    def __init__(
        self,
        accounts: Accounts,
        settings: SignInSettings,
        name: str,
        form: Callable[[str, str], str],
        home: Callable[[], str],
    ) -> None:
        """Keep limits in memory: one process serves the site.

        `name` begins those of its cookies. `form` gives the page for an address to go to afterwards
        and a name typed before; `home` is where to go otherwise.
        """
        self._accounts, self._form, self._home = accounts, form, home
        self._ended = EndedSessions(settings.ended_sessions_file, SESSION_SECONDS)
        self._devices = Devices(settings.session_key, f"{name}_device")
        self._known = Limiter(settings.login_limit, settings.login_window)
        self._brake = Brake()
        limit, window = settings.login_limit, settings.login_window
        self._addresses = Limiter(limit, window)
        self._names = Limiter(limit * ACCOUNT_FACTOR, window)

    def add_routes(self, app: Flask) -> None:
        """Add `/sign-in` and `/sign-out`."""
        app.add_url_rule("/sign-in", "sign_in", self.form)
        app.add_url_rule("/sign-in", "check", self.check, methods=["POST"])
        app.add_url_rule("/sign-out", "sign_out", self.leave, methods=["POST"])

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
        """Show the form, or where they wanted to go to whoever is signed in already."""
        target = self.local(request.args)
        return redirect(target) if self.user() else self._form(target, "")

    def check(self) -> ResponseReturnValue:
        """Check name and password; 429 when there were too many attempts."""
        name, address = request.form.get("username", "").strip()[:64], caller()
        device = self._devices.known(request, name)
        wait = self._take(name, address, device)
        if wait:
            _log.warning("sign-in from %s: too many attempts", address)
            flash(_("Too many attempts. Wait a while and try again."), "error")
            answer = Response(self._form(self.local(request.form), name), 429)
            answer.headers["Retry-After"] = str(math.ceil(wait))
            return answer
        if not self._accounts.verify(name, request.form.get("password", "")):
            _log.warning("sign-in from %s as %r: wrong name or password", address, name)
            flash(_("Wrong name or password."), "error")
            return self._form(self.local(request.form), name), 401
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
        led = redirect(self.local(request.form), 303)
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

    def local(self, given: Mapping[str, str]) -> str:
        """Return the path `next` of arguments or a form, or where to go otherwise.

        Never anything that a browser could take for another site's address.
        """
        target = given.get("next", "")
        sound = target.startswith("/") and target[1:2] not in ("/", "\\") and target.isprintable()
        return target if sound else self._home()


def caller() -> str:
    """Return what this request is counted by: its address, and an IPv6 one as its network."""
    address = request.remote_addr or "unknown"
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6:
        # Whoever has one address of a /64 has all of them.
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return address
