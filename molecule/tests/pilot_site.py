"""The stack `pilot` on a host: its Compose file as a test wants it, its playbooks, its answers."""

from __future__ import annotations

import copy
import http.client
import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import testinfra
import yaml
from load import Load, load
from playbook import ROOT, Played, play
from support import Machine

STACK, PORT = "pilot", 8000
BASE = f"/opt/{STACK}"
SOURCE = ROOT / "molecule/cases/stacks"


# Well for its health check, the smoke check and the first visitors; then it is not.
_TURNS = """
import http.server, itertools, os, sys, time
sys.path.insert(0, "/app")
import app
well, count = app.App.do_GET, itertools.count()
def ask(self):
    if next(count) < 6: return well(self)
    {conduct}
app.App.do_GET = ask
http.server.ThreadingHTTPServer(("", 8000), app.App).serve_forever()
"""
BAD = {
    "crash": "raise SystemExit(3)",
    "500": _TURNS.format(conduct="self.send_error(500)"),
    "slow": _TURNS.format(conduct="time.sleep(3); return well(self)"),
    "hang": _TURNS.format(conduct="time.sleep(600)"),
    "dies": _TURNS.format(conduct="os._exit(4)"),
}


@dataclass(frozen=True)
class Answer:
    """What a visitor got: status, headers (the last of each name) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


@dataclass
class Description:
    """A Compose file that a test changes before it is deployed, in a directory of its own.

    ``compose`` is the file's content as plain data; ``settings`` are extra variables of every
    playbook, such as ``pilot_topology``.
    """

    directory: Path
    compose: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def fresh(cls, directory: Path, stack: str = STACK) -> Description:
        """Return the stack's own description, below ``directory``."""
        shutil.copytree(SOURCE / STACK, directory / stack, dirs_exist_ok=True)
        path = directory / stack / "compose.yml"
        compose: dict[str, Any] = yaml.safe_load(path.read_text())
        compose["name"] = stack
        unified = compose["x-moorage"]["unified"]["build"]
        unified["additional_contexts"] = {"moorage": str(ROOT / "files/moorage")}
        return cls(directory, compose, {f"{stack}_topology": "containers"})

    @property
    def stack(self) -> str:
        """The stack's name."""
        return str(self.compose["name"])

    @property
    def web(self) -> dict[str, Any]:
        """The service that visitors reach."""
        service: dict[str, Any] = self.compose["services"]["web"]
        return service

    def service(self, name: str, **keys: Any) -> dict[str, Any]:
        """Add a service that is made as the web service is; ``keys`` are its own."""
        made = {"build": copy.deepcopy(self.web["build"]), **keys}
        self.compose["services"][name] = made
        return made

    def write(self) -> None:
        """Put the Compose file where the playbooks look for it."""
        path = self.directory / self.stack / "compose.yml"
        path.write_text(yaml.safe_dump(self.compose, sort_keys=False, allow_unicode=True))


class Pilot(Machine):
    """A host that serves pilot."""

    def __init__(self, name: str, description: Description) -> None:
        super().__init__(testinfra.get_host(f"docker://{name}"), name)
        self.description = description

    # -- the operator's side --------------------------------------------------------------

    def site(self, *options: str, **more: Any) -> Played:
        """Run site.yml with the description as it is now."""
        return self._play("site.yml", *options, **more)

    def update(self, *options: str, **more: Any) -> Played:
        """Run playbooks/update.yml with the description as it is now."""
        return self._play("playbooks/update.yml", *options, stack=self.description.stack, **more)

    def rollback(self, *options: str, **more: Any) -> Played:
        """Run playbooks/rollback.yml."""
        return self._play("playbooks/rollback.yml", *options, stack=self.description.stack, **more)

    def run(self, playbook: str, *options: str, **more: Any) -> Played:
        """Run any playbook with the description as it is now."""
        return self._play(playbook, *options, **more)

    def _play(self, playbook: str, *options: str, **more: Any) -> Played:
        self.description.write()
        variables = {
            "moorage_stacks_dirs": [str(self.description.directory)],
            **self.description.settings,
            **more,
        }
        return play(playbook, "--limit", self.name, *options, **variables)

    # -- a visitor's side -----------------------------------------------------------------

    def ask(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        port: int = PORT,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 20,
    ) -> Answer:
        """Send one request from outside, following no redirect, and return the answer."""
        connection = http.client.HTTPConnection(self.address, port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.headers.items()), answer.read())
        finally:
            connection.close()

    @contextmanager
    def visited(self, rate: float = 60) -> Iterator[Load]:
        """Send a steady load while the block runs."""
        with load(self.address, PORT, rate=rate) as running:
            yield running

    # -- on the host ----------------------------------------------------------------------

    def receipt(self) -> dict[str, Any]:
        """Return the newest receipt of the running release."""
        found: dict[str, Any] = json.loads(self.sh(f"cat {BASE}/current/receipt.json"))
        return found

    def last_journal(self) -> list[dict[str, Any]]:
        """Return the events of the newest rollout."""
        newest = self.sh(f"ls /var/log/moorage/rollouts/{STACK}/*.jsonl | tail -n 1")
        return [json.loads(line) for line in self.sh(f"cat {newest}").splitlines()]


@contextmanager
def visiting(pilot: Pilot) -> Iterator[list[tuple[int, str | None]]]:
    """Ask one time after another while the block runs: status and Retry-After of each answer."""
    answers: list[tuple[int, str | None]] = []
    over = threading.Event()

    def visit() -> None:
        while not over.wait(0.1):
            answer = pilot.ask("/", timeout=60)
            answers.append((answer.status, answer.headers.get("Retry-After")))

    visitor = threading.Thread(target=visit)
    visitor.start()
    try:
        yield answers
    finally:
        over.set()
        visitor.join()


def marked(pilot: Pilot, mark: str, **more: str) -> None:
    """Describe another build."""
    pilot.description.web["environment"] = {"MARK": mark, **more}
