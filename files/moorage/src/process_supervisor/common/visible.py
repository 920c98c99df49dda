"""Text that others wrote, for a terminal or a page: signs that would act are shown instead."""

from __future__ import annotations

import re

# Controls of a terminal (ESC and its one-byte forms of C1), what turns the reading direction, what
# has no width, and halves of characters. A line's tabs stay, and so do the joiners of Persian,
# Indic scripts and emoji.
_ACTING = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    r"""Return a text with every sign that acts or is not seen written as ``\x1b`` or ``\u202e``.

    Line feeds and tabs are left.
    """
    if text.isascii() and text.isprintable():
        return text  # nearly all are: that costs a client nothing
    return re.sub(_ACTING, lambda found: _escaped(ord(found[0])), text)


def _escaped(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
