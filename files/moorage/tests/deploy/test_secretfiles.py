"""What runs holds the secrets that are on the disk, or the next run knows that it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.deploy.secretfiles import note_secrets, stale_secrets
from moorage.release.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout.of("shop", tmp_path / "opt", tmp_path / "run")
    (layout.base / "secrets/for/10001").mkdir(parents=True)
    for name in ("token", "password"):
        (layout.base / "secrets" / name).write_text("one")
    return layout


def test_a_replaced_removed_or_regenerated_secret_is_stale_until_noted(
    layout: Layout, tmp_path: Path
) -> None:
    key = tmp_path / "keys/secrets.key"
    assert stale_secrets(layout, key) == [], "nothing was ever noted"
    note_secrets(layout, key=key)
    assert stale_secrets(layout, key) == []
    (layout.base / "secrets/token").write_text("two")
    (layout.base / "secrets/new").write_text("x")
    assert stale_secrets(layout, key) == ["token"]
    # A rollout that nobody asked to start the readers anew has changed nothing of it.
    note_secrets(layout, ["token"], key)
    assert stale_secrets(layout, key) == ["token"]
    (layout.base / "secrets/password").unlink()
    assert stale_secrets(layout, key) == ["password", "token"]
    note_secrets(layout, key=key)
    assert stale_secrets(layout, key) == []


def test_the_note_holds_no_value_and_is_roots(layout: Layout, tmp_path: Path) -> None:
    key = tmp_path / "keys/secrets.key"
    note_secrets(layout, key=key)
    note = layout.base / ".secrets.json"
    assert "one" not in note.read_text()
    assert note.stat().st_mode & 0o777 == key.stat().st_mode & 0o777 == 0o600
    for torn in (b"", b"[1]", b'{"token": ', b'{"token": 5}'):
        note.write_bytes(torn)
        stale_secrets(layout, key)
        note_secrets(layout, key=key)
        assert stale_secrets(layout, key) == []
    key.write_bytes(b"short")
    assert stale_secrets(layout, key) == ["password", "token"], "who knows? They start anew"
