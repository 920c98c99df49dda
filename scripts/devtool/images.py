"""Images on this machine: Debian 13 itself, and the bare host made from it."""

from __future__ import annotations

import shutil

from devtool import apt, shell
from devtool.paths import ROOT, STATE, digest
from devtool.ui import Problem, say, step

BASE = "moorage/base:trixie"
TESTHOST = "moorage/testhost:trixie"
REGISTRY_NAME = "debian:trixie-slim"
BASE_ARCHIVE = STATE / "images" / "base-trixie.tar"

_BOOTSTRAP = ROOT / "files" / "images" / "base" / "bootstrap.sh"
_CONTEXT = ROOT / "molecule" / "shared" / "testhost"
_RECIPE_LABEL = "moorage.recipe"
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")


def ensure_base() -> None:
    """Make sure that the engine has Debian 13 as moorage/base:trixie.

    Debian machines make it as a host of a stack does, without a registry; others pull it.
    """
    if _label(BASE) is not None:
        return
    if apt.os_release().get("ID") == "debian" and (shutil.which("mmdebstrap") or apt.can_install()):
        with step("Base image: Debian 13 from Debian's archive (about 20 s)"):
            _bootstrap()
        return
    with step(f"Base image: {REGISTRY_NAME} from the registry"):
        _pull()


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


def _bootstrap() -> None:
    if not BASE_ARCHIVE.exists():
        BASE_ARCHIVE.parent.mkdir(parents=True, exist_ok=True)
        unfinished = BASE_ARCHIVE.with_suffix(".part.tar")
        install = ("--install",) if apt.can_install() else ()
        shell.logged("base-image", (_BOOTSTRAP, *install, "--output", unfinished))
        unfinished.rename(BASE_ARCHIVE)
    shell.output(("docker", "import", "--change", 'CMD ["bash"]', BASE_ARCHIVE, BASE))
