"""What programs ask: health for everybody; processes for the administrator, or with the token.

A changing request brings either `Authorization: Bearer TOKEN` or a session with its form's token
(X-CSRF-Token), so that no other site can have a browser send it.
"""

import hmac
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue

from fastblog import __version__, messages
from fastblog.db import Unavailable
from fastblog.ipc import IpcError
from fastblog.posts import line
from fastblog.site import site
from fastblog.updates import Place
from moorage.application.errors import problem
from moorage.control import Action, ControlError
from moorage.panel.presentation import to_json
from moorage.panel.text import gettext as _

blueprint = Blueprint("api", __name__, url_prefix="/api")
_BEGUN = time.time()
_OPEN = "api.health"
# Its name everywhere: what it does to itself is answered before it happens.
OWN_SERVICE = "main_app"


def has_token() -> bool:
    """Say whether the request is for the API and has its token."""
    token = site().config.api_token
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), token.encode())
    return bool(token) and kind.lower() == "bearer" and right and request.path.startswith("/api/")


@blueprint.before_request
def _nobody_else() -> ResponseReturnValue | None:
    if request.endpoint == _OPEN or has_token() or site().gate.user():
        return None
    return problem(401, _("Sign in, or send the token."))


@blueprint.errorhandler(ControlError)
def _refused(error: ControlError) -> Response:
    return problem(error.status, error.detail)


@blueprint.get("/health")
def health() -> tuple[Response, int]:
    """Return 200 while the database answers, else 503."""
    try:
        site().database.rows("SELECT 1 FROM posts LIMIT 1")
    except Unavailable:
        return jsonify(status="failing", version=__version__, database="unreachable"), 503
    return jsonify(status="ok", version=__version__, database="ok"), 200


@blueprint.get("/processes")
def processes() -> Response:
    """Return all processes, by name."""
    return jsonify(processes=[to_json(found) for found in site().control.services()])


@blueprint.get("/process/<name>")
def process(name: str) -> Response:
    """Return one of them."""
    return jsonify(to_json(site().control.service(name)))


def _act(name: str, action: Action) -> ResponseReturnValue:
    who = site().gate.user() or "api"
    given = request.get_json(silent=True)
    reason = line(str(given.get("reason", "")) if isinstance(given, dict) else "", 200)
    control = site().control
    if name == OWN_SERVICE and action != "start":
        before = to_json(control.service(name))

        def later() -> None:
            with suppress(ControlError):
                control.perform(action, name, who=who, reason=reason)

        timer = threading.Timer(0.3, later)
        # It waits for what is our own end: that must not wait for it in turn.
        timer.daemon = True
        timer.start()
        return jsonify(before), 202
    return jsonify(to_json(control.perform(action, name, who=who, reason=reason)))


@blueprint.post("/process/<name>/start")
def start(name: str) -> ResponseReturnValue:
    """Start a process."""
    return _act(name, "start")


@blueprint.post("/process/<name>/stop")
def stop(name: str) -> ResponseReturnValue:
    """Stop a process; it stays so."""
    return _act(name, "stop")


@blueprint.post("/process/<name>/restart")
def restart(name: str) -> ResponseReturnValue:
    """Stop it if it runs, and start it."""
    return _act(name, "restart")


@blueprint.get("/system/status")
def system() -> Response:
    """Return what there is of everything, and why something of it is not known."""
    try:
        services: object = {found.name: found.state for found in site().control.services()}
    except ControlError as error:
        services = {"problem": error.detail}
    counts = site().database.row(
        "SELECT (SELECT count(*) FROM posts WHERE published = 1) AS posts,"
        " (SELECT count(*) FROM posts WHERE published = 0) AS drafts,"
        " (SELECT count(*) FROM comments WHERE state = 'shown') AS comments,"
        " (SELECT count(*) FROM comments WHERE state = 'waiting') AS waiting"
    )
    try:
        connected: object = messages.ask("ipc_server", "status")
    except IpcError as error:
        connected = {"problem": str(error)}
    place = Place.from_environment(os.environ)
    return jsonify(
        version=__version__,
        uptime_seconds=round(time.time() - _BEGUN),
        load=os.getloadavg(),
        database_bytes=Path(site().database.path).stat().st_size,
        processes=services,
        messages=connected,
        updates={**place.noted("state"), "running": place.running()},
        **dict(counts or {}),
    )
