"""Building on a host: images with its Docker engine, environments with its Python."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorage.images import environment
from moorage.images.dockerfile import line_of
from moorage.images.errors import ImageError
from moorage.images.pull import advice
from moorage.release.layout import DEFAULT_BASE, Layout
from moorage.release.names import STACK_LABEL

DIGEST_LABEL = "moorage.digest"
LOGS = Path("/var/log/moorage")
# More builds at once than this are slower than one after the other on a small host.
_AT_ONCE = 2
_PULL_TIMEOUT = 600
# How long a registry may take to answer before the archive is used instead.
_TRY_TIMEOUT = 30
_TAIL = 30
_WIDTH = 300
_STEP = re.compile(r"^#\d+ (\[(?!internal|context|auth).+?\] .+)$")
_PIP_STEP = re.compile(r"^(Collecting \S+|Installing collected packages)")
_NOISE = re.compile(r"^(#\d+ )?(DONE|CACHED|\.\.\.|sha256:|transferring|extracting)|^\s*$|^-{3,}$")
# How the builder names an image of a registry that it failed to get, and why.
_NOT_HAD = re.compile(
    r"^ *> (?:\[[^\]]*\] )?(?:load metadata for|FROM) (\S+?)(?:@\S+)?:$",
    re.MULTILINE,
)
_REASON = re.compile(
    r"((?:failed to do request|failed to resolve|pull access denied|unexpected status"
    r"|failed to authorize|failed to fetch|\S+: not found).*)$",
    re.MULTILINE,
)
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

Listener = Callable[[dict[str, Any]], None]
# What `docker image inspect` is asked: a line of names and labels for each image there is.
INSPECT_FORMAT = "{{json .RepoTags}}\t{{json .Config.Labels}}"


def missing(wanted: Sequence[tuple[str, str]], listing: str) -> list[str]:
    """Return the references that a host does not hold, from what INSPECT_FORMAT printed.

    `wanted` pairs a reference with the digest its label has to show; "" where the name says it. An
    image without the label was put there by somebody and is taken as it is.
    """
    held: dict[str, str] = {}
    for line in listing.splitlines():
        names, separator, labels = line.partition("\t")
        if separator:
            label = (json.loads(labels) or {}).get(DIGEST_LABEL, "")
            held.update(dict.fromkeys(json.loads(names) or [], label))
    return [
        ref
        for ref, digest in wanted
        if ref not in held or (digest and held[ref] not in ("", digest))
    ]


@dataclass
class Builder:
    """Builds the images and environments of a recipe that was unpacked to ``directory``.

    ``base`` is where the directories of stacks lie, ``environment`` what docker is started with,
    ``registries`` those that it signs in to.
    """

    directory: Path
    listener: Listener
    options: dict[str, Any]
    logs: Path = LOGS
    base: Path = DEFAULT_BASE
    environment: Mapping[str, str] | None = None
    registries: Sequence[str] = ()

    def build(self, images: Sequence[dict[str, Any]]) -> None:
        """Build what is missing of ``images``: what others start FROM first, the rest two at once.

        Environments come one after the other, since they share their wheels.

        Raises ImageError for the first that fails; those begun beside it are finished.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        needed = [image for image in images if self._is_missing(image)]
        for image in needed:
            if image["script"]:
                self._make(image, self._bootstrap)
            elif image["environment"]:
                self._make(image, self._fill)
        rest = [image for image in needed if not (image["script"] or image["environment"])]
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            started = [pool.submit(self._make, image, self._buildx) for image in rest]
            _, pending = wait(started, return_when=FIRST_EXCEPTION)
            for future in pending:
                future.cancel()
        for future in started:
            if not future.cancelled():
                future.result()

    def _is_missing(self, image: dict[str, Any]) -> bool:
        if image["environment"]:
            return not environment.is_complete(self._layout(image).environment(image["ref"]))
        argv = ["docker", "image", "inspect", "--format", INSPECT_FORMAT, image["ref"]]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        wanted = [(image["ref"], image["digest"] if image["script"] else "")]
        return bool(missing(wanted, done.stdout))

    def _make(self, image: dict[str, Any], how: Callable[[dict[str, Any], Path], None]) -> None:
        ref, started = image["ref"], time.monotonic()
        name = ref.rpartition(":")[0].rpartition("/")[2]
        self.listener({"event": "building", "ref": ref})
        log = self.logs / f"build-{name}.log"
        log.write_text("")
        how(image, log)
        seconds = round(time.monotonic() - started, 1)
        self.listener({"event": "built", "ref": ref, "seconds": seconds, "size": self._size(image)})

    def _size(self, image: dict[str, Any]) -> int:
        if image["environment"]:
            return environment.size(self._layout(image).environment(image["ref"]))
        argv = ["docker", "image", "inspect", "--format", "{{.Size}}", image["ref"]]
        return int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)

    def _layout(self, image: dict[str, Any]) -> Layout:
        return Layout.of(image["stack"], self.base)

    def _fill(self, image: dict[str, Any], log: Path) -> None:
        layout = self._layout(image)
        path = layout.environment(image["ref"])
        with environment.begun(path, image["digest"]):
            for name, tree in image["contexts"].items():
                shutil.copytree(self.directory / tree, path / name, symlinks=True)
            if image["requirements"]:
                requirements = path / environment.REQUIREMENTS
                requirements.write_text(image["requirements"], encoding="utf-8")
                venv.create(path / environment.VENV, symlinks=True)
                layout.wheels.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._install(image, path, layout.wheels, log)

    def _install(self, image: dict[str, Any], path: Path, wheels: Path, log: Path) -> None:
        """Install what an environment requires from ``wheels``, to which what lacks there comes."""
        if importlib.util.find_spec("pip") is None:
            raise ImageError(
                f"building {image['ref']} needs pip, which {sys.executable} on the host does not "
                "have: install Debian's python3-pip"
            )
        # Nothing of the directory that this happens to run in.
        pip = [sys.executable, "-I", "-m", "pip"]
        what = ["--require-hashes", "--only-binary", ":all:", "--progress-bar", "off"]
        what += ["--requirement", str(path / environment.REQUIREMENTS)]
        install = [*pip, "--python", str(path / environment.VENV / "bin" / "python3"), "install"]
        install += ["--no-compile", "--no-index", "--find-links", str(wheels), *what]
        variables = self._pip_variables()
        try:
            self._run(image, install, log, _PIP_STEP, variables)
        except ImageError:
            self._step(image, "not all wheels are on the host: downloading")
            download = [*pip, "download", "--dest", str(wheels), *what]
            self._run(image, download, log, _PIP_STEP, variables)
            self._run(image, install, log, _PIP_STEP, variables)

    def _pip_variables(self) -> dict[str, str]:
        found = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        on = ("DISABLE_PIP_VERSION_CHECK", "NO_CACHE_DIR", "NO_INPUT")
        found |= {f"PIP_{name}": "1" for name in on} | {"PIP_ROOT_USER_ACTION": "ignore"}
        if self.options.get("pip_index_url"):
            found["PIP_INDEX_URL"] = self.options["pip_index_url"]
        if (ca := self.directory / "ca").is_file():
            found["PIP_CERT"] = str(ca)
        return found

    def _bootstrap(self, image: dict[str, Any], log: Path) -> None:
        source, name = self.options["base_source"], self.options["base_name"]
        if source != "bootstrap":
            timeout = _PULL_TIMEOUT if source == "registry" else _TRY_TIMEOUT
            pull = ["timeout", str(timeout), "docker", "pull", name]
            try:
                self._run(image, pull, log)
                self._run(image, ["docker", "tag", name, image["ref"]], log)
                return
            except ImageError:
                if source == "registry":
                    raise
                self._step(image, f"{name} cannot be pulled: bootstrapping instead")
        script = self.directory / image["context"] / image["script"]
        label = f"{DIGEST_LABEL}={image['digest']}"
        self._run(image, ["bash", str(script), "--install", image["ref"], label], log)

    def _buildx(self, image: dict[str, Any], log: Path) -> None:
        argv = ["docker", "buildx", "build", "--builder", "default", "--progress", "plain"]
        argv += ["--tag", image["ref"], "--file", str(self.directory / image["dockerfile"])]
        argv += ["--label", f"{DIGEST_LABEL}={image['digest']}"]
        if image["stack"]:
            argv += ["--label", f"{STACK_LABEL}={image['stack']}"]
        if image["target"]:
            argv += ["--target", image["target"]]
        args = dict(image["args"])
        if self.options.get("pip_index_url"):
            args.setdefault("PIP_INDEX_URL", self.options["pip_index_url"])
        for name, value in sorted(args.items()):
            argv += ["--build-arg", f"{name}={value}"]
        for name in _PROXIES:
            if os.environ.get(name):
                argv += ["--build-arg", name]
        named = {name: str(self.directory / tree) for name, tree in image["contexts"].items()}
        named |= {name: f"docker-image://{ref}" for name, ref in image["images"].items()}
        named |= image["remotes"]
        for name, value in sorted(named.items()):
            argv += ["--build-context", f"{name}={value}"]
        ca = self.directory / "ca"
        if ca.is_file():
            argv += ["--secret", f"id=ca,src={ca}"]
        try:
            self._run(image, [*argv, str(self._context(image))], log, _STEP)
        except ImageError as trouble:
            raise self._explained(image, str(trouble)) from None

    def _explained(self, image: dict[str, Any], said: str) -> ImageError:
        """Return an error that names the line of the Dockerfile whose image is not to be had."""
        found = _NOT_HAD.search(said)
        reason = _REASON.search(said)
        if not found or not reason:
            return ImageError(said)
        ref = found[1]
        text = (self.directory / image["dockerfile"]).read_text(encoding="utf-8", errors="replace")
        # As images_map has it, or the engine writes it out.
        names = [name for name, stands_for in image["images"].items() if stands_for == ref]
        place = line_of(text, [*names, ref], image["args"])
        where = f"line {place[0]} of its Dockerfile, `{place[1]}`, wants" if place else "it wants"
        _, fix = advice(reason[1], ref, self.registries)
        return ImageError(
            f"{image['key']}: {where} {ref}, which cannot be pulled: {reason[1]}: {fix}\n{said}"
        )

    def _context(self, image: dict[str, Any]) -> Path:
        if image["context"]:
            return self.directory / str(image["context"])
        # A Dockerfile that copies nothing from its context still has to be given one.
        empty = self.directory / "trees" / "empty"
        empty.mkdir(parents=True, exist_ok=True)
        return empty

    def _step(self, image: dict[str, Any], text: str) -> None:
        self.listener({"event": "step", "ref": image["ref"], "text": text})

    def _run(
        self,
        image: dict[str, Any],
        argv: list[str],
        log: Path,
        heading: re.Pattern[str] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Run a command with its output behind that in ``log``; raise ImageError with its end.

        What is told of it are the lines that begin as ``heading`` says, or all.
        """
        lines: list[str] = []
        # The builder repeats a heading whenever it turns from one step to another and back.
        told: set[str] = set()
        with log.open("a", encoding="utf-8") as output:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=variables if variables is not None else self.environment,
            )
            assert process.stdout is not None
            for line in process.stdout:
                output.write(line)
                output.flush()
                lines.append(line.rstrip())
                if heading is None:
                    self._step(image, line.strip())
                elif (step := heading.match(line.rstrip())) and step[1] not in told:
                    told.add(step[1])
                    self._step(image, " ".join(step[1].split()))
        if process.wait() != 0:
            tail = "\n".join(meaningful(lines))
            raise ImageError(f"building {image['ref']} failed, see {log} on the host:\n{tail}")


def meaningful(lines: Sequence[str], count: int = _TAIL) -> list[str]:
    """Return the last ``count`` lines that tell something about a failed build."""
    return [line[:_WIDTH] for line in lines if not _NOISE.match(line)][-count:]
