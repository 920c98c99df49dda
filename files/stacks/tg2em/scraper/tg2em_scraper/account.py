"""Reads channels as a Telegram user, through Telethon.

Telethon costs about 27 MB resident, so this module is imported only when an account is set up.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

from telethon import TelegramClient, errors, types

from tg2em_scraper.messages import Message, RichText
from tg2em_scraper.picturequeue import ACCOUNT_SCHEME
from tg2em_scraper.pictures import MAX_BYTES, FetchError, NotAPictureError
from tg2em_scraper.source import Page, SessionRevoked, SourceError, Throttled

T = TypeVar("T")

PAGE = 100
_CONNECT_SECONDS = 25.0
_CALL_SECONDS = 60.0
# The larger sizes of a photo; 1280 pixels ("y") is above what is kept.
_PHOTO_BYTES = MAX_BYTES

ClientFactory = Callable[[str, int, str], TelegramClient]


def make_client(session: str, api_id: int, api_hash: str) -> TelegramClient:
    """A client that reports each failure at once: waiting and retrying is the runner's work."""
    return TelegramClient(
        session,
        api_id,
        api_hash,
        timeout=10,
        connection_retries=1,
        request_retries=1,
        auto_reconnect=False,
        flood_sleep_threshold=0,
        receive_updates=False,
    )


class Account:
    """One Telegram account: a session file and a client that is connected when it is needed."""

    def __init__(
        self,
        session_file: Path,
        api_id: int,
        api_hash: str,
        client_factory: ClientFactory = make_client,
    ) -> None:
        self._file = session_file
        self._api = (api_id, api_hash)
        self._factory = client_factory
        self._runner = asyncio.Runner()
        self._client: TelegramClient | None = None

    def run(self, call: Callable[[TelegramClient], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine function on the connected client.

        Raises Throttled on a flood wait, SessionRevoked, and SourceError when Telegram cannot be
        reached; other errors of Telethon pass.
        """
        try:
            return self._runner.run(self._run(call))
        except errors.FloodWaitError as error:
            raise Throttled(float(error.seconds), "Telegram") from error
        except (errors.UnauthorizedError, errors.AuthKeyError) as error:
            if isinstance(error, errors.SessionPasswordNeededError):
                raise
            raise SessionRevoked("Telegram ended the session; sign in again") from error
        except (TimeoutError, ConnectionError, OSError) as error:
            self.close_client()
            raise SourceError(f"Telegram cannot be reached: {type(error).__name__}") from error

    def close(self) -> None:
        """Disconnect and end the event loop."""
        self.close_client()
        self._runner.close()

    def close_client(self) -> None:
        """Disconnect; the next call connects anew."""
        client, self._client = self._client, None
        if client is not None:
            self._runner.run(_disconnect(client))

    async def _run(self, call: Callable[[TelegramClient], Coroutine[Any, Any, T]]) -> T:
        if self._client is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # The file is as good as the account: nobody else may read it, from the first moment.
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600))
            self._file.chmod(0o600)
            self._client = self._factory(str(self._file), *self._api)
        if not self._client.is_connected():
            await asyncio.wait_for(self._client.connect(), _CONNECT_SECONDS)
        return await asyncio.wait_for(call(self._client), _CALL_SECONDS)


async def _disconnect(client: TelegramClient) -> None:
    await client.disconnect()


class AccountSource:
    """A channel's posts through an account; see `source.PageSource`."""

    def __init__(
        self, account: Account, pause: Callable[[float], None], longest_wait: float = 900.0
    ) -> None:
        self._account = account
        self._pause = pause
        self._longest_wait = longest_wait

    def page(self, channel: str, before: int | None) -> Page:
        """A hundred posts. A short flood wait is waited for; a long one is raised."""
        while True:
            try:
                posts = self._account.run(lambda client: _history(client, channel, before))
                return to_page(posts, channel)
            except Throttled as throttled:
                if throttled.seconds > self._longest_wait:
                    raise
                self._pause(throttled.seconds)
            except (errors.RPCError, ValueError) as error:
                raise SourceError(f"Telegram: {type(error).__name__}: {error}") from error

    def picture(self, source: str) -> bytes:
        """The picture of `account:<channel>/<id>`. Raises FetchError or NotAPictureError."""
        channel, _, number = source.removeprefix(ACCOUNT_SCHEME).rpartition("/")
        try:
            data = self._account.run(lambda client: _picture(client, channel, int(number)))
        except (SourceError, errors.RPCError, ValueError) as error:
            raise FetchError(f"Telegram: {error}") from error
        if data is None:
            raise NotAPictureError("the post has no picture any more")
        return data


async def _history(client: TelegramClient, channel: str, before: int | None) -> list[types.Message]:
    found = await client.get_messages(channel, limit=PAGE, offset_id=before or 0)
    return list(found)


async def _picture(client: TelegramClient, channel: str, number: int) -> bytes | None:
    message = await client.get_messages(channel, ids=number)
    if message is None or not _has_picture(message):
        return None
    document = getattr(message.media, "document", None)
    is_video = document is not None and not document.mime_type.startswith("image/")
    if document is not None and not is_video and document.size > _PHOTO_BYTES:
        return None
    data = await client.download_media(message, file=bytes, thumb=-1 if is_video else None)
    return data if isinstance(data, bytes) else None


def to_page(posts: Iterable[Any], channel: str) -> Page:
    """Turn Telethon's messages, in any order, into a page; an album becomes one post."""
    page = Page()
    albums: dict[int, list[types.Message]] = {}
    lowest: int | None = None
    count = 0
    for post in posts:
        count += 1
        lowest = post.id if lowest is None else min(lowest, post.id)
        if not isinstance(post, types.Message):
            continue  # a service message: "channel created", "photo changed"
        albums.setdefault(post.grouped_id or -post.id, []).append(post)
    for parts in albums.values():
        parts.sort(key=lambda part: part.id)
        try:
            page.messages.append(_message(parts, channel))
        except (ValueError, TypeError, AttributeError) as error:
            page.problems.append(f"post {parts[0].id}: {type(error).__name__}: {error}")
    page.messages.sort(key=lambda message: message.message_id)
    page.before = lowest if count >= PAGE and lowest and lowest > 1 else None
    return page


def _message(parts: list[types.Message], channel: str) -> Message:
    spoken = next((part for part in parts if part.message), parts[0])
    return Message(
        channel=channel,
        message_id=parts[0].id,
        posted_at=parts[0].date,
        body=_body(spoken.message or "", spoken.entities or []),
        pictures=tuple(f"{ACCOUNT_SCHEME}{channel}/{p.id}" for p in parts if _has_picture(p)),
        views=max((part.views or 0 for part in parts), default=0) or None,
        edited=any(part.edit_date and not part.edit_hide for part in parts),
        album_ids=tuple(part.id for part in parts[1:]),
    )


def _has_picture(message: types.Message) -> bool:
    media = message.media
    if isinstance(media, types.MessageMediaPhoto):
        return isinstance(media.photo, types.Photo)
    if isinstance(media, types.MessageMediaDocument) and isinstance(media.document, types.Document):
        kind = media.document.mime_type or ""
        return kind.startswith("image/") or (
            kind.startswith("video/") and bool(media.document.thumbs)
        )
    return False


def _body(text: str, entities: Iterable[Any]) -> RichText:
    # Offsets count UTF-16 code units: an emoji is two of them.
    wide = text.encode("utf-16-le")
    segments: list[tuple[str, str | None]] = []
    position = 0
    for entity in sorted(entities, key=lambda item: item.offset):
        start, end = entity.offset * 2, (entity.offset + entity.length) * 2
        if start < position or not isinstance(
            entity, (types.MessageEntityTextUrl, types.MessageEntityUrl)
        ):
            continue
        label = wide[start:end].decode("utf-16-le", "replace")
        target = entity.url if isinstance(entity, types.MessageEntityTextUrl) else label
        segments.append((wide[position:start].decode("utf-16-le", "replace"), None))
        segments.append((label, target if "://" in target else f"https://{target}"))
        position = end
    segments.append((wide[position:].decode("utf-16-le", "replace"), None))
    return RichText.from_segments(segments)
