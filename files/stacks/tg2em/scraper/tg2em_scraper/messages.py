"""What every source turns its posts into: plain data, independent of where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Link:
    """A hyperlink over `text[start:end]` of a `RichText`."""

    start: int
    end: int
    url: str


@dataclass(frozen=True, slots=True)
class RichText:
    """Plain text and the hyperlinks in it."""

    text: str = ""
    links: tuple[Link, ...] = ()

    @classmethod
    def from_segments(cls, segments: Iterable[tuple[str, str | None]]) -> RichText:
        """Join (text, link target or None) pairs; only http and https targets count as links."""
        parts: list[str] = []
        links: list[Link] = []
        length = 0
        for text, target in segments:
            if target and text and target.lower().startswith(("http://", "https://")):
                links.append(Link(length, length + len(text), target))
            parts.append(text)
            length += len(text)
        return cls("".join(parts), tuple(links))

    def urls_between(self, start: int, end: int) -> list[str]:
        """Targets of the links that begin in `text[start:end]`, in order."""
        return [link.url for link in self.links if start <= link.start < end]


@dataclass(frozen=True, slots=True)
class Message:
    """One post of a channel. `posted_at` is aware, in UTC.

    `pictures` says where each picture is: an http or https address, the path of a file, or
    `account:<channel>/<message id>`.
    """

    channel: str
    message_id: int
    posted_at: datetime
    body: RichText = RichText()
    pictures: tuple[str, ...] = ()
    views: int | None = None
    edited: bool = False
    # Other ids of the same album: they are this post and must not come back as posts of their own.
    album_ids: tuple[int, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 that changes when the post is edited.

        Views do not count, nor do addresses of pictures: the source signs them anew each time.
        """
        digest = hashlib.sha256(f"{self.edited}\0{len(self.pictures)}\0{self.body.text}".encode())
        for link in self.body.links:
            digest.update(f"\0{link.start}:{link.end}:{link.url}".encode())
        return digest.hexdigest()
