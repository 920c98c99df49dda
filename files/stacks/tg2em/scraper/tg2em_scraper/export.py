"""Reads a Telegram Desktop export: a folder with `result.json` and the media it names.

Both kinds are understood: one chat's history, and a whole account (`chats.list[]`), from which
the channel with the wanted name or id is taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tg2em_scraper.messages import Message, RichText
from tg2em_scraper.source import Page, SourceError

_PAGE = 100
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")


def pages(folder: Path, channel: str) -> Iterator[Page]:
    """The posts of an export under the name `channel`, oldest first, in pages of a hundred.

    Raises SourceError when the folder is no export or does not hold the channel.
    """
    folder = folder.resolve()
    posts = _posts(folder, channel)
    page = Page()
    previous: dict[str, Any] | None = None
    for post in posts:
        if not isinstance(post, dict) or post.get("type") != "message":
            continue
        try:
            message = _message(post, folder, channel)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            page.problems.append(f"post {post.get('id')!r}: {type(error).__name__}: {error}")
            continue
        if page.messages and previous is not None and _same_album(previous, post):
            page.messages[-1] = _joined(page.messages[-1], message)
        else:
            if len(page.messages) >= _PAGE:
                yield page
                page = Page()
            page.messages.append(message)
        previous = post
    if page.messages or page.problems:
        yield page


def _posts(folder: Path, channel: str) -> list[Any]:
    path = folder / "result.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise SourceError(f"{path} is not a JSON export: {error}") from error
    if isinstance(data, dict) and isinstance(data.get("chats"), dict):
        chats = data["chats"].get("list", [])
        wanted = {channel.casefold(), channel.casefold().removeprefix("-100")}
        data = next(
            (c for c in chats if {str(c.get("name")).casefold(), str(c.get("id"))} & wanted), None
        )
        if data is None:
            names = ", ".join(sorted(str(c.get("name")) for c in chats)) or "none"
            raise SourceError(f"{path} holds no chat {channel!r}; it holds: {names}")
    if not isinstance(data, dict) or not isinstance(data.get("messages"), list):
        raise SourceError(f"{path} holds no messages: choose the format JSON when exporting")
    return list(data["messages"])


def _message(post: dict[str, Any], folder: Path, channel: str) -> Message:
    return Message(
        channel=channel,
        message_id=int(post["id"]),
        posted_at=_moment(post),
        body=_body(post),
        pictures=tuple(_pictures(post, folder)),
        edited="edited" in post or "edited_unixtime" in post,
    )


def _moment(post: dict[str, Any]) -> datetime:
    # `date` is the exporting machine's local time without a zone; `date_unixtime` is exact.
    if "date_unixtime" in post:
        return datetime.fromtimestamp(int(post["date_unixtime"]), UTC)
    return datetime.fromisoformat(post["date"]).astimezone(UTC)


def _body(post: dict[str, Any]) -> RichText:
    parts = post.get("text_entities") or post.get("text") or ""
    if isinstance(parts, str):
        return RichText(parts.strip())
    segments = [_segment(part) for part in parts]
    while segments and not segments[-1][0].strip():
        segments.pop()
    return RichText.from_segments(segments)


def _segment(part: Any) -> tuple[str, str | None]:
    if isinstance(part, str):
        return part, None
    text = str(part.get("text", ""))
    target = {"text_link": part.get("href"), "link": text}.get(str(part.get("type")))
    if target and "://" not in target:
        target = f"https://{target}"
    return text, target


def _pictures(post: dict[str, Any], folder: Path) -> Iterator[str]:
    # A media file that was left out stands there as "(File not included. …)".
    for key in ("photo", "file", "thumbnail"):
        name = post.get(key)
        if not isinstance(name, str) or Path(name).suffix.lower() not in _PICTURES:
            continue
        path = (folder / name).resolve()
        if path.is_relative_to(folder) and path.is_file():
            yield str(path)
            return


def _same_album(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Exports do not name albums: consecutive photos of one second, at most one with a text."""
    return (
        bool(first.get("photo"))
        and bool(second.get("photo"))
        and int(second["id"]) == int(first["id"]) + 1
        and first.get("date") == second.get("date")
        and not (first.get("text") and second.get("text"))
    )


def _joined(first: Message, second: Message) -> Message:
    return Message(
        channel=first.channel,
        message_id=first.message_id,
        posted_at=first.posted_at,
        body=first.body if first.body.text else second.body,
        pictures=first.pictures + second.pictures,
        edited=first.edited or second.edited,
        album_ids=(*first.album_ids, second.message_id),
    )
