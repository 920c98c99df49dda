"""What the panel's views share: their surroundings, and how an answer reads to whom."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from flask import Response, flash, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from moorage.common.text import visible
from moorage.control import ControlBackend, ControlError
from moorage.panel.live import Watcher
from moorage.panel.stream import CONTENT_TYPE, Busy, Slots
from moorage.panel.text import gettext as _


@dataclass(frozen=True)
class Panel:
    """What the views need: the backend, who is asking, and what the application decided."""

    backend: ControlBackend
    current_user: Callable[[], str]
    own_service: str
    logs: Slots
    watchers: Slots
    watcher: Watcher


def wants_json() -> bool:
    """Say whether a program asks."""
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json"


def problem(error: Exception) -> ResponseReturnValue:
    """Answer with the reason that the service gave."""
    assert isinstance(error, ControlError)
    if wants_json():
        # The page's script shows the detail.
        response = jsonify({**error.to_problem(), "detail": visible(error.detail)})
        response.content_type = "application/problem+json"
        return response, error.status
    return render_template("panel/problem.html", problem=error), error.status


def answer(text: str, body: dict[str, Any], status: int) -> ResponseReturnValue:
    """Answer an action: a program with the text and the facts, a person with the page."""
    if wants_json():
        return jsonify(body | {"message": text}), status
    flash(text, "success" if status < 400 else "error")
    return redirect(url_for(".index"), 303)


def event_stream(slots: Slots, content: Callable[[], Iterator[str]]) -> Response:
    """Answer with server-sent events, while there is a slot for it (503)."""
    try:
        release = slots.take()
    except Busy:
        detail = _("Too many pages are being kept up to date at once.")
        raise ControlError("too_many_streams", detail, status=503) from None
    # A proxy that buffers would show everything in lumps.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = Response(content(), content_type=CONTENT_TYPE, headers=headers)
    # Not in the generator: it is never begun for HEAD.
    response.call_on_close(release)
    return response
