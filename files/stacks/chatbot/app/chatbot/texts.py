"""Texts as they are kept."""

import unicodedata


def text(given: str, most: int, *, lines: bool = False) -> str:
    """Return a text without control characters, at most `most` long."""
    kept = "".join(
        sign
        for sign in given.replace("\r\n", "\n")
        if unicodedata.category(sign) not in ("Cc", "Cs") or (lines and sign in "\n\t")
    )
    return kept.strip()[:most]
