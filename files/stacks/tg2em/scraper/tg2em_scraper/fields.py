"""Reads a resource (title, description, link, size, tags) from the text of a post.

Channels write lines of the form `label：value`. A value may go on in the lines below it, a label
may have emoji before it, and the colon may be full-width or ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import regex
from tg2em_core.models import TAG_LENGTH, TITLE_LENGTH, Category

from tg2em_scraper.messages import RichText

_NAME_LENGTH = 500
_LINK_LENGTH = 2048
_SIZE_LENGTH = 64

_DOMAINS = {
    "quark.cn": Category.QUARK,
    "aliyundrive.com": Category.ALIYUN,
    "alipan.com": Category.ALIYUN,
    "baidu.com": Category.BAIDU,
    "139.com": Category.MOBILE,
}

_LABELS = {
    "name": ("名称", "资源名称", "标题"),
    "description": ("描述", "资源描述", "简介"),
    "link": ("链接", "资源链接", "下载链接", "网盘链接"),
    "size": ("大小", "文件大小"),
    "tags": ("标签",),
    # Footers that channels add below the resource: they end the value above them.
    "footer": ("频道", "群组", "投稿", "搜索", "来自", "分享", "机器人"),
}
_FIELD_OF = {label: field for field, labels in _LABELS.items() for label in labels}
_LABEL = re.compile(
    r"^[^\w#@]*(?P<label>" + "|".join(sorted(_FIELD_OF, key=len, reverse=True)) + r")\s*[：:]\s*"
)
_URL = re.compile(r"https?://[^\s<>\"'，。；、（）【】《》]+", re.IGNORECASE)
_TAG = re.compile(r"#([^\s#＃,，、|/;；]+)")
_TAG_SEPARATORS = re.compile(r"[\s,，、|/;；]+")
_GRAPHEME = regex.compile(r"\X")
_MULTI_LINE = ("description",)
# Values that may stand in the line below their label.
_NEXT_LINE = ("name", "description", "link", "size", "tags")


@dataclass(frozen=True, slots=True)
class Resource:
    """What an article shows, within the lengths of its columns; what the post lacks is empty."""

    title: str
    name: str
    description: str = ""
    link: str = ""
    size: str = ""
    tags: tuple[str, ...] = ()
    category: Category = Category.OTHER


@dataclass(slots=True)
class _Value:
    text: str
    urls: list[str]


def cut_title(text: str, limit: int = TITLE_LENGTH) -> str:
    """The first `limit` characters, but never a part of what a reader sees as one character.

    An emoji or an accented letter may consist of several characters: it is kept whole or left out.
    """
    words = " ".join(text.split())
    end = 0
    for match in _GRAPHEME.finditer(words):
        if match.end() > limit:
            break
        end = match.end()
    # A single cluster longer than a title (stacked accents) has no better place to cut.
    return words[: end or limit].rstrip()


def category_of(link: str) -> Category:
    """The drive whose domain, or a sub-domain of it, the link points to."""
    try:
        host = (urlsplit(link).hostname or "").rstrip(".")
    except ValueError:
        return Category.OTHER
    for domain, category in _DOMAINS.items():
        if host == domain or host.endswith("." + domain):
            return category
    return Category.OTHER


def parse(body: RichText, blocked_tags: Iterable[str] = ()) -> Resource | None:
    """The resource in a post, or None when the post has no text to make a title of."""
    values = _collect(body)
    name = " ".join(_text(values, "name").split()) or _first_line(body.text)
    title = cut_title(name)
    if not title:
        return None
    link = _link(body, values.get("link"))
    labelled = "description" in values
    return Resource(
        title=title,
        name=name[:_NAME_LENGTH],
        description=_text(values, "description") if labelled else _unlabelled(body.text),
        link=link,
        size=_text(values, "size")[:_SIZE_LENGTH],
        tags=_tags(values.get("tags"), body.text, blocked_tags),
        category=category_of(link),
    )


def _text(values: dict[str, _Value], field: str) -> str:
    return values[field].text if field in values else ""


def _collect(body: RichText) -> dict[str, _Value]:
    values: dict[str, _Value] = {}
    current = ""
    offset = 0
    for line in body.text.split("\n"):
        end = offset + len(line)
        match = _LABEL.match(line)
        start = offset + (match.end() if match else 0)
        text = body.text[start:end].strip()
        if match:
            current = _FIELD_OF[match["label"]]
            if current in values:  # a label given twice: the first one counts
                current = "footer"
            elif current != "footer":
                values[current] = _Value(text, body.urls_between(start, end))
        elif current in values and _goes_on(current, values[current], text):
            value = values[current]
            value.text = f"{value.text}\n{text}" if value.text else text
            value.urls += body.urls_between(start, end)
        offset = end + 1
    for value in values.values():
        value.text = value.text.strip()
    return values


def _goes_on(field: str, value: _Value, text: str) -> bool:
    if field in _MULTI_LINE or (field == "tags" and text.startswith("#")):
        return True
    if field == "link" and not value.urls and not _URL.search(value.text):
        return True
    return field in _NEXT_LINE and not value.text


def _first_line(text: str) -> str:
    for line in text.split("\n"):
        match = _LABEL.match(line)
        rest = line[match.end() :] if match else line
        if any(character.isalnum() for character in rest):
            return rest.strip()
    return ""


def _unlabelled(text: str) -> str:
    """What stands below the first line when a post uses no `描述` label."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return "\n".join(line for line in lines[1:] if not _LABEL.match(line) and not _URL.match(line))


def _link(body: RichText, labelled: _Value | None) -> str:
    given = _short_enough(labelled.urls or _URL.findall(labelled.text)) if labelled else []
    if given:
        return given[0]
    # No label: a link to one of the drives. Links to channels and bots are no resources.
    candidates = [link.url for link in body.links] + _URL.findall(body.text)
    drives = (u for u in _short_enough(candidates) if category_of(u) is not Category.OTHER)
    return next(drives, "")


def _short_enough(urls: list[str]) -> list[str]:
    # Half a link leads nowhere: one that does not fit its column is left out, not cut.
    return [url for url in urls if len(url) <= _LINK_LENGTH]


def _tags(labelled: _Value | None, text: str, blocked: Iterable[str]) -> tuple[str, ...]:
    found = _TAG.findall(text if labelled is None else labelled.text)
    if labelled is not None and not found:
        found = _TAG_SEPARATORS.split(labelled.text)
    refused = {tag.lstrip("#").strip().casefold() for tag in blocked}
    kept = (tag[:TAG_LENGTH] for tag in found if tag and tag.casefold() not in refused)
    return tuple(dict.fromkeys(kept))
