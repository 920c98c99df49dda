"""What requests of the control API say beyond their path. All raise ControlError."""

import re
from collections.abc import Mapping
from typing import cast

from moorage.control.contract import Stream
from moorage.control.wire import Refused, Request, bad_request, parse_object

# Control characters and line separators end a line for somebody, lone surrogates are no text.
_TEXT = re.compile("[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*")


def only(request: Request, method: str) -> None:
    """Refuse every other method, and what this one does not have."""
    if request.method != method:
        raise Refused(
            "method_not_allowed",
            f"here is only {method}",
            status=405,
            headers={"Allow": method},
        )
    if method == "GET" and request.length:
        raise bad_request("GET has no body")


def query_of(request: Request, *known: str) -> Mapping[str, str]:
    """Return the query, which may hold these names."""
    for name in request.query:
        if name not in known:
            raise bad_request(f"there is no parameter {name}")
    return request.query


def number(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """Return a whole number of the query."""
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch("[0-9]{1,15}", text) or not least <= int(text) <= most:
        raise bad_request(f"{name} is a whole number from {least} to {most}")
    return int(text)


def stream_of(query: Mapping[str, str]) -> Stream:
    """Return which of a service's logs is meant."""
    stream = query.get("stream", "stdout")
    if stream not in ("stdout", "stderr", "all"):
        raise bad_request("stream is stdout, stderr or all")
    return cast(Stream, stream)


def who_and_reason(request: Request) -> tuple[str, str]:
    """Return for whom an action is asked for, and why."""
    given = parse_object(request)
    if unknown := sorted(set(given) - {"who", "reason"}):
        raise bad_request(f"the body has who and reason, not {unknown[0][:40]!r}")
    who, reason = given.get("who"), given.get("reason", "")
    for name, value, most in (("who", who, 64), ("reason", reason, 200)):
        if not isinstance(value, str) or len(value) > most or not _TEXT.fullmatch(value):
            raise bad_request(f"{name} is a text of at most {most} characters on one line")
    if not who:
        raise bad_request("who says for whom this is asked")
    return cast(str, who), cast(str, reason)
