"""Bring a project here: from a directory, a repository of git or the address of one file."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from moorage.compose.load import FILE_NAMES

MOST_BYTES = 64 << 20
MOST_FILES = 5_000
_MOST_OF_A_FILE = 1 << 20
_SECONDS = 300
_NEVER = {".git", ".hg", ".svn", "node_modules", "__pycache__"}
_OVERRIDES = tuple(name.replace("compose.y", "compose.override.y") for name in FILE_NAMES)


class AdoptError(Exception):
    """The project cannot be had, or is none; the message says what to do."""


@dataclass(frozen=True)
class Fetched:
    """A project as it lies here: its directory, and in words where it came from."""

    directory: Path
    origin: str


@contextmanager
def fetched(source: str) -> Iterator[Fetched]:
    """Give the project that ``source`` names; what was downloaded is there until the end.

    A repository is named as for `docker build`: ADDRESS.git#REVISION:SUBDIRECTORY, the latter two
    as needed. Raises AdoptError.
    """
    if "://" not in source and not source.startswith("git@"):
        directory = Path(source).expanduser()
        if not directory.is_dir():
            raise AdoptError(f"{source} is no directory and no address")
        yield Fetched(directory.resolve(), str(directory))
        return
    with tempfile.TemporaryDirectory(prefix="adopt-") as place:
        where = Path(place)
        if source.partition("#")[0].endswith((".yml", ".yaml")):
            yield _download(source, where)
        else:
            yield _clone(source, where)


def _download(address: str, where: Path) -> Fetched:
    if not address.startswith(("http://", "https://")):
        raise AdoptError(f"{address}: only http and https lead to a file; clone the repository")
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310 - checked above
            text, end = b"", time.monotonic() + _SECONDS
            while len(text) <= _MOST_OF_A_FILE and (part := answer.read1(1 << 16)):
                text += part
                if time.monotonic() > end:
                    raise AdoptError(f"{address} took more than {_SECONDS} s: fetch it by hand")
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise AdoptError(f"{address} cannot be fetched: {error}") from None
    if len(text) > _MOST_OF_A_FILE:
        raise AdoptError(f"{address} is no Compose file: it has more than {_MOST_OF_A_FILE} bytes")
    (where / FILE_NAMES[1]).write_bytes(text)
    return Fetched(where, address)


def _clone(address: str, where: Path) -> Fetched:
    repository, _, rest = address.partition("#")
    revision, _, below = rest.partition(":")
    # A revision that looked like an option would be one.
    branch = [f"--branch={revision}"] if revision else []
    _git("clone", "--quiet", "--depth=1", *branch, "--", repository, str(where / "clone"))
    commit = _git("-C", str(where / "clone"), "rev-parse", "--short=12", "HEAD").strip()
    directory = (where / "clone" / below).resolve()
    if not directory.is_relative_to((where / "clone").resolve()) or not directory.is_dir():
        raise AdoptError(f"{repository} has no directory {below}")
    return Fetched(directory, f"{repository} ({commit}{f', {below}' if below else ''})")


def _git(*argv: str) -> str:
    # Asks nobody for a password, and follows no address to a program.
    safe = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file"}
    try:
        done = subprocess.run(
            ["git", *argv],
            env={**os.environ, **safe},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise AdoptError("git is not installed here: sudo apt install git") from None
    except subprocess.TimeoutExpired:
        raise AdoptError(f"git took more than {_SECONDS} s: clone it by hand, name DIR") from None
    if done.returncode:
        raise AdoptError(f"git: {done.stderr.strip() or f'ended with {done.returncode}'}")
    return done.stdout


def compose_files(directory: Path, named: Collection[str]) -> list[str]:
    """Return the Compose files of a project, in the order in which they are merged.

    Those named, else the usual one with its override. Raises AdoptError where there is none.
    """
    for name in named:
        path = (directory / name).resolve()
        if not path.is_relative_to(directory) or not path.is_file():
            raise AdoptError(f"{directory} has no file {name}")
    if named:
        return list(named)
    first = next((name for name in FILE_NAMES if (directory / name).is_file()), None)
    if first is None:
        others = sorted(p.name for p in directory.glob("*.y*ml"))[:8]
        advice = f"name one by --file: {', '.join(others)}" if others else "there is no YAML file"
        raise AdoptError(f"{directory} has none of {', '.join(FILE_NAMES)}: {advice}")
    override = next((name for name in _OVERRIDES if (directory / name).is_file()), None)
    return [first, override] if override else [first]


def copy(origin: Path, target: Path, without: Collection[str]) -> list[str]:
    """Copy a project's files; return what was left out, in words.

    Directories of version control stay away, and those in ``without`` (paths below ``origin``).
    Links are copied as they are where they lead to what is copied. Raises AdoptError, with nothing
    left at ``target``, for what cannot be a description.
    """
    left, sizes, count = [], dict[str, int](), 0
    dropped = {(origin / name).resolve() for name in without}
    chosen: list[Path] = []
    for where, below, names in origin.walk():
        below[:] = [n for n in below if n not in _NEVER and (where / n).resolve() not in dropped]
        linked = [n for n in below if (where / n).is_symlink()]
        below[:] = [n for n in below if n not in linked]
        for path in (where / name for name in (*names, *linked)):
            relative = path.relative_to(origin)
            if path.is_symlink():
                if not path.resolve().is_relative_to(origin):
                    left.append(f"{relative}: a link that leads out of the project")
                    continue
            elif not path.is_file():
                left.append(f"{relative}: neither a file nor a directory")
                continue
            elif not os.access(path, os.R_OK):
                left.append(f"{relative}: not readable for you")
                continue
            chosen.append(relative)
            count += 1
            sizes[relative.parts[0]] = sizes.get(relative.parts[0], 0) + path.lstat().st_size
            if count > MOST_FILES or sum(sizes.values()) > MOST_BYTES:
                largest = max(sizes, key=lambda name: sizes[name])
                raise AdoptError(
                    f"{origin} holds more than a description: over {MOST_FILES} files or "
                    f"{MOST_BYTES >> 20} MiB, most of it in {largest}. Data moves apart "
                    f"(docs/adopt.md): --without {largest}"
                )
    for relative in chosen:
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(origin / relative, target / relative, follow_symlinks=False)
    return left
