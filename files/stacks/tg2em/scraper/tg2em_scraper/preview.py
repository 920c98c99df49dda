"""Reads a channel's public preview page (`<base>/s/<channel>`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urljoin, urlsplit

from selectolax.lexbor import LexborHTMLParser, LexborNode

from tg2em_scraper.messages import Message, RichText
from tg2em_scraper.source import NoPreviewError, Page

_BACKGROUND = re.compile(
    r"background-image\s*:\s*url\(\s*(['\"]?)(?P<url>.*?)\1\s*\)", re.IGNORECASE
)
_VIEWS = re.compile(r"^\s*(?P<number>\d+(?:[.,]\d+)?)\s*(?P<unit>[KMB]?)\s*$", re.IGNORECASE)
_UNITS = {"": 1, "K": 1_000, "M": 1_000_000, "B": 1_000_000_000}
_BLOCKS = {"p", "div", "blockquote", "pre"}


def parse_page(html: str | bytes, channel: str, page_url: str) -> Page:
    """Read one preview page.

    Raises NoPreviewError when the page has no history section.
    """
    tree = LexborHTMLParser(html)
    history = tree.css_first("section.tgme_channel_history")
    if history is None:
        raise NoPreviewError("no public preview: the page has no channel history")
    title = tree.css_first(".tgme_channel_info_header_title")
    page = Page(before=_older_page(tree), title=title.text(strip=True) if title else "")
    for node in history.css("div.tgme_widget_message_wrap div.tgme_widget_message[data-post]"):
        if "service_message" in (node.attributes.get("class") or "").split():
            continue
        try:
            page.messages.append(_message(node, channel, page_url))
        except (ValueError, LookupError) as error:
            page.problems.append(f"post {node.attributes.get('data-post')!r}: {error}")
    page.messages.sort(key=lambda message: message.message_id)
    return page


def parse_views(text: str) -> int | None:
    """A view counter such as `987`, `1.2K` or `3M`; None when it is none."""
    match = _VIEWS.match(text)
    if match is None:
        return None
    return round(float(match["number"].replace(",", ".")) * _UNITS[match["unit"].upper()])


def _older_page(tree: LexborHTMLParser) -> int | None:
    for node in tree.css("a.tme_messages_more[data-before]"):
        value = node.attributes.get("data-before") or ""
        if value.isdecimal():
            return int(value)
    return None


def _message(node: LexborNode, channel: str, page_url: str) -> Message:
    post = node.attributes.get("data-post") or ""
    name, _, number = post.rpartition("/")
    if name.casefold() != channel.casefold() or not number.isdecimal():
        raise ValueError(f"is not a post of {channel}")
    views = node.css_first(".tgme_widget_message_views")
    meta = node.css_first(".tgme_widget_message_meta")
    return Message(
        channel=channel,
        message_id=int(number),
        posted_at=_posted_at(node),
        body=_body(node, page_url),
        pictures=tuple(_pictures(node, page_url)),
        views=parse_views(views.text()) if views is not None else None,
        edited=meta is not None and "edited" in meta.text().casefold(),
        album_ids=_album_ids(node, int(number)),
    )


def _posted_at(node: LexborNode) -> datetime:
    time = node.css_first("a.tgme_widget_message_date time[datetime]")
    if time is None:
        raise ValueError("has no date")
    moment = datetime.fromisoformat(time.attributes.get("datetime") or "")
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _within(node: LexborNode, class_name: str) -> bool:
    parent = node.parent
    while parent is not None:
        if class_name in (parent.attributes.get("class") or "").split():
            return True
        parent = parent.parent
    return False


def _body(node: LexborNode, page_url: str) -> RichText:
    for text in node.css(".tgme_widget_message_text.js-message_text"):
        if not _within(text, "tgme_widget_message_reply"):
            return RichText.from_segments(_trimmed(list(_segments(text, page_url, None))))
    return RichText()


def _segments(
    node: LexborNode, page_url: str, target: str | None
) -> Iterator[tuple[str, str | None]]:
    child = node.child
    while child is not None:
        tag = child.tag
        if tag == "-text":
            # Line breaks come from <br> alone; those of the markup are white space.
            yield re.sub(r"\s+", " ", child.text_content or "").replace("\u00a0", " "), target
        elif tag == "br":
            yield "\n", None
        elif tag == "a":
            href = child.attributes.get("href") or ""
            own = None if href.startswith("?") else urljoin(page_url, href)
            yield child.text(), own if href else None
        elif tag not in ("script", "style"):
            if tag in _BLOCKS:
                yield "\n", None
            yield from _segments(child, page_url, target)
            if tag in _BLOCKS:
                yield "\n", None
        child = child.next


def _trimmed(segments: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
    while segments and not segments[0][0].strip():
        segments.pop(0)
    while segments and not segments[-1][0].strip():
        segments.pop()
    return segments


def _pictures(node: LexborNode, page_url: str) -> Iterator[str]:
    found = node.css("a.tgme_widget_message_photo_wrap") or node.css(
        ".tgme_widget_message_video_thumb"
    )
    for element in found:
        match = _BACKGROUND.search(element.attributes.get("style") or "")
        if match is None or not match["url"].strip():
            continue  # "media is too big": the page shows a frame without a picture
        url = urljoin(page_url, match["url"].strip())
        if urlsplit(url).scheme in ("http", "https"):
            yield url


def _album_ids(node: LexborNode, own: int) -> tuple[int, ...]:
    ids = set()
    for link in node.css(".tgme_widget_message_grouped_wrap a[href]"):
        number = urlsplit(link.attributes.get("href") or "").path.rpartition("/")[2]
        if number.isdecimal():
            ids.add(int(number))
    return tuple(sorted(ids - {own}))
