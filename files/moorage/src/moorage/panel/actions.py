"""Start, stop and restart: one service or all of them, each after a question."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import flask_babel
from flask import (
    Blueprint,
    Flask,
    current_app,
    flash,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue

from moorage.control import ACTIONS, Action, ControlError, ServiceStatus, State
from moorage.control.contract import PATIENCE_SECONDS
from moorage.panel import presentation
from moorage.panel.text import gettext as _
from moorage.panel.views import Panel, answer, wants_json

# What the control API takes.
MAX_REASON = 200
_LOOK_SECONDS = 0.5
_log = logging.getLogger("moorage.panel")


def add(blueprint: Blueprint, panel: Panel) -> None:
    """Add the routes."""
    busy = threading.Lock()
    # Three routes rather than a variable: another word is then no route at all.
    for action in ACTIONS:

        def one(service: str, action: Action = action) -> ResponseReturnValue:
            if request.method != "POST":
                return _ask(panel, action, panel.backend.service(service))
            return _act(panel, service, action)

        def every(action: Action = action) -> ResponseReturnValue:
            if request.method != "POST":
                return _ask(panel, action, None)
            if not busy.acquire(blocking=False):
                detail = _("All services are being started or stopped already.")
                raise ControlError("conflict", detail)
            return _act_on_all(panel, action, busy.release)

        methods = ["GET", "POST"]
        blueprint.add_url_rule(f"/<service>/{action}", f"{action}", one, methods=methods)
        # No service has such a name.
        blueprint.add_url_rule(f"/-/{action}", f"{action}_all", every, methods=methods)


def targets(
    action: Action, services: Sequence[ServiceStatus], own_service: str
) -> list[ServiceStatus]:
    """Return what an action on all is about, in the order in which it is done.

    One-offs that are done stay so. The service that shows the page is never stopped, as nothing
    here could start it again, and is restarted last.
    """
    if action == "start":
        down = (State.STOPPED, State.FATAL, State.EXITED)
        return [s for s in services if s.state in down and not presentation.completed(s)]
    up = [s for s in services if s.running or s.state is State.BACKOFF]
    if action == "stop":
        return [s for s in reversed(up) if s.name != own_service]
    return sorted(up, key=lambda s: s.name == own_service)


def _ask(panel: Panel, action: Action, service: ServiceStatus | None) -> str:
    name = service.name if service else ""
    return render_template(
        "panel/confirm.html",
        action=action,
        name=name,
        question=presentation.question(action, name, own=name == panel.own_service),
        target=request.path,
    )


def _reason() -> str:
    # One line of text, as the control API wants it.
    words = "".join(c if c.isprintable() else " " for c in request.form.get("reason", ""))
    return " ".join(words.split())[:MAX_REASON]


def _act(panel: Panel, service: str, action: Action) -> ResponseReturnValue:
    who, reason = panel.current_user(), _reason()
    if service == panel.own_service and action != "start":
        panel.backend.service(service)
        _later(lambda: _perform(panel, action, service, who, reason))
        return answer(_own(action), {}, 202)
    try:
        after = _perform(panel, action, service, who, reason)
    except ControlError as error:
        if wants_json():
            raise
        flash(presentation.refusal(action, service, error), "error")
        return redirect(url_for(".index"), 303)
    return answer(presentation.outcome(action, after), presentation.to_json(after), 200)


@dataclass
class _Round:
    """An action on all: one service after the other, whether or not somebody still waits."""

    panel: Panel
    action: Action
    who: str
    reason: str
    found: Sequence[ServiceStatus]
    results: list[dict[str, object]] = field(default_factory=list)
    failed: int = 0

    def run(self) -> None:
        """Go through them; each has ended before the next one's turn."""
        for service in targets(self.action, self.found, self.panel.own_service):
            ok, text = self._one(service.name)
            self.results.append({"service": service.name, "ok": ok, "message": text})

    def _one(self, name: str) -> tuple[bool, str]:
        panel, action = self.panel, self.action
        if name == panel.own_service and action != "start":
            _later(lambda: _perform(panel, action, name, self.who, self.reason))
            return True, _own(action)
        try:
            after = _perform(panel, action, name, self.who, self.reason)
            while after.state is State.STOPPING:
                time.sleep(_LOOK_SECONDS)
                after = panel.backend.service(name)
        except ControlError as error:
            self.failed = self.failed or error.status
            return False, presentation.refusal(action, name, error)
        return True, presentation.outcome(action, after)


def _act_on_all(panel: Panel, action: Action, end: Callable[[], None]) -> ResponseReturnValue:
    try:
        found = panel.backend.services()
        whole = _Round(panel, action, panel.current_user(), _reason(), found)
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        language, ended = str(flask_babel.get_locale()), threading.Event()
    except BaseException:
        end()
        raise

    def run() -> None:
        try:
            with app.app_context(), flask_babel.force_locale(language):
                whole.run()
        finally:
            end()
            ended.set()

    threading.Thread(target=run, name="panel-all", daemon=True).start()
    done = ended.wait(PATIENCE_SECONDS)
    results = list(whole.results)
    lines = [str(result["message"]) for result in results]
    if not done:
        lines.append(_("The others follow, each when the one before it has ended."))
    elif not lines:
        lines.append(_("There was nothing to do."))
    if action == "stop" and any(s.name == panel.own_service and s.running for s in found):
        lines.append(_("%(name)s shows this page and goes on.", name=panel.own_service))
    return answer("\n".join(lines), {"results": results}, whole.failed or (200 if done else 202))


def _perform(panel: Panel, action: Action, name: str, who: str, reason: str) -> ServiceStatus:
    try:
        after = panel.backend.perform(action, name, who=who, reason=reason)
    except ControlError as error:
        _log.warning("%s: %s %s: refused or failed: %s", who, action, name, error.detail)
        raise
    finally:
        panel.watcher.poke()
    _log.info("%s: %s %s: %s", who, action, name, after.state)
    return after


def _own(action: Action) -> str:
    if action == "stop":
        return _("The service that shows this page is being stopped.")
    return _("The service that shows this page will be back in a moment.")


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
