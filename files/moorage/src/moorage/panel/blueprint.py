"""The panel's pages and its JSON: the truth from the control API, or why it is not known.

Routes, below the prefix that the application chooses (tg2em: /admin/services):
`/`, `/status`, `/live` (server-sent events), `/events`, `/<service>/status`,
`/<service>/{start,stop,restart}` and, for all at once, `/-/{start,stop,restart}` (GET asks, POST
does it), `/<service>/log`, `/<service>/log/{tail,download}`, `/<service>/log/stream`.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import flask_babel
from flask import Blueprint, Flask, Response, current_app, jsonify, render_template, request
from flask.typing import ResponseReturnValue

from moorage.common.text import visible
from moorage.control import Backups, ControlBackend, ControlError, KnowsBackups
from moorage.control.contract import dependencies_of
from moorage.panel import actions, logs, presentation, trail
from moorage.panel.live import Snapshot, Watcher, status_events
from moorage.panel.stream import Slots
from moorage.panel.views import Panel, event_stream, problem, wants_json
from process_supervisor.common.graph import Node, tree

_MOST_EVENTS = 500


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
    the one that serves the panel: stopping or restarting that is answered before it happens. There
    are at most `max_streams` followed logs and as many live pages, each with a thread of its own.
    """
    blueprint = Blueprint(name, __name__, template_folder="templates", static_folder="static")
    panel = Panel(
        backend,
        current_user,
        own_service,
        Slots(max_streams),
        Slots(max_streams),
        Watcher(backend),
    )

    @blueprint.before_request
    def guard() -> ResponseReturnValue | None:
        # The application's own pages use the panel's style before anybody has signed in.
        return None if request.endpoint == f"{name}.static" else authorize()

    def words() -> dict[str, object]:
        return {
            "panel_layout": layout,
            "panel_name": name,
            "own_service": own_service,
            "panel_user": current_user,
        }

    blueprint.record_once(lambda state: presentation.register(cast(Flask, state.app)))
    blueprint.app_context_processor(words)
    blueprint.register_error_handler(ControlError, problem)
    _add_pages(blueprint, panel)
    _add_events(blueprint, panel)
    actions.add(blueprint, panel)
    logs.add(blueprint, panel)
    return blueprint


def snapshot(backend: ControlBackend) -> dict[str, Any]:
    """Return what a page shows: the services, or why they are not known."""
    try:
        return {"services": backend.services(), "problem": None}
    except ControlError as error:
        return {"services": [], "problem": error}


def _backups(backend: ControlBackend) -> list[tuple[str, str]]:
    """Return what is to be said of backups; why nothing is known the services say."""
    try:
        found = backend.backups() if isinstance(backend, KnowsBackups) else Backups()
    except ControlError:
        return []
    return presentation.backup_lines(found, time.time())


def _dependencies(backend: ControlBackend) -> list[Node]:
    """Return the tree, nothing where there is none; why nothing is known the services say."""
    try:
        found = dependencies_of(backend)
    except ControlError:
        return []
    return tree(found) if any(found.values()) else []


def _add_pages(blueprint: Blueprint, panel: Panel) -> None:
    @blueprint.get("/")
    def index() -> str:
        found = snapshot(panel.backend)
        return render_template(
            "panel/services.html",
            backups=_backups(panel.backend),
            dependencies=_dependencies(panel.backend),
            by_name={service.name: service for service in found["services"]},
            **found,
        )

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

    @blueprint.get("/live")
    def live() -> ResponseReturnValue:
        language = str(flask_babel.get_locale())
        return event_stream(panel.watchers, lambda: _live(panel, language))


def _live(panel: Panel, language: str) -> Iterator[str]:
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]

    def render(found: Snapshot) -> dict[str, Any]:
        # The request's own context would keep what belongs to it, such as a database connection.
        with app.app_context(), flask_babel.force_locale(language):
            return {
                "services": [presentation.to_json(s) for s in found.services],
                "problem": visible(found.problem.detail) if found.problem else None,
                "event": found.event,
            }

    def events() -> Iterator[str]:
        number, unsubscribe = panel.watcher.subscribe()
        try:
            yield from status_events(panel.watcher, render, number)
        finally:
            unsubscribe()

    return events()


def _add_events(blueprint: Blueprint, panel: Panel) -> None:
    @blueprint.get("/events")
    def events() -> ResponseReturnValue:
        since = request.args.get("since", 0, type=int)
        service = request.args.get("service", "")
        requested = request.args.get("only") == "requests"
        found = panel.backend.events(since=since, limit=_MOST_EVENTS)
        shown = trail.chosen(trail.entries(found), service=service, requested_only=requested)
        shown.reverse()
        rows = {"entries": shown, "last": found[-1].sequence if found else since}
        if wants_json():
            html = render_template("panel/_events.html", **rows)
            body = [presentation.entry_to_json(entry) for entry in reversed(shown)]
            return jsonify(events=body, html=html, last=rows["last"])
        names = {event.service for event in found if event.service}
        names |= {s.name for s in snapshot(panel.backend)["services"]}
        return render_template(
            "panel/events.html", names=sorted(names), chosen=service, requested=requested, **rows
        )
