"""What power cuts, full disks, other programs and people leave in the place of our files."""

from __future__ import annotations

import json
import os
from pathlib import Path

from moorage.deploy.release import point_current_at, write_release
from moorage.release.layout import Layout

ONE, TWO = "0" * 11 + "1", "0" * 11 + "2"
FOREIGN = [b"", b"\0\xff\xfe", b"[1, 2]", b"17", b'"text"', b"null", b"{", b"[" * 100_000]
# What Python's reader takes, in the place of any value.
ODD = [
    b"NaN", b"-Infinity", b"1e999", b"1e300", b"-1e18", b"9" * 400, b"9" * 5000, b"2.5", b"true",
    b"null", b'"\\ud800"', b"{}", b"[]", b'"text"', b"[" * 70 + b"]" * 70, b'{"a": 1, "a": 2}',
]  # fmt: skip
IN_PLACE = ["directory", "pipe", "device", "dangling", "loop", "large"]


def deployed(root: Path, stack: str) -> Layout:
    layout = Layout.of(stack, root / "opt", root / "run")
    layout.releases.mkdir(parents=True)
    for name in (ONE, TWO):
        made = write_release(
            layout, name, {"compose.yaml": ("x\n", 0o644)}, {"topology": "containers"}
        )
        point_current_at(layout, made)
    return layout


def odd(content: bytes) -> list[bytes]:
    """Return an object with each of its values replaced by strange ones, in turn."""
    try:
        whole = json.loads(content)
    except ValueError:
        return []
    found = []
    for key in whole if isinstance(whole, dict) else ():
        mark = json.dumps({**whole, key: "@"}).encode()
        found += [mark.replace(b'"@"', value) for value in ODD]
    return found


def stand_in(path: Path, what: str) -> None:
    """Put something that is no file in the place of one."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    if what == "directory":
        (path / "mine").mkdir(parents=True)
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "dangling":
        path.symlink_to("/nowhere/at/all")
    elif what == "loop":
        path.symlink_to(path.name)
    else:
        with path.open("wb") as out:
            out.truncate(33 << 20)
