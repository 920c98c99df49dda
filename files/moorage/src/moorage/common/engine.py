"""What the Docker engine has, asked over its API: questions alone, nothing that changes it.

A question is half a millisecond on a connection that is kept; starting the docker client is forty.
What is made, started, stopped or removed goes through that client all the same. The gateway has a
way of its own to the engine, `moorage.control.engine`, which can ask for less.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from moorage.common import dockerapi
from moorage.common.unixhttp import Answer, ConnectionFailed, Kept, request_bytes

_SECONDS = 60.0
_ANSWER_BYTES = 64 << 20
_UNIX = "unix://"
# What a person does about it.
_MENDS = {
    errno.ENOENT: "is Docker installed? Run playbooks/provision.yml, or `systemctl start docker`",
    errno.ECONNREFUSED: "the engine is down: `systemctl start docker`, `journalctl -u docker`",
    errno.EACCES: "only root and the group docker may ask it: use sudo",
}


class RuntimeFault(Exception):
    """What runs things on this host cannot be asked, or has refused; the message says why."""


class DockerError(RuntimeFault):
    """The engine cannot be asked, or a docker command failed; the message says what and why."""


class Engine:
    """Asks one engine; threads share it. Lists are empty on a host that has none at all."""

    def __init__(self, path: str = "") -> None:
        """Use the socket at this path, else the one that the docker client uses here."""
        named = os.environ.get("DOCKER_HOST", "")
        usual = named.removeprefix(_UNIX) if named.startswith(_UNIX) else dockerapi.SOCKET
        self._path = path or usual
        self._kept = Kept(self._path)
        self._prefix = ""

    def absent(self) -> bool:
        """Tell whether this host has no engine at all, and not one that is down."""
        return not os.path.exists(self._path) and shutil.which("docker") is None

    def containers(self, *labels: str) -> list[dict[str, Any]]:
        """Return all about the containers with these labels, NAME or NAME=VALUE, running or not."""
        listed = self._list("list containers", "/containers/json?all=1&filters=", labels)
        looked = (self.container(entry["Id"]) for entry in listed)
        # One that is gone since it was listed is none.
        return [found for found in looked if found is not None]

    def container(self, name: str) -> dict[str, Any] | None:
        """Return all about the container of this name or id, None when there is none."""
        return self._find(
            f"look at the container {name}", f"/containers/{quote(name, safe='')}/json"
        )

    def output(self, name: str, lines: int, *, times: bool = False) -> list[str]:
        """Return the last lines that a container has written, both streams; none without one."""
        found = self.container(name)
        if found is None:
            return []
        target = (
            f"/containers/{found['Id']}/logs?stdout=1&stderr=1&tail={lines}&timestamps={times:d}"
        )
        answer = self._answer(f"read what {name} has written", target)
        frames = dockerapi.split_frames(iter([answer.body]), bool(found["Config"]["Tty"]))
        text = b"".join(content for _, content in frames).decode("utf-8", "replace")
        return text.splitlines()

    def image(self, ref: str) -> dict[str, Any] | None:
        """Return all about an image, None when the engine does not hold it."""
        return self._find(f"look at the image {ref}", f"/images/{quote(ref, safe='/:@')}/json")

    def images(self, *labels: str) -> dict[str, str]:
        """Return the ids of the images with these labels, by reference."""
        found = self._list("list images", "/images/json?filters=", labels)
        return {
            ref: str(image["Id"])
            for image in found
            for ref in image.get("RepoTags") or ()
            if not ref.startswith("<none>")
        }

    def networks(self, *labels: str) -> dict[str, str]:
        """Return the ids of the networks with these labels, by name."""
        found = self._list("list networks", "/networks?filters=", labels)
        return {str(network["Name"]): str(network["Id"]) for network in found}

    def _list(self, what: str, target: str, labels: Sequence[str]) -> list[dict[str, Any]]:
        if self.absent():
            return []
        found: list[dict[str, Any]] = self._ask(what, target + _filters(labels))
        return found

    def _find(self, what: str, target: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._ask(what, target, optional=True)
        return found

    def _ask(self, what: str, target: str, *, optional: bool = False) -> Any:
        answer = self._answer(what, target, optional=optional)
        try:
            return None if answer.status == 404 else answer.json()
        except ConnectionFailed as trouble:
            raise DockerError(f"cannot {what}: {trouble}") from None

    def _answer(self, what: str, target: str, *, optional: bool = False) -> Answer:
        try:
            self._prefix = self._prefix or dockerapi.prefix(self._path, _SECONDS)
            request = request_bytes("GET", self._prefix + target)
            answer = self._kept.ask(request, timeout=_SECONDS, limit=_ANSWER_BYTES)
        except ConnectionFailed as trouble:
            self._prefix = ""
            raise DockerError(f"cannot {what}: {_why(trouble)}") from None
        if answer.status == 200 or (optional and answer.status == 404):
            return answer
        # An engine that was upgraded may not speak the version of before.
        self._prefix = ""
        raise DockerError(f"cannot {what}: {_said(answer)}")


def _filters(labels: Sequence[str]) -> str:
    return quote(json.dumps({"label": list(labels)}), safe="")


def _why(trouble: ConnectionFailed) -> str:
    cause = trouble.__cause__
    mend = _MENDS.get(cause.errno or 0) if isinstance(cause, OSError) else None
    return f"{trouble}; {mend}" if mend else str(trouble)


def _said(answer: Answer) -> str:
    try:
        return str(answer.json()["message"])
    except (ConnectionFailed, LookupError, TypeError):
        return f"the engine answers {answer.status}"
