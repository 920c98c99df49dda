"""The panel's pages and its JSON: the truth from the control API, or why it is not known.

Routes, below the prefix that the application chooses (tg2em: /admin/services):
`/` and `/status`, `/<service>/status`, `POST /<service>/{start,stop,restart}`,
`/<service>/log`, `/<service>/log/tail`, `/<service>/log/stream` (server-sent events), `/events`.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from flask import (
    Blueprint,
    Flask,
    Response,
    flash,
    jsonify,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue

from moorage.control import ACTIONS, Action, ControlBackend, ControlError, Stream
from moorage.panel import presentation
from moorage.panel.stream import CONTENT_TYPE, Busy, Slots, log_events
from moorage.panel.text import gettext as _

MAX_LINES = 2000


@dataclass(frozen=True)
class Panel:
    """What the views need: the backend, who is asking, and what the application decided."""

    backend: ControlBackend
    current_user: Callable[[], str]
    own_service: str
    layout: str
    slots: Slots
    later: Callable[[Callable[[], object]], None]


def create_blueprint(
    backend: ControlBackend,
    *,
    authorize: Callable[[], ResponseReturnValue | None],
    current_user: Callable[[], str],
    own_service: str = "",
    layout: str = "panel/layout.html",
    name: str = "panel",
    max_streams: int = 4,
) -> Blueprint:
    """Return the panel.

    `authorize` runs before each request and answers it when it is not to be served; changing
    requests must already have been checked against forgery (moorage.panel.csrf). `own_service` is
    the one that serves the panel: stopping or restarting that is answered before it happens.
    """
    blueprint = Blueprint(name, __name__, template_folder="templates", static_folder="static")
    panel = Panel(backend, current_user, own_service, layout, Slots(max_streams), _later)

    @blueprint.before_request
    def guard() -> ResponseReturnValue | None:
        # The application's own pages use the panel's style before anybody has signed in.
        return None if request.endpoint == f"{name}.static" else authorize()

    blueprint.record_once(lambda state: presentation.register(cast(Flask, state.app)))
    blueprint.app_context_processor(
        lambda: {"panel_layout": layout, "panel_name": name, "own_service": own_service}
    )
    blueprint.register_error_handler(ControlError, _problem)
    _add_pages(blueprint, panel)
    _add_actions(blueprint, panel)
    _add_logs(blueprint, panel)
    return blueprint


def snapshot(backend: ControlBackend) -> dict[str, Any]:
    """Return what a page shows: the services, or why they are not known."""
    try:
        return {"services": backend.services(), "problem": None}
    except ControlError as error:
        return {"services": [], "problem": error}


def _problem(error: Exception) -> ResponseReturnValue:
    assert isinstance(error, ControlError)
    if _wants_json():
        response = jsonify(error.to_problem())
        response.content_type = "application/problem+json"
        return response, error.status
    return render_template("panel/problem.html", problem=error), error.status


def _wants_json() -> bool:
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json"


def _add_pages(blueprint: Blueprint, panel: Panel) -> None:
    @blueprint.get("/")
    def index() -> str:
        return render_template("panel/services.html", **snapshot(panel.backend))

    @blueprint.get("/status")
    def statuses() -> Response:
        services = panel.backend.services()
        return jsonify(
            services=[presentation.to_json(s) for s in services],
            html=render_template("panel/_services.html", services=services, problem=None),
        )

    @blueprint.get("/<service>/status")
    def status(service: str) -> Response:
        return jsonify(presentation.to_json(panel.backend.service(service)))

    @blueprint.get("/events")
    def events() -> ResponseReturnValue:
        since = request.args.get("since", 0, type=int)
        found = panel.backend.events(since=since, limit=200)
        if _wants_json():
            return jsonify(events=[e.to_dict() for e in found])
        return render_template("panel/events.html", events=list(reversed(found)))


def _add_actions(blueprint: Blueprint, panel: Panel) -> None:
    # Three routes rather than a variable: another word is then no route at all.
    for action in ACTIONS:

        def act(service: str, action: Action = action) -> ResponseReturnValue:
            return _act(panel, service, action)

        blueprint.add_url_rule(f"/<service>/{action}", f"{action}", act, methods=["POST"])


def _act(panel: Panel, service: str, action: Action) -> ResponseReturnValue:
    who = panel.current_user()
    reason = request.form.get("reason", "")[:200]
    if service == panel.own_service and action != "start":
        panel.backend.service(service)
        panel.later(lambda: panel.backend.perform(action, service, who=who, reason=reason))
        return _answer(_("The service that shows this page will be back in a moment."), {}, 202)
    try:
        after = panel.backend.perform(action, service, who=who, reason=reason)
    except ControlError as error:
        if _wants_json():
            raise
        flash(presentation.refusal(action, service, error), "error")
        return redirect(url_for(".index"), 303)
    return _answer(presentation.outcome(action, after), presentation.to_json(after), 200)


def _answer(text: str, body: dict[str, Any], status: int) -> ResponseReturnValue:
    if _wants_json():
        return jsonify(body | {"message": text}), status
    flash(text, "success")
    return redirect(url_for(".index"), 303)


def _later(action: Callable[[], object]) -> None:
    # The server drains before it ends, so the answer has left by then; nobody waits for the result.
    def run() -> None:
        try:
            action()
        except ControlError:
            return

    timer = threading.Timer(0.2, run)
    # It waits for the outcome, which is our own end: that must not wait for it in turn.
    timer.daemon = True
    timer.start()


def _add_logs(blueprint: Blueprint, panel: Panel) -> None:
    @blueprint.get("/<service>/log")
    def log(service: str) -> str:
        status = panel.backend.service(service)
        lines = panel.backend.logs(service, stream=_stream(), lines=200)
        return render_template("panel/log.html", service=status, lines=lines, stream=_stream())

    @blueprint.get("/<service>/log/tail")
    def tail(service: str) -> Response:
        wanted = min(max(request.args.get("lines", 100, type=int), 1), MAX_LINES)
        return jsonify(lines=panel.backend.logs(service, stream=_stream(), lines=wanted))

    @blueprint.get("/<service>/log/stream")
    def follow(service: str) -> ResponseReturnValue:
        panel.backend.service(service)
        wanted = min(max(request.args.get("lines", 100, type=int), 0), MAX_LINES)
        followed = panel.backend.follow(service, stream=_stream(), lines=wanted)
        try:
            release = panel.slots.take()
        except Busy:
            detail = _("Too many logs are being read at once.")
            raise ControlError("too_many_streams", detail, status=503) from None
        # A proxy that buffers would show the log in lumps.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = Response(log_events(followed), content_type=CONTENT_TYPE, headers=headers)
        # Not in the generator: it is never begun for HEAD.
        response.call_on_close(release)
        return response


def _stream() -> Stream:
    return "stderr" if request.args.get("stream") == "stderr" else "stdout"
