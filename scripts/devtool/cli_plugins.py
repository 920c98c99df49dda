"""Compose and Buildx for the Docker CLI of this machine, where it has none (or Compose 1)."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

from devtool import images, shell
from devtool.paths import LOGS, STATE
from devtool.ui import Problem, step

_CONFIG = STATE / "docker-cli"
_PLUGINS = _CONFIG / "cli-plugins"
_NAMES = ("docker-compose", "docker-buildx")
# Debian 13 packs both as single Go programs that run on any Linux of the same architecture.
_FETCH = (
    "apt-get update >&2 && cd /tmp && apt-get download docker-compose docker-buildx >&2 && "
    "for deb in *.deb; do dpkg-deb -x $deb x; done && "
    "tar -c -C x/usr/libexec/docker/cli-plugins docker-compose docker-buildx"
)


def ensure() -> None:
    """Make sure that `docker compose` (2 or newer) and `docker buildx` answer."""
    if _answer():
        return
    images.ensure_base()
    with step("Compose and Buildx for the Docker CLI, from Debian 13's packages"):
        _adopt_user_config()
        _fetch()
    if not _answer():
        raise Problem(
            "docker compose and docker buildx still do not answer",
            f"They were put into {_PLUGINS}; what do they say?",
            f"  DOCKER_CONFIG={_CONFIG} docker compose version",
        )


def _answer() -> bool:
    compose = shell.capture(("docker", "compose", "version", "--short"))
    major = compose.stdout.strip().lstrip("v").partition(".")[0]
    if compose.returncode != 0 or not major.isdigit() or int(major) < 2:
        return False
    return shell.capture(("docker", "buildx", "version")).returncode == 0


def _adopt_user_config() -> None:
    """Link the user's own Docker settings (credentials, contexts) beside our plugins."""
    _PLUGINS.mkdir(parents=True, exist_ok=True)
    own = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    for source, target in ((own, _CONFIG), (own / "cli-plugins", _PLUGINS)):
        for entry in source.iterdir() if source.is_dir() else ():
            link = target / entry.name
            if entry.name not in ("cli-plugins", *_NAMES) and not link.is_symlink():
                link.symlink_to(entry)


def _fetch() -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / "cli-plugins.log"
    with log.open("wb") as stream:
        done = subprocess.run(
            ["docker", "run", "--rm", "--init", images.BASE, "sh", "-ec", _FETCH],
            env=shell.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stream,
            check=False,
        )
    if done.returncode != 0:
        raise Problem(
            "could not fetch Debian 13's docker-compose and docker-buildx",
            *log.read_text(errors="replace").splitlines()[-10:],
        )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(_PLUGINS, filter="data")
