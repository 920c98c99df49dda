"""Print the last lines of a log and each new one: `python3 -P -m moorage.watch.follow LINES PATH`.

tail(1) lets go of a file as soon as its name is gone. Whoever is told to write to a new one, as
Supervisor is, goes on with the old one until then: it is followed until there is another.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_TAIL, _PIECE, _POLL_SECONDS = 1 << 18, 1 << 16, 0.2


def pieces(path: Path, lines: int) -> Iterator[bytes]:
    """Yield the last lines and whatever is written after them, over rotations; empty for a pause.

    Raises OSError where there is no such file at first.
    """
    file = path.open("rb", buffering=0)
    file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
    yield b"".join(file.read().splitlines(keepends=True)[-lines:] if lines else ())
    while True:
        another = _is_another(path, file.fileno())
        # What was written before there was another one is read after that was seen.
        while piece := file.read(_PIECE):
            yield piece
        if another:
            file.close()
            file = path.open("rb", buffering=0)
        else:
            yield b""


def _is_another(path: Path, file: int) -> bool:
    try:
        return not os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def main(argv: Sequence[str]) -> int:
    """Follow until whoever reads has gone."""
    try:
        for piece in pieces(Path(argv[1]), int(argv[0])):
            os.write(1, piece) if piece else time.sleep(_POLL_SECONDS)
    except OSError as trouble:
        print(f"cannot follow {argv[1]}: {trouble.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
