"""A service's log: the last lines, as they come, and as a file."""

import time

from flask import Blueprint, Response, jsonify, render_template, request
from flask.typing import ResponseReturnValue

from moorage.common.text import visible
from moorage.control import Stream
from moorage.control.contract import split_time
from moorage.panel.day import day
from moorage.panel.stream import log_events
from moorage.panel.views import Panel, event_stream

# As many as the control API gives.
MAX_LINES = 2000


def add(blueprint: Blueprint, panel: Panel) -> None:
    """Add the routes."""

    @blueprint.get("/<service>/log")
    def log(service: str) -> str:
        status = panel.backend.service(service)
        found = panel.backend.logs(service, stream=_stream(), lines=200, times=True)
        lines = [(at, visible(text)) for at, text in map(split_time, found)]
        return render_template(
            "panel/log.html",
            service=status,
            lines=lines,
            stream=_stream(),
            day=day(panel.backend, service, time.time()),
        )

    @blueprint.get("/<service>/log/tail")
    def tail(service: str) -> Response:
        wanted = min(max(request.args.get("lines", 100, type=int), 1), MAX_LINES)
        return jsonify(lines=_lines(panel, service, wanted))

    @blueprint.get("/<service>/log/download")
    def download(service: str) -> Response:
        name = panel.backend.service(service).name
        lines = panel.backend.logs(service, stream=_stream(), lines=MAX_LINES)
        # A lone surrogate out of a log is no text in UTF-8.
        content = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
        response = Response(content, content_type="text/plain; charset=utf-8")
        response.headers.set(
            "Content-Disposition", "attachment", filename=f"{name}.{_stream()}.log"
        )
        response.headers["Cache-Control"] = "no-store"
        return response

    @blueprint.get("/<service>/log/stream")
    def follow(service: str) -> ResponseReturnValue:
        panel.backend.service(service)
        wanted = min(max(request.args.get("lines", 100, type=int), 0), MAX_LINES)
        stream = _stream()
        return event_stream(
            panel.logs,
            lambda: log_events(
                panel.backend.follow(service, stream=stream, lines=wanted, times=True)
            ),
        )


def _lines(panel: Panel, service: str, lines: int) -> list[str]:
    return [visible(line) for line in panel.backend.logs(service, stream=_stream(), lines=lines)]


def _stream() -> Stream:
    return "stderr" if request.args.get("stream") == "stderr" else "stdout"
