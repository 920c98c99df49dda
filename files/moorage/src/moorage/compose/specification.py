"""The keys of the Compose Specification, whether they are read here or not.

Source: its JSON schema, schema/compose-spec.json of github.com/compose-spec/compose-spec at the
revision that specification.json names. A key stands by its place: `*` is a name, `[]` an entry
of a list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_SPECIFICATION = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
REVISION = f"{_SPECIFICATION['revision']} of {_SPECIFICATION['date']}"
KEYS: tuple[str, ...] = tuple(_SPECIFICATION["keys"])


def has(path: Sequence[str | int]) -> bool:
    """Tell whether the specification has a key at a place in a file."""
    text = "".join("[]" if isinstance(part, int) else f".{part}" for part in path)
    return bool(_pattern().fullmatch(text.removeprefix(".")))


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile("|".join(re.escape(key).replace(r"\*", r"[^.\[]+") for key in KEYS))
