"""Installs the newest release: `python3 -m fastblog_start updater [--dry-run]`.

Fetches what the feed names, verifies it, and starts it beside the site on a copy of the database.
Then it is installed beside the old one, and the site is asked to switch: its process stays, a new
worker takes over and the old one ends what it was asked. A release that is not healthy for a while
is taken back. Each step is printed, in updates/updater.json, and an event `updater`.

Started by a supervisor, it does what updates/wish.json says (written by the administration), once.
"""

import argparse
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from fastblog_start import releases
from fastblog_start.releases import ReleaseError

from fastblog.ipc import Client, IpcError
from fastblog.updates import Place, Release, UpdateError, check
from moorage.application.environment import ConfigurationError, number
from moorage.common import lock
from moorage.common.files import write_atomically
from moorage.common.signing import signature_of

# The former release gets more time to come back: there is nothing to go to from there.
_START_SECONDS, _BACK_SECONDS, _KEPT, _MOST_STEPS = 60.0, 60.0, 3, 50


class Updater:
    """One run."""

    def __init__(self, place: Place, *, health_seconds: float, watch_seconds: float) -> None:
        """A release has so long to get healthy, and then so long to stay so."""
        self._place, self._health, self._watch = place, health_seconds, watch_seconds
        self._note: dict[str, Any] = {"begun_at": time.time(), "outcome": "running", "steps": []}

    def say(self, text: str, outcome: str = "") -> None:
        """Tell of a step, or of the end."""
        print(text, flush=True)
        self._note["steps"] = [*self._note["steps"], text][-_MOST_STEPS:]
        if outcome:
            self._note |= {"outcome": outcome, "ended_at": time.time()}
        self._place.note("updater", self._note)
        with suppress(IpcError, ConfigurationError), Client("updater", seconds=2.0) as client:
            client.publish("updater", self._note)

    def run(self, *, dry_run: bool) -> int:
        """Do it; return the exit status: 0 also when there is nothing to do."""
        try:
            return self._run(dry_run)
        except (UpdateError, ReleaseError, IpcError, ConfigurationError, OSError) as error:
            self.say(f"failed: {error}", "failed")
        except sqlite3.Error as error:
            self.say(f"failed: the database cannot be copied: {error}", "failed")
        return 1

    def _run(self, dry_run: bool) -> int:
        running = self._place.running()
        self.say(f"running {running}, reading {self._place.feed}")
        found = self._place.read()[1]
        if not found or releases.parse(found[0].version) <= releases.parse(running):
            self.say("there is nothing newer", "nothing")
            return 0
        with tempfile.TemporaryDirectory(prefix="fastblog-update-") as scratch:
            fetched = self._fetch(found[0], Path(scratch))
            self._try(found[0].version, fetched, Path(scratch))
            if dry_run:
                self.say(f"{found[0].version} could be installed", "tried")
                return 0
            self._install(fetched)
        return self._switch(found[0].version, running)

    def _fetch(self, release: Release, scratch: Path) -> Path:
        """Return the archive with its signature beside it, both verified."""
        content = self._place.fetch(release.file, releases.MOST_BYTES)
        check(self._place, release, content)
        path = releases.archive(scratch, release.version)
        path.write_bytes(content)
        signature = signature_of(path)
        signature.write_bytes(self._place.fetch(f"{release.file}.minisig", 10_000))
        unpacked = releases.unpack(path, self._place.key, release.version)
        shutil.rmtree(unpacked.parent)
        self.say(f"fetched {release.version}, {len(content)} bytes; its signature is right")
        return path

    def _try(self, version: str, fetched: Path, scratch: Path) -> None:
        """Start a release beside the site, on a copy of its data; raises UpdateError."""
        data = scratch / "data"
        data.mkdir()
        source = self._place.data.parent / "fastblog.sqlite3"
        if source.exists():
            with (
                closing(sqlite3.connect(source)) as original,
                closing(sqlite3.connect(data / source.name)) as copy,
            ):
                original.backup(copy)
        for name in ("session_key", "admin_password"):
            (scratch / name).touch(0o600)
            (scratch / name).write_text(secrets.token_hex(32))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        kept = {k: v for k, v in os.environ.items() if k in _KEPT_VARIABLES}
        given = {
            "DATA_DIR": str(data),
            "RELEASES_DIR": str(fetched.parent),
            "FASTBLOG_RELEASE": version,
            "LISTEN": f"127.0.0.1:{port}",
            "SESSION_KEY_FILE": str(scratch / "session_key"),
            "ADMIN_PASSWORD_FILE": str(scratch / "admin_password"),
            "RELEASE_KEY_FILE": str(self._place.key),
            # Nobody there: a trial controls nothing.
            "MOORAGE_CONTROL_SOCKET": str(scratch / "none"),
        }
        log = scratch / "log"
        with _process(kept | given, log) as process:
            try:
                _until(lambda: _answers(port) or process.poll() is not None, _START_SECONDS)
                seen = _version(port, "/api/health")
                if seen != version or _version(port, "/") != "page":
                    words = log.read_text(errors="replace")[-1500:]
                    raise UpdateError(f"{version} does not get well (seen: {seen}): {words}")
            finally:
                process.terminate()
        self.say(f"{version} is well on a copy of the database")

    def _install(self, fetched: Path) -> None:
        where = self._place.releases
        where.mkdir(mode=0o750, parents=True, exist_ok=True)
        for path in (signature_of(fetched), fetched):
            target = where / path.name
            write_atomically(target, path.read_bytes())

    def _switch(self, version: str, before: str) -> int:
        """Have the site run a release, and the former one again when it is not well."""
        with Client("updater") as client:
            self._turn(client, version)
            why = self._healthy(client, version, self._health)
            if not why:
                self._prune()
                self.say(f"the site runs {version}", "installed")
                return 0
            self.say(f"{version} is not well: {why}; going back to {before}")
        write_atomically(self._place.releases / "current", f"{before}\n")
        if why := self._back(before):
            self.say(f"{before} is not back either: {why}", "failed")
        else:
            self.say(f"{version} was taken back; the site runs {before}", "taken back")
        return 1

    def _turn(self, client: Client, version: str) -> None:
        # Who does not answer is not asked to run something else.
        client.request("main_app", "status")
        write_atomically(self._place.releases / "current", f"{version}\n")
        client.request("main_app", "switch")
        self.say(f"the site was asked to switch to {version}")

    def _back(self, version: str) -> str:
        # Its process may have ended with the bad release; its supervisor starts it anew then.
        with suppress(IpcError), Client("updater") as client:
            client.request("main_app", "switch")
        try:
            with Client("updater") as client:
                return self._healthy(client, version, _BACK_SECONDS)
        except IpcError as error:
            return str(error)

    def _healthy(self, client: Client, version: str, seconds: float) -> str:
        """Return why the site is not well with a release; "" when it got so and stayed so."""
        seen = ""

        def well() -> bool:
            nonlocal seen
            try:
                found = client.request("main_app", "status", 5.0)
                seen = _version(int(found["port"]), "/api/health")
                page = _version(int(found["port"]), "/")
                return bool(found["version"] == seen == version and page == "page")
            except (IpcError, LookupError, TypeError, ValueError) as error:
                seen = str(error)
                return False

        if not _until(well, seconds):
            return f"after {seconds:g} s it says {seen or 'nothing'}"
        if _until(lambda: not well(), self._watch):
            return f"it did not stay well: {seen or 'nothing'}"
        return ""

    def _prune(self) -> None:
        def version(path: Path) -> releases.Version:
            try:
                return releases.parse(path.name.removeprefix("fastblog-").removesuffix(".tar.gz"))
            except ReleaseError:
                return 0, 0, 0

        found = sorted(self._place.releases.glob("fastblog-*.tar.gz"), key=version, reverse=True)
        for path in found[_KEPT:]:
            path.unlink()
            signature_of(path).unlink(missing_ok=True)


_KEPT_VARIABLES = {"PATH", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "TMPDIR", "HOME", "LANG"}


@contextmanager
def _process(env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "fastblog_start", "main_app"],
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
        process.wait(20)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is so; say whether it was within that time."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _answers(port: int) -> bool:
    """Say whether somebody answers with a version, whichever it is."""
    return _version(port, "/api/health")[:1].isdigit()


def _version(port: int, path: str) -> str:
    """Return the version of a healthy answer, "page" for a page, else what was seen."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read(1_000_000)
        if answer.status != 200:
            return f"status {answer.status}"
        return str(json.loads(text)["version"]) if path.startswith("/api/") else "page"
    except (OSError, ValueError, LookupError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(prog="fastblog_start updater", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="install nothing")
    args = parser.parse_args(argv)
    place = Place.from_environment(os.environ)
    place.data.mkdir(mode=0o750, parents=True, exist_ok=True)
    wish = place.noted("wish")
    (place.data / "wish.json").unlink(missing_ok=True)
    # The lock goes with the process.
    if not lock.take(lock.open_lock(place.data / "lock")):
        print("another updater is at work", file=sys.stderr)
        return 1
    try:
        updater = Updater(
            place,
            health_seconds=number(os.environ, "HEALTH_SECONDS", 30),
            watch_seconds=number(os.environ, "WATCH_SECONDS", 5),
        )
    except ConfigurationError as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 78
    return updater.run(dry_run=args.dry_run or wish.get("dry_run") is True)


if __name__ == "__main__":
    sys.exit(main())
