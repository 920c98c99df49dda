"""The feed of releases: where it is, what it says, and whether its signature is right.

`feed.json` (written by fastblog_start.publish) names releases, its own number, which grows, and
until when it is good: who holds answers back or sends old ones must not keep a site on an old
release.
"""

import hashlib
import http.client
import json
import re
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastblog_start import releases
from fastblog_start.releases import ReleaseError

from moorage.common.files import write_atomically
from moorage.common.readers import decode, read_note
from moorage.common.signing import SigningError, signature_of, verify

_MOST_FEED = 1_000_000
_SECONDS = 20.0
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
_HASH = re.compile(r"[0-9a-f]{64}")


class UpdateError(Exception):
    """Nothing can be updated; the message says why."""


@dataclass(frozen=True)
class Release:
    """What the feed says of a release."""

    version: str
    file: str
    size: int
    sha256: str
    notes: str = ""


@dataclass(frozen=True)
class Place:
    """Where updates come from, and where what is known of them is kept."""

    # A URL or a path of feed.json; empty: nowhere.
    feed: str
    key: Path
    data: Path
    releases: Path

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> "Place":
        """Read it."""
        data = Path(env.get("DATA_DIR", "") or "data").absolute()
        key = Path(env.get("RELEASE_KEY_FILE", ""))
        return cls(env.get("UPDATE_FEED", ""), key, data / "updates", releases.directory(env))

    def note(self, name: str, content: Mapping[str, Any]) -> None:
        """Keep a note for the other processes."""
        self.data.mkdir(mode=0o750, parents=True, exist_ok=True)
        write_atomically(self.data / f"{name}.json", json.dumps(content, ensure_ascii=False))

    def noted(self, name: str) -> dict[str, Any]:
        """Return a note; empty when there is none that can be read."""
        return read_note(self.data / f"{name}.json")

    def running(self) -> str:
        """Return the version that is to run."""
        return releases.current(self.releases) or releases.deployed()

    def fetch(self, name: str, most: int) -> bytes:
        """Return a file that lies beside the feed; raises UpdateError."""
        base, slash, _ = self.feed.rpartition("/")
        where = f"{base}{slash}{name}"
        try:
            if where.startswith(("https://", "http://")):
                content = _download(where, most)
            else:
                with Path(where).open("rb") as file:
                    content = file.read(most + 1)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise UpdateError(f"cannot fetch {where}: {error}") from None
        if len(content) > most:
            raise UpdateError(f"{where} is larger than {most} bytes")
        return content

    def read(self) -> tuple[int, list[Release]]:
        """Return the feed's number and its releases, the newest first; raises UpdateError."""
        if not self.feed:
            raise UpdateError("no feed of releases is set: UPDATE_FEED")
        name = self.feed.rpartition("/")[2]
        content = self.fetch(name, _MOST_FEED)
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch, "feed.json")
            copy.write_bytes(content)
            signature_of(copy).write_bytes(self.fetch(signature_of(Path(name)).name, 10_000))
            try:
                verify(copy, self.key)
            except SigningError as error:
                raise UpdateError(f"the feed's signature is not right: {error}") from None
        serial, found = parse(content)
        seen = self.noted("state").get("serial")
        if isinstance(seen, int) and serial < seen:
            raise UpdateError("the feed is older than one that was seen before")
        return serial, found


def parse(content: bytes) -> tuple[int, list[Release]]:
    """Return number and releases of a feed whose signature is right; raises UpdateError."""
    try:
        given = decode(content)
        if given["format"] != 1:
            raise ValueError(f"format {given['format']!r} is not known; update by a deployment")
        found = [
            Release(
                str(entry["version"]),
                str(entry["file"]),
                int(entry["size"]),
                str(entry["sha256"]),
                str(entry.get("notes", ""))[:4000],
            )
            for entry in given["releases"]
        ]
        for release in found:
            if not _FILE.fullmatch(release.file) or not _HASH.fullmatch(release.sha256):
                raise ValueError(f"odd file or hash of {release.version[:40]!r}")
        found.sort(key=lambda release: releases.parse(release.version), reverse=True)
        serial, expires = int(given["serial"]), float(given["expires"])
    except (ValueError, TypeError, LookupError, AttributeError, ReleaseError) as error:
        raise UpdateError(f"the feed cannot be read: {error}") from None
    if expires < time.time():
        raise UpdateError("the feed has expired: nobody has signed a newer one")
    return serial, found


def check(place: Place, release: Release, content: bytes) -> None:
    """Raise UpdateError when this is not what the feed has named."""
    if len(content) != release.size or hashlib.sha256(content).hexdigest() != release.sha256:
        raise UpdateError(f"{release.file} is not the file that {place.feed} names")


def _download(url: str, most: int) -> bytes:
    # Of two schemes alone, and signed: whoever answers can at most send nothing that is used.
    request = urllib.request.Request(url, headers={"User-Agent": "fastblog"})  # noqa: S310
    deadline = time.monotonic() + _SECONDS
    found = b""
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
        while len(found) <= most and (piece := answer.read1(65_536)):
            found += piece
            if time.monotonic() > deadline:
                raise TimeoutError(f"it takes longer than {_SECONDS:g} s")
    return found
