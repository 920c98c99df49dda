"""What the tests of backups share: a stack whose database is a file, and the command line."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rig import IMAGE, Rig

from moorage.backup.restic import Restic
from moorage.backup.restoring import directory_of
from moorage.backup.sets import Set, find_set
from moorage.backup.settings import read_settings
from moorage.cli import main as command
from moorage.deploy.reservation import read_reservation

PLACES = ("SETTINGS", "PASSWORD", "CACHE", "STATE")
# Its data is /data/rows; what reads it sees a new content after a restart alone, as Redis does.
DATABASE = "cp /data/rows /tmp/rows; touch /tmp/well; exec sleep 600"
DUMP = """
test ! -e /data/broken || { head -c 100000 /dev/zero; echo 'it broke' >&2; exit 3; }
cat /data/rows
"""
RESTORE = "cat > /data/arriving && test ! -e /data/refuses && mv /data/arriving /data/rows"
WAS = ("a picture", "first row\n", "first row\n")
CHANGED = ("another picture", "second row\nthird row\n")
APP = "test ! -e /data/sick || exit 1; touch /tmp/well; exec sleep 600"


def places(directory: Path) -> dict[str, Path]:
    """Return where a host's settings and keys would be, below a directory."""
    return {
        "SETTINGS": directory / "backup" / "settings.json",
        "PASSWORD": directory / "keys" / "backup.password",
        "CACHE": directory / "cache",
        "STATE": directory / "state",
    }


def program(directory: Path, before: str = "") -> str:
    """Return a program that is `moorage` on a host with its settings below a directory."""
    where = {name: str(path) for name, path in places(directory).items()}
    return f"""
import os, signal, sys
from pathlib import Path
from moorage.backup import restoring, settings
for name, path in {where!r}.items():
    setattr(settings, name, Path(path))
{before}
from moorage.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Ran:
    """What a command line has printed and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document that it printed."""
        return json.loads(self.out)


class Saved:
    """A stack of `app`, which has the volume `files`, and `db`, which has `db`, on this engine."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self.rig, self.directory, self.stack = rig, directory, rig.stack
        self.layout = rig.layout
        self.files, self.db = (self.layout.base / "data" / name for name in ("files", "db"))
        # What the services run, more of the application's description, and of the release's.
        self.database, self.app = DATABASE, APP
        self.entry: dict[str, Any] = {}
        # Whether the database has a health check.
        self.health = True
        self.manifest: dict[str, Any] = {}

    def configure(self, **settings: Any) -> None:
        """Write the host's settings of backups."""
        path = places(self.directory)["SETTINGS"]
        path.parent.mkdir(exist_ok=True)
        repository = str(self.directory / "repository")
        path.write_text(json.dumps({"repository": repository, **settings}))

    def deploy(self, **backup: Any) -> str:
        """Make volumes and secrets, and bring the stack up; returns its release."""
        self.fill()
        return self.declare(**backup)

    def fill(self) -> None:
        """Make volumes and secrets as they are at first."""
        for path, owner in ((self.files, 10001), (self.db, 10002)):
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, owner, owner)
            path.chmod(0o750)
        secrets = self.layout.base / "secrets"
        secrets.mkdir(mode=0o711, exist_ok=True)
        (secrets / "password").write_text("a secret of the stack")
        (self.files / "picture").write_text("a picture")
        (self.db / "rows").write_text("first row\n")

    def declare(self, **backup: Any) -> str:
        """Have the stack that runs say something else of its database; returns its release."""
        release = self.release(**backup)
        outcome = self.rig.activate(release, gate_timeout=60.0)
        assert outcome.ok, outcome
        return release

    def release(self, **backup: Any) -> str:
        """Write the stack's release; ``backup`` is what it says of the database."""
        how = {
            "how": "dump",
            "dump": ["sh", "-c", DUMP],
            "restore": ["sh", "-c", RESTORE],
            "census": ["wc", "-l"],
            "volumes": ["db"],
            **backup,
        }

        def mounts(path: Path, *more: dict[str, Any]) -> dict[str, Any]:
            volumes = [{"type": "bind", "source": str(path), "target": "/data"}, *more]
            # Half of what a restore takes is waiting for the first look at its services.
            return {"volumes": volumes, "healthcheck": {"interval": "500ms", "retries": 6}}

        app = {**self.entry, **mounts(self.files, *self.entry.get("volumes", ()))}

        facts = {"rolled": False, "health": True, "stop_seconds": 1.0}
        made: str = self.rig.release(
            self.rig.service("db", self.database, mounts(self.db), data=True, **facts),
            self.rig.service("app", self.app, app, needs={"db": "service_healthy"}, **facts),
            services=[
                {"name": "db", "health": self.health, "backup": how if how["how"] else None},
                {"name": "app"},
            ],
            **{
                "directories": [
                    {"path": str(self.files), "owner": 10001, "group": 10001, "mode": "0750"},
                    {"path": str(self.db), "owner": 10002, "group": 10002, "mode": "0750"},
                ],
                **self.manifest,
            },
        )
        return made

    def run(self, *words: str) -> Ran:
        """Run `moorage` with these words."""
        out, err = io.StringIO(), io.StringIO()
        where = ("--base", str(self.layout.base.parent), "--run", str(self.layout.run.parent))
        with redirect_stdout(out), redirect_stderr(err):
            status = command.main([*where, *words])
        return Ran(status, out.getvalue(), err.getvalue())

    def alarmed(self, what: str) -> str:
        """Return the reason that is noted of a failure, after a look at all who tell of it.

        ``what`` failed: the `backup`, or its `proof`.
        """
        name = {"backup": f"{self.stack}.backup", "proof": self.stack}[what]
        path = places(self.directory)["STATE"] / f"{name}.json"
        found = json.loads(path.read_text())
        figure = {"backup": "moorage_backup_ok", "proof": "moorage_backup_proof_ok"}[what]
        figures = path.with_suffix(".prom").read_text().splitlines()
        assert f'{figure}{{stack="{self.stack}"}} {found["ok"]:d}' in figures
        shown = self.run("status", self.stack).out
        loud = {"backup": "! the last backup FAILED", "proof": "! the last backup is NOT proven"}
        assert (loud[what] in shown) == (not found["ok"]), shown
        ill = [part["detail"] for part in found.get("parts", ()) if not part["ok"]]
        return "\n".join([found["message"], *ill])

    def backup(self) -> str:
        """Make a backup and return its id."""
        done = self.run("backup", self.stack, "--json")
        assert done.status == 0, done
        ident: str = done.json["id"]
        return ident

    def restore(self, *words: str) -> Ran:
        """Restore without being asked."""
        return self.run("restore", self.stack, "--yes", *words)

    def restic(self) -> Restic:
        """Return what works on the repository."""
        return Restic(read_settings())

    def set(self, ident: str = "") -> Set:
        """Return a backup."""
        return find_set(self.restic(), self.stack, ident)

    def parts(self) -> list[str]:
        """Return the parts of all snapshots in the repository."""
        found = self.restic().snapshots(f"stack={self.stack}")
        return sorted(snapshot.tags["part"] for snapshot in found)

    def reset(self) -> None:
        """Have what was deployed, and the database know it."""
        for directory in (self.files, self.db):
            for path in directory.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.fill()
        states = self.states()
        names = [name for name in ("db", "app") if states.get(name) != "running"]
        if "db" not in names and self.memory() != (self.db / "rows").read_text():
            names.append("db")
        if names:
            argv = ["docker", "restart", "-t", "1", *(f"{self.stack}-{name}" for name in names)]
            subprocess.run(argv, check=True, capture_output=True)

    def content(self) -> tuple[str, str, str]:
        """Return what the volume has, what the database has, and what it has in memory."""
        rows = (self.db / "rows").read_text()
        return (self.files / "picture").read_text(), rows, self.memory()

    def memory(self) -> str:
        """Return what the database has in memory."""
        return subprocess.run(
            ["docker", "exec", f"{self.stack}-db", "cat", "/tmp/rows"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    def change(self) -> None:
        """Have other data than what was saved."""
        (self.files / "picture").write_text(CHANGED[0])
        (self.files / "later").write_text("made later")
        (self.db / "rows").write_text(CHANGED[1])

    def killed(self, phase: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `moorage` in a process of its own that is killed as soon as a restore is so far."""
        before = f"""
write = restoring.write_state
def note(layout, state):
    write(layout, state)
    if state.phase == {phase!r}:
        os.kill(os.getpid(), signal.SIGKILL)
restoring.write_state = note
"""
        return subprocess.run(
            self.argv(*words, before=before),
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    def argv(self, *words: str, before: str = "") -> list[str]:
        """Return the command line of `moorage` in a process of its own."""
        where = ("--base", str(self.layout.base.parent), "--run", str(self.layout.run.parent))
        return [sys.executable, "-c", program(self.directory, before), *where, *words]

    def states(self) -> dict[str, str]:
        """Return the states of the containers."""
        return {name: found.state for name, found in self.rig.containers().items()}


def assert_settled(saved: Saved) -> None:
    """Nothing is left of a restore, and all runs."""
    hidden = [p.name for p in (saved.layout.base / "data").iterdir() if p.name.startswith(".")]
    assert hidden == [] and not directory_of(saved.layout).exists()
    assert read_reservation(saved.layout) is None
    assert saved.states() == {"app": "running", "db": "running"}


def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_repository: Path) -> Saved:
    """Return a stack on a host of its own that keeps its backups."""
    monkeypatch.setattr("moorage.deploy.receipt.DEFAULT_LOG", tmp_path / "log")
    monkeypatch.setattr("moorage.deploy.systemd.start", lambda _: [])
    (tmp_path / "log" / "rollouts").mkdir(parents=True)
    shutil.copytree(empty_repository / "repository", tmp_path / "repository")
    (tmp_path / "keys").mkdir()
    shutil.copy2(empty_repository / "password", tmp_path / "keys" / "backup.password")
    for name in PLACES:
        monkeypatch.setattr(f"moorage.backup.settings.{name}", places(tmp_path)[name])
    # Pruning is once a day: a test that looks at it takes this away.
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / ".pruned").touch()
    found = Saved(Rig(tmp_path), tmp_path)
    found.configure()
    return found


def state(saved: Saved) -> Path:
    directory: Path = places(saved.directory)["STATE"]
    return directory / f"{saved.stack}.json"


def assert_nothing_left(saved: Saved) -> None:
    """No throw-away container, network or directory is there."""
    for what in (("ps", "-aq"), ("network", "ls", "-q")):
        argv = ["docker", *what, "--filter", f"name=moorage-proof-{saved.stack}"]
        assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == ""
    assert not (saved.layout.proof).exists()


__all__ = [
    "CHANGED",
    "IMAGE",
    "PLACES",
    "WAS",
    "Ran",
    "Saved",
    "assert_nothing_left",
    "assert_settled",
    "host",
    "places",
    "state",
]
