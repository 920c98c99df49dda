"""docs/compose.md holds the tables that the code goes by."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from moorage.compose import extension
from moorage.compose.extension_schema import STACK_EXTENSION_KEYS
from moorage.render.docs import TABLES, rewritten, table
from moorage.settings.stack import Route

DOCUMENT = Path(__file__).parents[4] / "docs" / "compose.md"


def test_the_tables_are_the_codes() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert rewritten(document) == document, "run: make docs"
    for name, columns in TABLES.items():
        assert table(columns) in document, name


def test_every_extension_key_is_described() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    classes = (
        extension.ServiceExtension,
        extension.SecretExtension,
        extension.UnifiedExtension,
        extension.VolumeExtension,
        Route,
        extension.Hook,
        extension.Hooks,
        extension.Migrations,
        extension.StackExtension,
    )
    for kind in classes:
        for item in fields(kind):
            assert item.name in document, item.name
    named = {item.name for item in fields(extension.StackExtension)}
    assert set(STACK_EXTENSION_KEYS) == named
