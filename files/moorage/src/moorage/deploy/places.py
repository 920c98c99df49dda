"""Paths of the host that a stack mounts: looked at before anything runs on them, made if missing.

Nothing is made below a directory in which anybody but root can put a link: root would be led
elsewhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from moorage.common.files import write_atomically
from moorage.deploy.foreign import ENTER
from moorage.deploy.release import Release, ReleaseError
from moorage.release.layout import Layout, known_stacks
from moorage.release.manifest import Place
from moorage.release.places import clean, inside, refusal

_MODE = 0o755
_TIMEZONE = "/etc/timezone"
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def make_places(layout: Layout, release: Release) -> list[str]:
    """Make what is to be there and is not; return what was made.

    Raises ReleaseError for a path that may not be mounted, by whatever links it is reached, and for
    one that cannot be made.
    """
    stacks = known_stacks(layout.base.parent)
    made = []
    for place in release.manifest.places:
        if place.path == _TIMEZONE:
            _say_timezone()
        missing = not os.path.lexists(place.path)
        for path in dict.fromkeys((place.path, os.path.realpath(place.path))):
            # A stack whose own directory is behind a link is no other one.
            base = str(layout.base), os.path.realpath(layout.base)
            for own in dict.fromkeys(base):
                why = refusal(path, own, stacks, read_only=place.read_only, making=missing)
                if why:
                    leads = "" if path == place.path else f", which leads to {path},"
                    raise ReleaseError(
                        f"{place.path}{leads} {why}: mount another path, or make it yourself"
                    )
        if missing:
            _make(place)
            made.append(place.path)
    _apart(release.manifest.places)
    return made


def _apart(places: Sequence[Place]) -> None:
    """Refuse a place below one that services write to, also by links of the host's own."""
    real = {place.path: os.path.realpath(place.path) for place in places}
    for path, leads in real.items():
        for above in places:
            over = real[above.path]
            if not above.read_only and leads != over and inside(leads, over):
                raise ReleaseError(
                    f"{path} lies in {above.path}, where services write and could put a link to "
                    f"anywhere: mount all of {above.path} in its place"
                )


def _say_timezone(path: Path = Path(_TIMEZONE), zone: Path = Path("/etc/localtime")) -> None:
    """Have the file that containers are given so often; Debian 13 has it no more."""
    if not os.path.lexists(path) and zone.is_symlink():
        name = str(zone.readlink()).partition("zoneinfo/")[2]
        write_atomically(path, f"{name or 'Etc/UTC'}\n")


def _make(place: Place) -> None:
    if not place.make:
        raise ReleaseError(
            f"{place.path} is not there, and its mount says create_host_path: false: make it"
        )
    parts = clean(place.path).strip("/").split("/")
    with _entered("/", None) as top:
        _descend(top, "", parts, place.path)


def _descend(above: int, way: str, parts: list[str], whole: str) -> None:
    status = os.fstat(above)
    if status.st_uid or status.st_mode & _OTHERS:
        raise ReleaseError(
            f"{whole} is not there, and {way or '/'} is not root's alone: whoever writes there "
            f"could lead root elsewhere. Make it yourself: `mkdir -p {whole}`"
        )
    name, *rest = parts
    with suppress(FileExistsError):
        os.mkdir(name, _MODE, dir_fd=above)
    if rest:
        try:
            with _entered(name, above) as here:
                _descend(here, f"{way}/{name}", rest, whole)
        except NotADirectoryError:
            raise ReleaseError(
                f"{whole} cannot be made: {way}/{name} is a link or a file. Write where it leads to"
            ) from None


@contextmanager
def _entered(name: str, above: int | None) -> Iterator[int]:
    fd = os.open(name, ENTER, dir_fd=above)
    try:
        yield fd
    finally:
        os.close(fd)
