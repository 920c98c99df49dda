"""The peers of the bench, installed for nobody else: below .state, as no user of the machine."""

from __future__ import annotations

import compileall
import json
import shutil
import subprocess
import sys
from pathlib import Path

from devtool.paths import ROOT, STATE

HOME = STATE / "bench" / "peers"
VENV = HOME / "venv"
DEBIAN = HOME / "debian"
OURS = HOME / "ours"
PM2 = HOME / "node_modules" / "pm2"
SOURCES = ROOT / "files" / "moorage" / "src"
HERE = Path(__file__).resolve().parent
_PIP = ("supervisor", "circus")
_APT = ("runit", "s6", "execline", "libexecline2.9", "libs6-2.11", "libskarnet2.13")


def install() -> dict[str, str]:
    """Have the programs that can be had; return the versions of those."""
    HOME.mkdir(parents=True, exist_ok=True)
    # Ours is installed and compiled as the others are.
    shutil.rmtree(OURS, ignore_errors=True)
    shutil.copytree(SOURCES / "process_supervisor", OURS / "process_supervisor")
    compileall.compile_dir(OURS, quiet=1)
    for program in ("service", "floor"):
        _run("cc", "-O2", "-o", str(HOME / program), str(HERE / f"{program}.c"))
    found = {"C": _said("cc", "--version").splitlines()[0]}
    if not (VENV / "bin" / "circusd").exists():
        _run(sys.executable, "-m", "venv", str(VENV))
        _run(str(VENV / "bin" / "pip"), "install", "-q", *_PIP)
    for line in _said(str(VENV / "bin" / "pip"), "freeze").splitlines():
        name, _, version = line.partition("==")
        if name in _PIP:
            found[name] = version
    found |= _debian()
    return found | _pm2()


def paths() -> list[str]:
    """Where the clients of the Python peers are."""
    return [str(path) for path in (VENV / "lib").glob("python3*/site-packages")]


def library() -> str:
    """Where the libraries of Debian's packages are."""
    return ":".join(str(path) for path in (DEBIAN / "usr" / "lib").glob("*-linux-gnu"))


def _debian() -> dict[str, str]:
    """Debian's packages, unpacked; other names of the libraries belong to other releases."""
    DEBIAN.mkdir(exist_ok=True)
    for name in _APT:
        if not list(DEBIAN.glob(f"{name}_*.deb")):
            subprocess.run(("apt-get", "download", "-qq", name), cwd=DEBIAN, check=False)
        for package in DEBIAN.glob(f"{name}_*.deb"):
            _run("dpkg-deb", "-x", str(package), str(DEBIAN))
    found = {}
    for name in ("runit", "s6"):
        for package in DEBIAN.glob(f"{name}_*.deb"):
            found[name] = package.name.split("_")[1]
    return found


def _pm2() -> dict[str, str]:
    """PM2, where there is npm."""
    if not PM2.exists():
        try:
            _run("npm", "install", "--silent", "--prefix", str(HOME), "pm2")
        except (OSError, subprocess.CalledProcessError):
            return {}
    return {"pm2": str(json.loads((PM2 / "package.json").read_text())["version"])}


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
