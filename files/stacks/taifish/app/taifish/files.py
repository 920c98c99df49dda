"""What lies on the volume: uploads and marks of unnamed ones, thumbs, exports, logs, beat's own."""

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

FOLDERS = ("uploads", "unnamed", "thumbs", "exports", "logs", "beat")
_LOG_BYTES = 10_000_000


def prepare(data: Path) -> None:
    """Make what is missing."""
    for name in FOLDERS:
        (data / name).mkdir(parents=True, exist_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write that is there as a whole afterwards, or not at all."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def replace(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all."""
    with writing(path) as file:
        file.write(content)


def audit(data: Path, event: str, **fields: object) -> None:
    """Append a line of JSON to logs/audit.log: who signed in, and who was refused.

    One write a line, so processes may share the file. A full disk keeps nobody out.
    """
    line = json.dumps({"at": round(time.time(), 3), "event": event, **fields}, ensure_ascii=False)
    try:
        with (data / "logs" / "audit.log").open("ab", buffering=0) as file:
            file.write(line.encode("utf-8", "replace") + b"\n")
    except OSError:
        return


def rotate(data: Path) -> None:
    """Keep the log and one older file, each of ten megabytes or a little more."""
    log = data / "logs" / "audit.log"
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
