"""Words of a text for a search that finds Chinese: single signs of it, and pairs of them.

No index of databases cuts Chinese into words. So they get these tokens instead.
"""

import re
import unicodedata

# Han, kana and hangul: what is written without spaces.
CJK = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_WORD = re.compile(r"[^\W_]+")


def tokens(text: str) -> set[str]:
    """Return the tokens of a text: words in one spelling, signs and pairs of Chinese."""
    found: set[str] = set()
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        position = 0
        for run in CJK.finditer(word):
            found.add(_stem(word[position : run.start()]))
            position = run.end()
            signs = run[0]
            found.update(signs)
            found.update(signs[n : n + 2] for n in range(len(signs) - 1))
        found.add(_stem(word[position:]))
    # What no index takes is no word.
    return {token for token in found if 0 < len(token) <= 64 and token.isalnum()}


def _stem(word: str) -> str:
    # One spelling for refund, refunds and refunded; more would need a dictionary.
    for ending in ("ing", "ed", "es", "s"):
        if len(word) - len(ending) >= 4 and word.endswith(ending):
            return word.removesuffix(ending)
    return word
