"""Debian packages on this machine: what it runs, and installing as root."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

from devtool import shell
from devtool.ui import Problem, step

_APT = ("apt-get", "-o", "DPkg::Lock::Timeout=120")


@cache
def os_release() -> dict[str, str]:
    """Return the fields of /etc/os-release without their quotes."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except FileNotFoundError:
        return {}
    fields = (line.split("=", 1) for line in lines if "=" in line)
    return {key: value.strip("\"'") for key, value in fields}


def can_install() -> bool:
    """Tell whether we may install Debian packages here."""
    return shell.is_root() and shutil.which("apt-get") is not None


def install(*packages: str) -> None:
    """Install packages as root, with a fresh package list and nothing that is only recommended."""
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    shell.logged("apt-update", (*_APT, "update"), env=env)
    shell.logged(
        f"apt-{packages[0]}",
        (*_APT, "install", "-y", "--no-install-recommends", *packages),
        env=env,
    )


def need(*wanted: tuple[str, str, str]) -> None:
    """Make sure that programs are there, each (program, its package, what it is for).

    What is missing is installed at once, or named at once for the administrator.
    """
    missing = [entry for entry in wanted if shutil.which(entry[0]) is None]
    if not missing:
        return
    packages = sorted({package for _, package, _ in missing})
    if not can_install():
        raise Problem(
            "some programs are missing and only root may install them",
            *(f"{program}: {why}" for program, _, why in missing),
            f"Ask the administrator for: apt-get install {' '.join(packages)}",
        )
    with step(f"Debian packages: {' '.join(packages)}"):
        install(*packages)
