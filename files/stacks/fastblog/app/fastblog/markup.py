"""Markdown to HTML that no author and no commenter can do harm with.

The parser lets no HTML through, and what it makes goes through a sanitiser all the same.
"""

import nh3
from markdown_it import MarkdownIt

# A text of this size takes some seconds at the very worst.
LONGEST_POST, LONGEST_COMMENT = 100_000, 4_000
_POST = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable(
    ["table", "strikethrough"]
)
_COMMENT = MarkdownIt("zero", {"html": False, "maxNesting": 10, "breaks": True}).enable(
    [
        "emphasis",
        "backticks",
        "link",
        "autolink",
        "list",
        "blockquote",
        "fence",
        "newline",
        "escape",
    ]
)
_INLINE = {"p", "br", "em", "strong", "code", "a", "ul", "ol", "li", "blockquote", "pre"}
_TAGS = _INLINE | {
    *("h1", "h2", "h3", "h4", "h5", "h6", "hr", "img", "s"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
_SCHEMES = {"http", "https", "mailto"}


def post(text: str) -> str:
    """Return a post's HTML; links leave with `noopener`."""
    return nh3.clean(
        str(_POST.render(text)),
        tags=_TAGS,
        attributes={
            "a": {"href", "title"},
            "img": {"src", "alt", "title"},
            "ol": {"start"},
            "code": {"class"},
        },
        # Of a block of code, its language.
        attribute_filter=_language,
        url_schemes=_SCHEMES,
        link_rel="noopener",
    )


def comment(text: str) -> str:
    """Return a comment's HTML: no pictures, no headings, and links that search engines ignore."""
    return nh3.clean(
        str(_COMMENT.render(text)),
        tags=_INLINE,
        attributes={"a": {"href"}},
        url_schemes=_SCHEMES,
        link_rel="nofollow ugc noopener",
    )


def _language(tag: str, name: str, value: str) -> str | None:
    if (tag, name) == ("code", "class"):
        return value if value.startswith("language-") and value[9:].isalnum() else None
    return value
