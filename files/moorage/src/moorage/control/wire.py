"""HTTP/1.1 as the control API speaks it: one small request a connection, or a refusal.

Stricter than RFC 9112 asks for, since every known client is ours or follows it: what two readers
could understand differently (bare line feeds, folded headers, repeated or mixed lengths, percent
signs in a path) is refused and never guessed at.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from moorage.control.contract import ControlError

MAX_HEAD = 8192
MAX_TARGET = 1024
MAX_HEADERS = 32
MAX_BODY = 8192
HEAD_END = b"\r\n\r\n"

_METHOD = re.compile(r"[A-Z]{1,16}")
_PATH = re.compile(r"(/[A-Za-z0-9_.~-]+)+")
_PAIR = re.compile(r"([a-z_]{1,32})=([A-Za-z0-9_.-]{0,64})")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_LENGTH = re.compile(r"[0-9]{1,9}")
# Once at most: two of one of these are how requests are smuggled past a reader.
_SINGLE = frozenset(
    {"authorization", "host", "content-length", "content-type", "transfer-encoding"}
)


@dataclass(frozen=True)
class Request:
    """One request, every part of it checked for its form."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    length: int
    body: bytes = b""
    # Who is at the other end: pid, uid and gid that the kernel vouches for, or address and port.
    peer: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Response:
    """One complete answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return it as it goes over the wire."""
        return response_head(self.status, self.content_type, self.headers, len(self.body)) + (
            self.body
        )


class Refused(ControlError):
    """A refusal whose answer carries headers."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int,
        title: str = "",
        service: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Keep the fields of the problem document and the headers."""
        super().__init__(code, detail, status=status, title=title, service=service)
        self.headers = dict(headers or {})


def response_head(
    status: int, content_type: str, headers: Mapping[str, str], length: int | None
) -> bytes:
    """Return the lines before the body; without a length, the connection's end is the body's."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Type: {content_type}"]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines += ["Cache-Control: no-store", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def json_response(content: object, status: int = 200) -> Response:
    """Return an answer in JSON."""
    return Response(status, _dump(content))


def problem_response(error: ControlError) -> Response:
    """Return a refusal as a problem document (RFC 9457)."""
    headers = error.headers if isinstance(error, Refused) else {}
    body = _dump(dict(error.to_problem()))
    return Response(error.status, body, "application/problem+json", headers)


def _dump(content: object) -> bytes:
    # ASCII: a lone surrogate out of a log must not break the encoding of the whole answer.
    return json.dumps(content, separators=(",", ":")).encode("ascii")


def bad_request(detail: str, status: int = 400, code: str = "bad_request") -> ControlError:
    """Return the refusal of a request that is not well formed."""
    return ControlError(code, detail, status=status, title=HTTPStatus(status).phrase)


def check_head(received: bytes) -> None:
    """Refuse what can no longer become a good head; for the bytes read so far.

    Raises ControlError.
    """
    end = received.find(HEAD_END)
    head = received if end < 0 else received[:end]
    # A carriage return at the very end may still get its line feed.
    bare = head.replace(b"\r\n", b"").removesuffix(b"\r" if end < 0 else b"")
    if any(byte in bare for byte in (b"\r", b"\n", b"\0")):
        raise bad_request("a line ends with CR LF, and neither stands alone")
    if end > MAX_HEAD or (end < 0 and len(received) > MAX_HEAD):
        raise bad_request(
            f"request line and headers have at most {MAX_HEAD} bytes", 431, "headers_too_large"
        )


def parse_head(head: bytes) -> Request:
    """Read request line and headers, without the empty line after them; raises ControlError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, query = _request_line(first)
    headers = _headers(lines)
    if "transfer-encoding" in headers:
        raise bad_request("a body comes with its Content-Length, not in any transfer coding")
    if "host" not in headers:
        raise bad_request("HTTP/1.1 asks for a Host header")
    if "expect" in headers:
        raise bad_request("nothing may be expected", 417, "expectation_failed")
    return Request(method, path, query, headers, _length(headers.get("content-length", "0")))


def _request_line(line: str) -> tuple[str, str, dict[str, str]]:
    words = line.split(" ")
    if len(words) != 3 or not _METHOD.fullmatch(words[0]):
        raise bad_request("the request line is METHOD SP TARGET SP HTTP/1.1")
    method, target, version = words
    if version != "HTTP/1.1":
        raise bad_request("HTTP/1.1 is spoken here", 505, "version_not_supported")
    if len(target) > MAX_TARGET:
        raise bad_request(f"a target has at most {MAX_TARGET} bytes", 414, "target_too_long")
    path, mark, rest = target.partition("?")
    if not _PATH.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
        raise bad_request(
            "a path is segments of letters, digits, '.', '_', '~' and '-', none of them "
            "empty, '.', '..' or encoded"
        )
    return method, path, _query(rest) if mark else {}


def _query(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split("&"):
        pair = _PAIR.fullmatch(part)
        if pair is None or pair[1] in found:
            raise bad_request("a query is name=value pairs, each name once, nothing encoded")
        found[pair[1]] = pair[2]
    return found


def _headers(lines: list[str]) -> dict[str, str]:
    if len(lines) > MAX_HEADERS:
        raise bad_request(f"there are at most {MAX_HEADERS} headers", 431, "headers_too_large")
    found: dict[str, str] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise bad_request("a header is a name, a colon at once, and a value on the same line")
        name = header[1].lower()
        if name in found and name in _SINGLE:
            raise bad_request(f"{name} stands more than once")
        found[name] = header[2].rstrip(" \t")
    return found


def _length(text: str) -> int:
    if not _LENGTH.fullmatch(text):
        raise bad_request("Content-Length is a number")
    if int(text) > MAX_BODY:
        raise bad_request(f"a body has at most {MAX_BODY} bytes", 413, "body_too_large")
    return int(text)


def parse_object(request: Request) -> dict[str, Any]:
    """Return the body, which must be one JSON object without repeated names."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise bad_request("a body is application/json", 415, "unsupported_media_type")
    try:
        content = json.loads(
            request.body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_constant
        )
    # Deep nesting exhausts the parser's stack.
    except (ValueError, RecursionError) as error:
        raise bad_request(f"the body is not JSON: {error}"[:200]) from None
    if not isinstance(content, dict):
        raise bad_request("the body is a JSON object")
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is repeated")
    return found


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
