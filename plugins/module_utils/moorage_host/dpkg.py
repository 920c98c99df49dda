"""Which Debian packages are installed, from dpkg's own status file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

STATUS_FILE = Path("/var/lib/dpkg/status")

_FIELD = re.compile(r"^(Package|Status|Version|Architecture|Provides): (.*)$", re.MULTILINE)


class Package(NamedTuple):
    """One installed package."""

    version: str
    architecture: str
    provides: set[str]


def parse_status(text: str) -> dict[str, Package]:
    """Installed packages by name; format: deb822 stanzas as in dpkg-query(1).

    A package that was removed but left its configuration is not installed. Of a package that is
    installed for several architectures, one entry remains.
    """
    installed: dict[str, Package] = {}
    for stanza in text.split("\n\n"):
        fields = dict(_FIELD.findall(stanza))
        # Status is "want flag state": only the state says what is on the disk.
        if fields.get("Status", "").split(" ")[-1] != "installed":
            continue
        installed[fields["Package"]] = Package(
            version=fields.get("Version", ""),
            architecture=fields.get("Architecture", ""),
            provides=_names(fields.get("Provides", "")),
        )
    return installed


def _names(field: str) -> set[str]:
    return {entry.split("(")[0].split(":")[0].strip() for entry in field.split(",")} - {""}


def read_status(path: Path = STATUS_FILE) -> dict[str, Package]:
    """Installed packages; none on a host without dpkg."""
    try:
        return parse_status(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return {}


def missing(wanted: Iterable[str], installed: dict[str, Package]) -> list[str]:
    """Those of `wanted` that nothing installed satisfies.

    An entry may name alternatives as a Depends field does ("systemd-timesyncd | time-daemon"):
    installed or provided, any of them will do.
    """
    present: set[str] = set(installed)
    for package in installed.values():
        present |= package.provides
    return [entry for entry in wanted if not present.intersection(alternatives(entry))]


def alternatives(entry: str) -> list[str]:
    """The names in "a | b", the preferred one first."""
    return [name.strip() for name in entry.split("|")]


def native_architecture(installed: dict[str, Package]) -> str:
    """The architecture of the installed system (a 32-bit system may run on a 64-bit kernel)."""
    return installed["dpkg"].architecture if "dpkg" in installed else ""
