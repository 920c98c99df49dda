"""Errors as pages for people and as problem documents (RFC 9457) for programs."""

from http import HTTPStatus

from flask import Flask, Response, current_app, g, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from moorage.panel.text import gettext as _


def init(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(OperationalError, _database)
    app.register_error_handler(PoolTimeout, _database)
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


def _http(error: Exception) -> ResponseReturnValue:
    assert isinstance(error, HTTPException)
    if error.response is not None:
        return error
    status = error.code or 500
    known = {
        400: (_("This request could not be understood"), _("Go back and try again.")),
        404: (_("Nothing here"), _("The page does not exist, or its article was deleted.")),
        405: (_("Not possible"), _("This address does not take that kind of request.")),
        413: (_("Too large"), _("The request is larger than this site accepts.")),
        429: (_("Too many attempts"), _("Wait a while and try again.")),
    }
    heading, detail = known.get(status, (HTTPStatus(status).phrase, error.description or ""))
    if error.description == "csrf":
        heading = _("This form has expired")
        detail = _("Go back, reload the page and send it again.")
    answer = _answer(status, heading, detail)
    answer.headers.extend(h for h in error.get_headers() if h[0] in ("Allow", "Retry-After"))
    return answer


def _database(error: Exception) -> ResponseReturnValue:
    _log(error)
    heading = _("The database does not answer")
    return _answer(503, heading, _("This should pass by itself. Try again in a minute."))


def _unexpected(error: Exception) -> ResponseReturnValue:
    _log(error)
    return _answer(500, _("Something went wrong"), _("It has been noted in the log."))


def _log(error: Exception) -> None:
    # The page about it must not ask the database again.
    g.failing = True
    current_app.logger.error("%s %s", request.method, request.path, exc_info=error)
