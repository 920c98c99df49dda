"""Images on this machine: Debian 13 itself, and the bare host made from it."""

from __future__ import annotations

import shutil
from pathlib import Path

from devtool import apt, shell
from devtool.paths import ROOT, STATE, digest
from devtool.ui import Problem, say, step

BASE = "moorage/base:trixie"
TESTHOST = "moorage/testhost:trixie"
REGISTRY_NAME = "debian:trixie-slim"
BASE_ARCHIVE = STATE / "images" / "base-trixie.tar"

_CONTEXT = ROOT / "molecule" / "shared" / "testhost"
_RECIPE_LABEL = "moorage.recipe"
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")
# What a container never reads; licences stay.
_LEFT_OUT = ("doc/*", "man/*", "locale/*", "info/*", "lintian/*")


def ensure_base() -> None:
    """Make sure that the engine has Debian 13 as moorage/base:trixie."""
    if _label(BASE) is not None:
        return
    if shutil.which("mmdebstrap") is None and not apt.can_install():
        with step(f"Base image: {REGISTRY_NAME} from the registry"):
            _pull()
        return
    with step("Base image: Debian 13 from Debian's archive (about 20 s)"):
        if shutil.which("mmdebstrap") is None:
            apt.install("mmdebstrap", "debian-archive-keyring")
        if not BASE_ARCHIVE.exists():
            _bootstrap(BASE_ARCHIVE)
        shell.output(("docker", "import", "--change", 'CMD ["bash"]', BASE_ARCHIVE, BASE))


def ensure_testhost() -> None:
    """Make sure that the engine has the bare host image, made from the present recipe."""
    wanted = digest((_CONTEXT / "Dockerfile", _CONTEXT / "boot"))
    if _label(TESTHOST) == wanted:
        return
    ensure_base()
    with step("Image of a bare Debian 13 host (about 10 s)"):
        shell.logged(
            "testhost-image",
            (
                "docker",
                "build",
                "--tag",
                TESTHOST,
                "--build-arg",
                f"BASE={BASE}",
                "--label",
                f"{_RECIPE_LABEL}={wanted}",
                *tuple(word for name in _PROXY_VARIABLES for word in ("--build-arg", name)),
                str(_CONTEXT),
            ),
            # Only the engine's own builder sees the engine's images.
            env={"BUILDX_BUILDER": "default"},
        )


def remove() -> None:
    """Remove our images from the engine."""
    for image in (TESTHOST, BASE):
        if _label(image) is not None:
            shell.output(("docker", "rmi", image))
            say(f"    removed image {image}")


def _label(image: str) -> str | None:
    """Return the recipe's hash an image was made from ("" for none), None without the image."""
    template = f'{{{{index .Config.Labels "{_RECIPE_LABEL}"}}}}'
    done = shell.capture(("docker", "image", "inspect", "--format", template, image))
    return done.stdout.strip() if done.returncode == 0 else None


def _pull() -> None:
    done = shell.capture(("docker", "pull", "--quiet", REGISTRY_NAME), timeout=300)
    if done.returncode != 0:
        raise Problem(
            f"no Debian 13 image: {REGISTRY_NAME} cannot be pulled and mmdebstrap is missing",
            *done.stderr.strip().splitlines(),
            "Where no registry is reached, ask the administrator for:",
            "  apt-get install mmdebstrap debian-archive-keyring uidmap",
            "or load an image yourself: docker import base.tar " + BASE,
        )
    shell.output(("docker", "tag", REGISTRY_NAME, BASE))


def _bootstrap(archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_suffix(".part.tar")
    excludes = tuple(f"--dpkgopt=path-exclude=/usr/share/{path}" for path in _LEFT_OUT)
    shell.logged(
        "base-image",
        (
            "mmdebstrap",
            "--variant=apt",
            *excludes,
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            "trixie",
            str(unfinished),
            *_sources(),
        ),
    )
    unfinished.rename(archive)


def _sources() -> tuple[str, ...]:
    """Return the apt sources for Debian 13: this machine's mirror, else mmdebstrap's default."""
    sites = apt.debian_sites()
    if sites is None:
        return ()
    main, security = sites
    return (
        f"deb {main} trixie main",
        f"deb {main} trixie-updates main",
        f"deb {security} trixie-security main",
    )
