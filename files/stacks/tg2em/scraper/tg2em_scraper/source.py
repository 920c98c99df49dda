"""What a source of posts looks like to the rest of the scraper, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from tg2em_scraper.messages import Message


class SourceError(Exception):
    """A channel cannot be read now; the text says why and is shown on the admin page."""


class NoPreviewError(SourceError):
    """The channel has no public preview page."""


class SessionRevoked(SourceError):
    """Telegram no longer accepts the account's session; someone must sign in again."""


class Throttled(SourceError):
    """The other side asks for a pause: HTTP 429 or Telegram's flood wait. `seconds` may be 0."""

    def __init__(self, seconds: float, what: str) -> None:
        super().__init__(f"{what} asks to wait {seconds:.0f} seconds" if seconds else what)
        self.seconds = seconds


@dataclass(slots=True)
class Page:
    """Some consecutive posts, oldest first; `before` leads to the older page, None on the oldest.

    `title` is the channel's, empty where the source does not tell it. `problems` says which posts
    could not be read and why; the others are not affected.
    """

    messages: list[Message] = field(default_factory=list)
    before: int | None = None
    title: str = ""
    problems: list[str] = field(default_factory=list)


class PageSource(Protocol):
    """Reads one channel backwards, page by page."""

    def page(self, channel: str, before: int | None) -> Page:
        """The newest posts, or those older than `before`. Raises SourceError and its kinds."""
        ...
