"""The Ansible collections of requirements.yml, taken out of one hashed wheel."""

from __future__ import annotations

import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

import yaml

from devtool import shell
from devtool.paths import ROOT, digest
from devtool.ui import Problem, step

_LOCK = ROOT / "requirements" / "collections.txt"
_WANTED = ROOT / "requirements.yml"


def ensure() -> None:
    """Install the collections into the virtual environment, where Ansible finds them by itself.

    The `ansible` wheel holds some hundred collections; taking out the few we use keeps the
    environment small and asks no second registry.
    """
    target = Path(sysconfig.get_path("purelib"))
    stamp = target / "ansible_collections" / ".moorage-stamp"
    wanted = digest([_LOCK, _WANTED], __file__)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    with step("Ansible collections"):
        names = _wanted_versions()
        with tempfile.TemporaryDirectory(prefix="moorage-") as download:
            shell.logged(
                "collections",
                (
                    sys.executable,
                    "-m",
                    "pip",
                    "download",
                    "-q",
                    "-q",
                    "--no-deps",
                    "--require-hashes",
                    "-r",
                    _LOCK,
                    "-d",
                    download,
                ),
            )
            _extract(next(Path(download).glob("*.whl")), target, names)
        stamp.write_text(wanted)


def _wanted_versions() -> dict[str, str]:
    described = yaml.safe_load(_WANTED.read_text())
    return {entry["name"]: str(entry["version"]) for entry in described["collections"]}


def _extract(wheel: Path, target: Path, versions: dict[str, str]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name, version in versions.items():
            prefix = f"ansible_collections/{name.replace('.', '/')}/"
            members = [entry for entry in archive.namelist() if entry.startswith(prefix)]
            manifest = yaml.safe_load(archive.read(f"{prefix}MANIFEST.json")) if members else {}
            found = manifest.get("collection_info", {}).get("version")
            if found != version:
                raise Problem(
                    f"{wheel.name} holds {name} {found}, but requirements.yml says {version}",
                    "Put the same version into requirements.yml, or another wheel into "
                    "requirements/collections.in and run: make lock",
                )
            archive.extractall(target, members)
