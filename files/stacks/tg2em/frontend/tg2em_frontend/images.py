"""Pictures by way of the front end, for deployments whose image service has no address of its own.

Only GET /d/ID is passed on, with the headers that make caching and ranges work.
"""

import http.client
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, request

from tg2em_frontend.store import settings

blueprint = Blueprint("images", __name__)

TIMEOUT = 10.0
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_ASKED = ("Range", "If-None-Match", "If-Modified-Since", "If-Range")
_GIVEN = (
    "Content-Type",
    "Content-Length",
    "Content-Range",
    "Accept-Ranges",
    "ETag",
    "Last-Modified",
    "Cache-Control",
)


@blueprint.get("/d/<picture>")
def show(picture: str) -> Response:
    """Pass a picture on; 502 when the image service does not answer."""
    if not _ID.fullmatch(picture):
        abort(404)
    headers = {name: request.headers[name] for name in _ASKED if name in request.headers}
    try:
        connection, answer = _ask(f"/d/{picture}", headers)
    except (OSError, http.client.HTTPException):
        try:
            # Once more: an instance that was just being replaced is not asked again.
            connection, answer = _ask(f"/d/{picture}", headers)
        except (OSError, http.client.HTTPException):
            abort(502)
    if answer.status not in (200, 206, 304, 416):
        connection.close()
        abort(404 if answer.status == 404 else 502)
    passed = {name: value for name in _GIVEN if (value := answer.headers.get(name))}
    # Whatever was uploaded: as a document of this site it may run nothing.
    passed["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return Response(_body(connection, answer), answer.status, passed, direct_passthrough=True)


def _ask(
    path: str, headers: dict[str, str]
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    parts = urlsplit(settings().tgstate_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT)
    try:
        connection.request("GET", parts.path + path, headers=headers)
        return connection, connection.getresponse()
    except BaseException:
        connection.close()
        raise


def _body(
    connection: http.client.HTTPConnection, answer: http.client.HTTPResponse
) -> Iterator[bytes]:
    try:
        while chunk := answer.read(65536):
            yield chunk
    finally:
        connection.close()
