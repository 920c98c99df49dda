"""One spelling a name, so that nobody looks like somebody else by full-width or capital letters."""

import unicodedata

_LONGEST = 32


def account_name(given: str) -> str:
    """Return the one spelling of a name, or "" for what cannot be one.

    Letters and digits of any script, `_`, `-` and `.`: no spaces, controls or invisible signs.
    """
    # Folding may bring back what NFKC has composed, so once more.
    name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", given.strip()).casefold())
    plain = all(sign.isalnum() or sign in "_-." for sign in name)
    return name if 0 < len(name) <= _LONGEST and plain else ""
