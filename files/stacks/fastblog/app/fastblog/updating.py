"""The administrator's page of updates: what there is, a look for more, and starting the updater."""

import os

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from fastblog import __version__, messages
from fastblog.ipc import IpcError
from fastblog.site import site
from fastblog.updates import Place
from moorage.control import ControlError
from moorage.panel.text import gettext as _

blueprint = Blueprint("updating", __name__, url_prefix="/admin/updates")


@blueprint.before_request
def _nobody_else() -> ResponseReturnValue | None:
    return site().gate.require()


@blueprint.get("")
def show() -> str:
    """Show versions, what the updater did last, and who is connected to the message server."""
    place = Place.from_environment(os.environ)
    try:
        connected, problem = messages.ask("ipc_server", "status"), ""
    except IpcError as error:
        connected, problem = None, str(error)
    return render_template(
        "updates.html",
        version=__version__,
        state=place.noted("state"),
        updater=place.noted("updater"),
        messages=connected,
        problem=problem,
    )


@blueprint.post("/check")
def check() -> ResponseReturnValue:
    """Have the update server look now."""
    try:
        found = messages.ask("update_server", "check")
        flash(found.get("problem") or _("Looked for updates."), "success")
    except IpcError as error:
        flash(_("Not possible: %(why)s", why=str(error)), "error")
    return redirect(url_for("updating.show"), 303)


@blueprint.post("/try")
def try_it() -> ResponseReturnValue:
    """Start the updater, which installs nothing."""
    return _start(_("tries the newest version"), dry_run=True)


@blueprint.post("/install")
def install() -> ResponseReturnValue:
    """Start the updater."""
    return _start(_("installs the newest version"), dry_run=False)


def _start(what: str, *, dry_run: bool) -> ResponseReturnValue:
    place = Place.from_environment(os.environ)
    place.note("wish", {"dry_run": dry_run})
    try:
        who = site().gate.user()
        site().control.perform("start", "updater", who=who, reason=f"update, {dry_run=}")
        flash(_("The updater was started: %(what)s", what=what), "success")
    except ControlError as error:
        # Whoever starts it later by other means asks for something else.
        (place.data / "wish.json").unlink(missing_ok=True)
        flash(_("Not possible: %(why)s", why=error.detail), "error")
    return redirect(url_for("updating.show"), 303)
