"""Errors as pages for people and as problem documents (RFC 9457) for programs."""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus

from flask import Flask, Response, current_app, g, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from moorage.panel.text import gettext as _

Texts = Mapping[int, tuple[str, str]]


def init(app: Flask, away: Iterable[type[Exception]], texts: Callable[[], Texts] = dict) -> None:
    """Register the handlers.

    `away` are the exceptions by which what the application stands on does not answer. `texts` gives
    heading and sentence by status, in the reader's language, where the application has its own. The
    page is its template error.html; `g.failing` says that it must not ask the database again.
    """

    def known(error: Exception) -> ResponseReturnValue:
        assert isinstance(error, HTTPException)
        return error if error.response is not None else _http(error, texts())

    app.register_error_handler(HTTPException, known)
    for kind in away:
        app.register_error_handler(kind, _unavailable)
    app.register_error_handler(Exception, _unexpected)


def problem(status: int, detail: str) -> Response:
    """Return a problem document."""
    response = jsonify(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.path,
    )
    response.status_code = status
    response.content_type = "application/problem+json"
    return response


def wants_json() -> bool:
    """Say whether the request came from a program."""
    if request.path.startswith("/api/"):
        return True
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) != "text/html"


def _answer(status: int, heading: str, detail: str) -> Response:
    if wants_json():
        return problem(status, detail)
    page = render_template("error.html", status=status, heading=heading, detail=detail)
    return Response(page, status, content_type="text/html; charset=utf-8")


def _http(error: HTTPException, texts: Texts) -> Response:
    status = error.code or 500
    known = {
        404: (_("Nothing here"), _("The page does not exist.")),
        413: (_("Too large"), _("The request is larger than this site accepts.")),
        429: (_("Too many attempts"), _("Wait a while and try again.")),
        **texts,
    }
    heading, detail = known.get(status, (HTTPStatus(status).phrase, error.description or ""))
    if error.description == "csrf":
        heading = _("This form has expired")
        detail = _("Go back, reload the page and send it again.")
    answer = _answer(status, heading, detail)
    answer.headers.extend(h for h in error.get_headers() if h[0] in ("Allow", "Retry-After"))
    return answer


def _unavailable(error: Exception) -> ResponseReturnValue:
    # Expected now and then, and its text may go over pages: the first line says what is away.
    said = str(error).partition("\n")[0]
    where = f"{request.method} {request.path}"
    current_app.logger.error("%s: %s: %s", where, type(error).__name__, said)
    g.failing = True
    heading = _("The site is not complete right now")
    answer = _answer(503, heading, _("This should pass by itself. Try again in a minute."))
    answer.headers["Retry-After"] = "10"
    return answer


def _unexpected(error: Exception) -> ResponseReturnValue:
    current_app.logger.error("%s %s", request.method, request.path, exc_info=error)
    g.failing = True
    return _answer(500, _("Something went wrong"), _("It has been noted in the log."))
