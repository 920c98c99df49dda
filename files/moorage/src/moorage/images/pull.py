"""Pulling on a host: images of registries, before anything that runs is touched."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorage.images.errors import ImageError
from moorage.images.names import DEFAULT, digest_of, local_name, registry_of, split

# Of registries and how one signs in there, as the controller ships it.
REGISTRIES = "registries"
_DIGEST = re.compile(r"^Digest: (sha256:[0-9a-f]{64})$")
_TOLD = re.compile(r"^([0-9a-f]{12}: (?:Pull complete|Already exists|Retrying.*)|Digest: .+)$")
_LAST_WAIT = 30.0
_SAID = 300
# What an engine says, whether asking again may help, and what a person does about it.
_ANSWERS: tuple[tuple[re.Pattern[str], bool, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), again, fix)
    for pattern, again, fix in (
        (
            r"no space left on device",
            False,
            "the host's disk is full: {free} MiB are free in {root}; make room "
            "(`docker image prune`), or give it a larger disk",
        ),
        (
            r"no matching manifest|does not match the (?:specified|expected) platform",
            False,
            "the registry has it for other platforms: correct `platform`, or use another image",
        ),
        (
            r"x509|certificate",
            False,
            "the host does not trust that registry's certificate: have moorage_extra_ca_bundle "
            "name a file with its CA, or put that at /etc/docker/certs.d/{registry}/ca.crt there",
        ),
        (
            r"server gave HTTP response to HTTPS client",
            False,
            "that registry has no TLS, which the engine takes on loopback alone: give it a "
            "certificate",
        ),
        (
            r"unauthorized|authentication required|no basic auth|denied|forbidden|\b40[13]\b",
            False,
            "{credentials}",
        ),
        (
            r"manifest unknown|manifest for .* not found|name unknown|not found|\b404\b",
            False,
            "the registry has no such image: correct its name, tag or digest in `image`, or push "
            "it there",
        ),
        (r"invalid reference format", False, "correct `image`"),
        (
            r".",
            True,
            "look whether the host reaches that registry (its name, proxy and firewall), or take "
            "the images there by `moorage images save` and `load`",
        ),
    )
)

Listener = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Limits:
    """How long one attempt may take, and how many there are after the first."""

    timeout_seconds: float = 1800.0
    retries: int = 3


@contextmanager
def client_config(registries: Mapping[str, Mapping[str, str]]) -> Iterator[dict[str, str]]:
    """Yield the environment of a docker client that may sign in to ``registries``, by host.

    Its directory is root's alone, in memory where there is such a place, and gone afterwards: no
    password is in an argument, in the environment, or in anybody's own configuration.
    """
    if not registries:
        yield dict(os.environ)
        return
    auths = {}
    for name, entry in registries.items():
        pair = f"{entry['username']}:{entry['password']}".encode()
        auths[name] = {"auth": base64.b64encode(pair).decode()}
    usual = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    said = {"auths": auths, "cliPluginsExtraDirs": [str(usual / "cli-plugins")]}
    memory = "/run" if os.access("/run", os.W_OK) else None
    # mkdtemp: 0700, and a name that nobody knows before.
    directory = Path(tempfile.mkdtemp(prefix="moorage-pull-", dir=memory))
    try:
        file = os.open(directory / "config.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as output:
            json.dump(said, output)
        yield {**os.environ, "DOCKER_CONFIG": str(directory)}
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Puller:
    """Pulls images and gives each the name that says its digest."""

    def __init__(
        self,
        listener: Listener,
        log: Path,
        environment: Mapping[str, str],
        registries: Sequence[str] = (),
        mirrors: Mapping[str, Sequence[str]] | None = None,
        limits: Limits = Limits(),
    ) -> None:
        """Tell ``listener`` what happens; ``registries`` are those that one signs in to."""
        self._tell, self._log, self._environment = listener, log, environment
        self._registries, self._mirrors, self._limits = registries, mirrors or {}, limits

    def pull(self, wanted: Sequence[Mapping[str, Any]]) -> None:
        """Have all of ``wanted`` (ref, platform, refresh) on this host.

        One that is made here `instead` need not be had. Raises ImageError, of all that cannot be
        had: a person mends them at once.
        """
        troubles = []
        for image in wanted:
            try:
                self._have(image["ref"], image.get("platform") or "", bool(image.get("refresh")))
            except ImageError as trouble:
                if image.get("instead"):
                    self._tell({"event": "not-had", "ref": image["ref"], "text": str(trouble)})
                else:
                    troubles.append(str(trouble))
        if troubles:
            raise ImageError("\n".join(troubles))

    def _have(self, ref: str, platform: str, refresh: bool) -> None:
        began = time.monotonic()
        digest = digest_of(ref)
        if (digest or not refresh) and (found := self._held(ref, digest, platform)):
            self._settle(ref, found, digest or _digest_in(found, ref), began, pulled=False)
            return
        self._tell({"event": "pulling", "ref": ref})
        source, digest = self._from_somewhere(ref, platform)
        found = self._inspect(source)
        if found is None:
            raise ImageError(f"{ref} was pulled and is gone again: is somebody removing images?")
        if platform and not _fits(found, platform):
            raise ImageError(
                f"cannot pull {ref}: {registry_of(ref)} has it for {_platform(found)}, and "
                f"`platform` asks for {platform}: correct one of the two"
            )
        self._settle(ref, found, digest or _digest_in(found, source), began, pulled=True)

    def _held(self, ref: str, digest: str, platform: str) -> dict[str, Any] | None:
        """Return the image that is there already; one that was loaded has our name alone."""
        for name in (ref, local_name(ref, digest) if digest else ""):
            found = self._inspect(name) if name else None
            if found is not None and (not platform or _fits(found, platform)):
                return found
        return None

    def _settle(
        self, ref: str, found: dict[str, Any], digest: str, began: float, *, pulled: bool
    ) -> None:
        # What was built or loaded by somebody has no digest of a registry: its own id says it.
        name = local_name(ref, digest or found["Id"])
        known = self._inspect(name)
        done = self._docker("image", "tag", found["Id"], name)
        if done.returncode != 0:
            raise ImageError(f"{ref} cannot be called {name}: {done.stderr.strip()}")
        self._tell(
            {
                "event": "pulled" if pulled else "there",
                "ref": ref,
                "image": name,
                "digest": digest,
                "id": found["Id"],
                "new": known is None or known["Id"] != found["Id"],
                "seconds": round(time.monotonic() - began, 1),
                "size": int(found.get("Size") or 0),
            }
        )

    def _from_somewhere(self, ref: str, platform: str) -> tuple[str, str]:
        """Pull from a mirror, else from the registry; return by which name, and the digest."""
        registry, repository, behind = split(ref)
        for mirror in self._mirrors.get(registry or DEFAULT, ()):
            source = f"{mirror.rstrip('/')}/{repository}{behind}"
            try:
                return source, self._attempt(source, platform)
            except ImageError as trouble:
                self._step(ref, f"not from the mirror {mirror}: {str(trouble).splitlines()[0]}")
        for left in range(self._limits.retries, -1, -1):
            try:
                return ref, self._attempt(ref, platform)
            except _AskAgain as trouble:
                if not left:
                    raise
                wait = min(_LAST_WAIT, 2.0 ** (self._limits.retries - left))
                self._step(ref, f"{trouble.said}; again in {wait:g} s ({left} more)")
                time.sleep(wait)
        raise AssertionError

    def _attempt(self, ref: str, platform: str) -> str:
        # After --: what a file calls an image is no option.
        argv = ["docker", "pull", *(["--platform", platform] if platform else []), "--", ref]
        digest, lines = "", []
        with self._log.open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=dict(self._environment),
            )
            late = threading.Event()

            def stop() -> None:
                late.set()
                process.kill()

            clock = threading.Timer(self._limits.timeout_seconds, stop)
            clock.start()
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    log.write(line)
                    lines.append(line.strip())
                    if found := _DIGEST.match(line.strip()):
                        digest = found[1]
                    if _TOLD.match(line.strip()):
                        self._step(ref, line.strip())
                status = process.wait()
            finally:
                clock.cancel()
        if late.is_set():
            said = f"it took longer than {self._limits.timeout_seconds:g} s"
            raise _AskAgain(
                f"cannot pull {ref}: {said} (images_pull_timeout_seconds): raise that, or look "
                "why the way there is slow",
                said,
            )
        if status != 0:
            raise self._trouble(ref, lines)
        return digest

    def _trouble(self, ref: str, lines: Sequence[str]) -> ImageError:
        said = (next(filter(None, reversed(lines)), "") or "docker pull said nothing")[:_SAID]
        said = re.sub(r"^Error response from daemon: ", "", said)
        again, fix = advice(said, ref, self._registries)
        text = f"cannot pull {ref}: {registry_of(ref)} answered: {said}: {fix}"
        return _AskAgain(text, said) if again else ImageError(text)

    def _inspect(self, ref: str) -> dict[str, Any] | None:
        done = self._docker("image", "inspect", "--", ref)
        found: list[dict[str, Any]] = (
            json.loads(done.stdout or "[]") if done.returncode == 0 else []
        )
        return found[0] if found else None

    def _docker(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", *argv],
            capture_output=True,
            text=True,
            check=False,
            env=dict(self._environment),
        )

    def _step(self, ref: str, text: str) -> None:
        self._tell({"event": "step", "ref": ref, "text": text})


def advice(said: str, ref: str, registries: Sequence[str]) -> tuple[bool, str]:
    """Return whether asking again may help after an answer, and what a person does about it.

    ``registries`` are those that one signs in to.
    """
    again, fix = next(((again, fix) for known, again, fix in _ANSWERS if known.search(said)))
    name = split(ref)[0]
    root = "/var/lib/docker" if os.path.isdir("/var/lib/docker") else "/"
    if name in registries:
        credentials = (
            f"it did not take the user and password that images_credentials has for {name}: "
            "correct them, or ask for the right to pull this image"
        )
    else:
        known = ", ".join(registries) or "none"
        credentials = (
            f"images_credentials has nobody for {name or 'that registry'} (it has: {known}): add a "
            "user and password; a name that is mistyped is answered the same way"
        )
    free = shutil.disk_usage(root).free >> 20
    return again, fix.format(registry=name, root=root, free=free, credentials=credentials)


class _AskAgain(ImageError):
    """An answer that another attempt may not get."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


def _digest_in(found: Mapping[str, Any], ref: str) -> str:
    """Return the digest by which the registry of ``ref`` knows an image, "" where it does not."""
    registry, repository, _ = split(ref)
    for known in found.get("RepoDigests") or ():
        its, name, _ = split(known)
        if (its, name) == (registry, repository):
            return digest_of(known)
    return ""


def _platform(found: Mapping[str, Any]) -> str:
    parts = (found.get("Os"), found.get("Architecture"), found.get("Variant"))
    return "/".join(str(part) for part in parts if part)


def _fits(found: Mapping[str, Any], platform: str) -> bool:
    have, want = _platform(found).split("/"), platform.lower().split("/")
    # One word is an architecture or a system.
    return want[0] in have if len(want) == 1 else have[: len(want)] == want
