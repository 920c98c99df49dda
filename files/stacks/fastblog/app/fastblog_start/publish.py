"""Make a signed release: `python3 -m fastblog_start.publish KEY DIRECTORY [--source APP]`.

Writes `fastblog-VERSION.tar.gz` and `feed.json` with their signatures into the directory, which is
then served as it is. KEY is a secret key of minisign without a password (`minisign -GW`).
"""

import argparse
import gzip
import hashlib
import io
import json
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

from fastblog_start import releases
from moorage.common.files import write_atomically
from moorage.common.readers import read_note
from moorage.common.signing import SigningError, sign

_EXPIRES_SECONDS = 180 * 86_400


def pack(source: Path) -> bytes:
    """Return the archive of the package `fastblog` in a directory; the same files give the same."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as packed:
        for path in sorted((source / "fastblog").rglob("*")):
            if not path.is_file() or "__pycache__" in path.parts:
                continue
            entry = tarfile.TarInfo(str(path.relative_to(source)))
            content = path.read_bytes()
            entry.size, entry.mode = len(content), 0o644
            packed.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def publish(key: Path, directory: Path, source: Path, notes: str = "") -> str:
    """Write a release and the feed that names it; return its version. Raises SigningError."""
    version = releases.version_of(source)
    content = pack(source)
    file = releases.archive(directory, version)
    write_atomically(file, content)
    sign(file, key, f"fastblog {version}")
    feed = directory / "feed.json"
    before = read_note(feed)
    entry = {
        "version": version,
        "file": file.name,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "notes": notes,
    }
    others = [found for found in before.get("releases", []) if found["version"] != version]
    now = int(time.time())
    whole = {
        "format": 1,
        # Grows with each feed: an older one is not taken for the newest.
        "serial": max(now, int(before.get("serial", 0)) + 1),
        "expires": now + _EXPIRES_SECONDS,
        "releases": [entry, *others][:50],
    }
    write_atomically(feed, json.dumps(whole, indent=1))
    sign(feed, key, f"fastblog feed {whole['serial']}")
    return version


def main(argv: Sequence[str] | None = None) -> int:
    """Do it; return the exit status."""
    parser = argparse.ArgumentParser(prog="fastblog_start.publish", description=__doc__)
    parser.add_argument("key", type=Path)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--source", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--notes", default="")
    args = parser.parse_args(argv)
    args.directory.mkdir(parents=True, exist_ok=True)
    try:
        print(publish(args.key, args.directory, args.source, args.notes))
    except (SigningError, releases.ReleaseError, OSError) as error:
        print(f"cannot publish: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
