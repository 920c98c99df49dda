"""Every text is translated, in every package that brings a catalogue."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parents[2]
CATALOGUES = sorted(ROOT.glob("files/**/translations/zh/LC_MESSAGES"))


def _first(text: str | Sequence[str] | None) -> str:
    # One that depends on a number is several.
    return text if isinstance(text, str) else text[0] if text else ""


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parents[2].name)
def test_every_text_is_translated(catalogue: Path) -> None:
    texts = {
        _first(found[2])
        for found in extract_from_dir(
            catalogue.parents[2],
            method_map=[("**.py", "python"), ("**.html", "jinja2")],
            options_map={"**.html": {"trimmed": "true"}},
            keywords={**DEFAULT_KEYWORDS, "lazy": None},
        )
    }
    with (catalogue / "messages.po").open("rb") as file:
        source = read_po(file)
    translated = {_first(m.id): _first(m.string) for m in source if m.id}
    assert texts == translated.keys()
    assert [m for m, string in translated.items() if not string] == []
    assert not any(m.fuzzy for m in source if m.id)
    with (catalogue / "messages.mo").open("rb") as file:
        compiled = {_first(m.id): _first(m.string) for m in read_mo(file) if m.id}
    assert compiled == translated
