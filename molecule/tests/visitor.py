"""A browser without a screen: cookies, forms and their tokens, over real HTTP."""

from __future__ import annotations

import http.cookiejar
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

Files = Mapping[str, tuple[str, str, bytes]]
"""Of a form: by the field, the file's name, its media type and its content."""
_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


@dataclass(frozen=True)
class Page:
    """What was answered: status, address after redirects, headers and body."""

    status: int
    url: str
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")


class Visitor:
    """One visitor of a site, who keeps cookies."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._cookies = http.cookiejar.CookieJar()
        jar = urllib.request.HTTPCookieProcessor(self._cookies)
        self._opener = urllib.request.build_opener(jar)

    @property
    def cookies(self) -> str:
        """What this visitor's browser sends along as `Cookie`."""
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._cookies)

    def get(self, path: str, accept: str = "text/html, */*;q=0.5") -> Page:
        """Fetch a page; an error status is an answer, not an exception."""
        url = urllib.parse.urljoin(self._base, path)
        return self._open(urllib.request.Request(url, headers={"Accept": accept}))

    def send(self, path: str, files: Files | None = None, **fields: str) -> Page:
        """Send a form as it is, without any token."""
        url = urllib.parse.urljoin(self._base, path)
        data, headers = urllib.parse.urlencode(fields).encode(), dict[str, str]()
        if files is not None:
            data, headers = _multipart(fields, files)
        return self._open(urllib.request.Request(url, data=data, headers=headers))

    def post(self, path: str, on: str, files: Files | None = None, **fields: str) -> Page:
        """Send a form with the token of the page ``on`` which it stands on."""
        found = _TOKEN.search(self.get(on).text)
        assert found, f"{on} has no form with a token"
        return self.send(path, files, csrf_token=found[1], **fields)

    def sign_in(self, door: str, password: str, name: str = "admin") -> Page:
        """Sign in by the form of the page ``door``."""
        page = self.post(door, door, username=name, password=password)
        assert page.status == 200, page.text[:500]
        return page

    def _open(self, request: urllib.request.Request) -> Page:
        try:
            with self._opener.open(request, timeout=20) as answer:
                return Page(answer.status, answer.url, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as answer:
            return Page(answer.code, answer.url, dict(answer.headers), answer.read())


def _multipart(fields: Mapping[str, str], files: Files) -> tuple[bytes, dict[str, str]]:
    edge, parts = "----moorage-visitor", []
    for name, value in fields.items():
        parts.append((f'form-data; name="{name}"', "text/plain; charset=utf-8", value.encode()))
    for name, (filename, kind, content) in files.items():
        parts.append((f'form-data; name="{name}"; filename="{filename}"', kind, content))
    body = b"".join(
        f"--{edge}\r\nContent-Disposition: {where}\r\nContent-Type: {kind}\r\n\r\n".encode()
        + content
        + b"\r\n"
        for where, kind, content in parts
    )
    return body + f"--{edge}--\r\n".encode(), {
        "Content-Type": f"multipart/form-data; boundary={edge}"
    }
