"""Errors as pages for people and as problem documents (RFC 9457) for programs."""

from http import HTTPStatus

from flask import (
    Flask,
    Response,
    current_app,
    g,
    jsonify,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, Unauthorized

from chatbot import db
from moorage.panel.text import gettext as _


def init(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(Unauthorized, _sign_in)
    app.register_error_handler(HTTPException, _http)
    for away in db.Unavailable:
        app.register_error_handler(away, _unavailable)
    app.register_error_handler(Exception, _unexpected)


def wants_json() -> bool:
    """Say whether the request came from a program."""
    if request.path.startswith("/api/"):
        return True
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) != "text/html"


def _answer(status: int, heading: str, detail: str) -> Response:
    if wants_json():
        answer = jsonify(
            type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail
        )
        answer.status_code = status
        answer.content_type = "application/problem+json"
        return answer
    page = render_template("error.html", status=status, heading=heading, detail=detail)
    return Response(page, status, content_type="text/html; charset=utf-8")


def _sign_in(_error: Exception) -> ResponseReturnValue:
    if wants_json():
        return _answer(401, "", _("Send the conversation's token."))
    target = request.full_path.rstrip("?") if request.method == "GET" else ""
    return redirect(url_for("auth.login", next=target), 303)


def _http(error: Exception) -> ResponseReturnValue:
    assert isinstance(error, HTTPException)
    if error.response is not None:
        return error
    status = error.code or 500
    known = {
        404: (_("Nothing here"), _("The page does not exist.")),
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


def _unavailable(error: Exception) -> ResponseReturnValue:
    # Its kind alone: this is expected now and then, and its text may go over pages.
    current_app.logger.error("%s %s: %s", request.method, request.path, type(error).__name__)
    g.failing, g.admin = True, None
    heading = _("The site is not complete right now")
    answer = _answer(503, heading, _("This should pass by itself. Try again in a minute."))
    answer.headers["Retry-After"] = "10"
    return answer


def _unexpected(error: Exception) -> ResponseReturnValue:
    current_app.logger.error("%s %s", request.method, request.path, exc_info=error)
    g.failing, g.admin = True, None
    return _answer(500, _("Something went wrong"), _("It has been noted in the log."))
