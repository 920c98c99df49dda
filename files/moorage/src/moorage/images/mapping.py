"""Which image stands for a name that Compose files and Dockerfiles use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from moorage.images import context as contexts
from moorage.images.errors import ImageError
from moorage.images.spec import BuildSpec, describe, spec_digest

# A directory with this program makes an image without one to start FROM.
BOOTSTRAP = "bootstrap.sh"
# Its image keeps one name, so that whoever has it already (a registry's, a loaded archive) is
# left alone; images built on it carry the program's hash in theirs.
BASE_TAG = "trixie"


class ImageMap:
    """`images_map`, resolved: every value that names a directory becomes the image built from it.

    `refresh` is any text; another one gives another hash to the base and all that is built on it,
    and so rebuilds them with the archive's present packages.
    """

    def __init__(self, directory: Path, names: Mapping[str, str], refresh: str = "") -> None:
        self.refs: dict[str, str] = {}
        self._identities: dict[str, str] = {}
        self._specs: dict[str, BuildSpec] = {}
        self.directory = directory
        self._refresh = refresh
        self._asked: set[str] = set()
        self._values = dict(names)
        self._starts_from: dict[str, set[str]] = {}
        # The base first: the others are named after what they start from.
        for name in sorted(names, key=lambda n: not (directory / names[n] / BOOTSTRAP).is_file()):
            value = names[name]
            source = directory / value
            if "/" in value or ":" in value or not source.is_dir():
                self._check_reference(name, value, directory)
                self.refs[name] = self._identities[name] = value
            else:
                self._add(name, value, source)

    @property
    def specs(self) -> tuple[BuildSpec, ...]:
        """What a host has to hold for the map, in the order of building."""
        return tuple(self._specs.values())

    def needed(self) -> set[str]:
        """Return the names that were asked for so far, and those that their images start from."""
        found: set[str] = set()
        left = set(self._asked)
        while left:
            name = left.pop()
            if name in self.refs and name not in found:
                found.add(name)
                left |= self._starts_from.get(self._values[name], set())
        return found

    def ref(self, name: str) -> str:
        """Return the reference that stands for ``name``: itself when it is not in the map."""
        self._asked.add(name)
        return self.refs.get(name, name)

    def notes(self, names: Iterable[str]) -> list[str]:
        """Return what is to be said of images that are not what their names make a person think."""
        return [
            f"the image {name} is built here of Debian's packages (images_map), not of Alpine's: "
            "the same programs with another C library"
            for name in names
            if "alpine" in name and self._values.get(name) in self._specs
        ]

    def commands(self, name: str) -> tuple[str, ...]:
        """Return the commands for Moorage that the image for ``name`` has, of what it is known."""
        return self.commands_in(self._values[name]) if name in self._values else ()

    def commands_in(self, value: str) -> tuple[str, ...]:
        """Return the commands for Moorage that are in a directory; none where it is a reference."""
        return tuple(sorted(path.name for path in (self.directory / value).glob("moorage-*")))

    def identity(self, name: str) -> str:
        """Return what an image built on ``name`` depends on."""
        self._asked.add(name)
        return self._identities.get(name, name)

    def _add(self, name: str, value: str, source: Path) -> None:
        if value not in self._specs:
            make = self._bootstrap if (source / BOOTSTRAP).is_file() else self._build
            self._specs[value] = make(value, source)
        spec = self._specs[value]
        # What the map itself asks for, nobody needs yet.
        self._starts_from.setdefault(value, self._asked)
        self._asked = set()
        self.refs[name] = spec.ref
        self._identities[name] = f"{spec.ref}@{spec.digest}"

    def _bootstrap(self, value: str, source: Path) -> BuildSpec:
        entries = tuple(contexts.scan(source, contexts.rules_of(source)))
        digest = hashlib.sha256(f"{self._refresh}\n{contexts.digest(entries)}".encode()).hexdigest()
        return BuildSpec(
            key=value,
            ref=f"moorage/{value}:{BASE_TAG}",
            dockerfile=None,
            trees={"": entries},
            script=BOOTSTRAP,
            digest=digest,
        )

    def _build(self, value: str, source: Path) -> BuildSpec:
        try:
            spec = describe(value, {"context": str(source)}, source, self, "")
        except (ImageError, OSError) as error:
            raise ImageError(f"images_map: {value}: {error}") from error
        digest = spec_digest(spec, self)
        return replace(spec, ref=f"moorage/{value}:{digest[:12]}", digest=digest)

    @staticmethod
    def _check_reference(name: str, value: str, directory: Path) -> None:
        # A bare word may be a registry's image, yet more often it is a mistyped directory.
        if not value or ("/" not in value and ":" not in value):
            raise ImageError(
                f"images_map: {name}: {value!r} is neither a directory of {directory} nor an "
                f"image with a tag: write {value or 'NAME'}:TAG if an image is meant"
            )
