"""Proving a backup: it is restored beside, where nobody reaches it, and compared with what it was.

Databases run in throw-away instances of the same images, without a network, on directories of their
own. They take their dump and give another one, in which their own census has to find what it found
when the backup was made. Everything else is compared by its sha256. Then the application is started
on all of that, on a network that leads nowhere, and its health is asked as a deploy's gate asks.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from moorage.backup import settings as places
from moorage.backup.archive import Broken, listed
from moorage.backup.faults import BackupError
from moorage.backup.noted import proof_of, write
from moorage.backup.retention import proven_set
from moorage.backup.saving import counted, load, pump, volumes_of
from moorage.backup.sets import Checked, Part, Set, total
from moorage.backup.throwaway import ThrowAway
from moorage.backup.trees import fetch_tree, owners_of, require_room
from moorage.backup.work import Work
from moorage.common.lock import hold
from moorage.common.readers import Damaged
from moorage.control.backups import read_noted
from moorage.deploy.gate import GateClosed
from moorage.deploy.health import Unfit
from moorage.deploy.release import Release, ReleaseError, read_release
from moorage.deploy.runtimes.base import RuntimeFault
from moorage.release.manifest import Backup, Service, Unit
from process_supervisor.control.client import ControlError

_FAILURES = (
    BackupError, Broken, ControlError, Damaged, GateClosed, OSError, ReleaseError, RuntimeFault,
    Unfit,
)  # fmt: skip
# Of a part, in what is noted.
_DETAIL_LETTERS = 16_384
# How long a database without a health check may take to answer.
_UP_SECONDS = 120
# All of the stack on what was restored: the part of a proof that no backup has.
APPLICATION = "application"


@dataclass(frozen=True)
class Found:
    """What was found of one part; ``detail`` says what was compared, or what is wrong."""

    name: str
    ok: bool
    seconds: float
    detail: str


@dataclass
class Proof:
    """What a proof has found. ``proven`` is the newest backup that is known to restore.

    Times are in Unix seconds, ``seconds`` is how long the restore took; ``made`` is when the
    newest proven backup was.
    """

    stack: str
    host: str
    backup: str
    ok: bool
    started: float
    finished: float
    seconds: float
    proven: str
    made: float
    parts: list[Found] = field(default_factory=list)
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def prove(work: Work, release: Release, found: Set) -> Proof:
    """Prove a backup and note what was found, also where that is a failure.

    Raises BackupError where it could not be tried, Locked where another proof is under way.
    """
    stack, began = work.layout.stack, time.time()
    places.STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    with hold(places.STATE / f".{stack}.lock", "proof of a backup", "moorage"):
        release = _release_of(work, release, found)
        if release.manifest.manager:
            raise BackupError(
                f"a proof restores into throw-away containers, and {stack} runs without any here: "
                f"prove it where it runs in some, with --snapshot {found.id}"
            )
        with ThrowAway(work, release) as beside:
            parts = _Trial(work, beside, found).parts()
        return note(stack, found.id, found.created, began, parts)


def note(
    stack: str, ident: str, made: float, began: float, parts: list[Found], message: str = ""
) -> Proof:
    """Write down and sign what a proof has found; a message says why there is nothing to prove."""
    ok = bool(parts) and all(part.ok for part in parts)
    before = read_noted(proof_of(stack))
    proof = Proof(
        stack,
        socket.gethostname(),
        ident,
        ok,
        round(began, 3),
        round(time.time(), 3),
        round(sum(part.seconds for part in parts), 3),
        ident if ok else proven_set(stack),
        made if ok else before.get("made", 0.0),
        parts,
        message,
    )
    prefix = "moorage_backup_proof"
    figures = (
        (f"{prefix}_ok", "Whether the last proof of a backup went well.", float(ok)),
        (f"{prefix}_time_seconds", "When it ended, in seconds since 1970.", proof.finished),
        (f"{prefix}_duration_seconds", "How long restoring took in it.", proof.seconds),
        (f"{prefix}_proven_time_seconds", "When the newest proven was made; 0: none.", proof.made),
    )
    outcome = f"{stack} backup {ident or 'none'} {'proven' if ok else 'failed'} on {proof.host}"
    unsigned = write(proof_of(stack), proof.to_dict(), outcome, figures)
    proof.message = "\n".join(filter(None, (message, unsigned)))
    return proof


def _release_of(work: Work, release: Release, found: Set) -> Release:
    """Return the release that was saved, where all of it is still here; else the running one."""
    with suppress(ReleaseError, RuntimeFault):
        own = read_release(work.layout, found.release)
        if not work.driver(own).runtime.missing(own.images):
            return own
    return release


class _Trial:
    """Tries the parts of one backup, each by itself, and then the application on all of them."""

    def __init__(self, work: Work, beside: ThrowAway, found: Set) -> None:
        self._work, self._beside, self._found = work, beside, found
        self._wanted = work.settings.prove_application_of(work.layout.stack)
        self._needed = total(p for p in found.parts if p.kind != "release")
        self._needed += total(p for p in found.parts if p.kind == "dump")
        free = shutil.disk_usage(beside.layout.base).free
        # A proof must not fill the disk that the stack lives on.
        self._whole = self._wanted and self._needed <= free
        self._volumes = {path.name for path in volumes_of(beside.layout, beside.release)}

    def parts(self) -> list[Found]:
        """Return what was found of each part, in the order of the backup, and of the whole."""
        tried = []
        # Databases are made with the secrets that were saved: the application asks them by these.
        for part in sorted(
            self._found.parts, key=lambda p: (p.kind == "dump", p.kind != "secrets")
        ):
            tried.append(self._try(part.name, partial(self._part, part)))
        names = [part.name for part in self._found.parts]
        tried.sort(key=lambda found: names.index(found.name))
        if self._wanted:
            ill = [found.name for found in tried if not found.ok]
            tried.append(self._try(APPLICATION, lambda: self._application(ill)))
        return tried

    def _try(self, name: str, act: Callable[[], str]) -> Found:
        began = time.monotonic()
        try:
            ok, detail = True, act()
        except _FAILURES as trouble:
            # What an application says may be of any length, and a note has to be read again.
            ok, detail = False, str(trouble)[:_DETAIL_LETTERS]
        seconds = round(time.monotonic() - began, 3)
        self._work.tell(f"{'proven' if ok else 'FAILED'} {name:<24} in {seconds:.1f} s: {detail}")
        return Found(name, ok, seconds, detail)

    def _part(self, part: Part) -> str:
        if part.kind == "dump":
            return self._dump(part)
        if part.name == "secrets" or (
            part.kind == "volume" and part.of in self._volumes and self._whole
        ):
            return self._tree(part)
        with self._work.restic.read(part.snapshot, part.name) as source:
            checked = Checked(source)
            count = listed(checked)  # type: ignore[arg-type]
            checked.end(part, self._found.id)
        return f"{count} entries, sha256 as saved"

    def _tree(self, part: Part) -> str:
        base = self._beside.layout.base
        path = base / "secrets" if part.kind == "secrets" else base / "data" / part.of
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        owners = owners_of(self._beside.release, part, path)
        fetch_tree(self._work.restic, self._found, part, path, *owners)
        return "restored, sha256 as saved"

    def _dump(self, part: Part) -> str:
        """Restore a dump, dump it again, and return what was compared; raises what is wrong."""
        release = self._beside.release
        service = next((s for s in release.manifest.services if s.name == part.of), None)
        backup, unit = service.backup if service else None, self._beside.unit_of(part.of)
        if service is None or backup is None or unit is None or backup.how != "dump":
            raise BackupError(
                f"release {release.id} has no service {part.of} that takes a dump: it cannot be "
                f"tried"
            )
        # As a dump and in a database.
        require_room(self._beside.layout.base, 2 * part.bytes, f"to try {part.name}")
        try:
            with self._beside.alone(unit, part.of):
                _once_up(service, partial(self._load, part, unit, backup))
                self._beside.restart(unit)
                if not service.health:
                    argv = self._beside.within(unit, part.of, backup.dump)
                    _once_up(service, partial(pump, argv, len))
                return self._compare(part, unit, backup)
        finally:
            if not self._whole:
                self._beside.forget(backup.volumes)

    def _load(self, part: Part, unit: Unit, backup: Backup) -> None:
        argv = self._beside.within(unit, part.of, backup.restore, interactive=True)
        with self._work.restic.read(part.snapshot, part.name) as source:
            checked = Checked(source)
            try:
                load(part.of, argv, checked)
            except BackupError:
                # What was cut off or altered says so better than what becomes of it.
                checked.end(part, self._found.id)
                raise
            checked.end(part, self._found.id)

    def _compare(self, part: Part, unit: Unit, backup: Backup) -> str:
        argv = self._beside.within(unit, part.of, backup.dump)
        if part.census is None or not backup.census:
            pump(argv, len)
            return "restored and dumped again; not compared, for want of a census"
        census = self._beside.within(unit, part.of, backup.census, interactive=True)
        with counted(census) as again:
            pump(argv, again.write)
        if again.lines is None:
            raise BackupError(f"the census of {part.of} failed on what was restored")
        if differs := different(part.census, again.lines):
            shown = "; ".join(differs[:6])
            raise BackupError(
                f"{part.of} holds something else than was saved, {len(differs)} lines of its "
                f"census differ: {shown}"
            )
        return f"{len(part.census)} lines of its census as saved"

    def _application(self, ill: Sequence[str]) -> str:
        """Run the application on what was restored, and return what was seen of its health."""
        if ill:
            raise BackupError(f"it was not started, since others failed: {', '.join(ill)}")
        if not self._whole:
            require_room(self._beside.layout.base, self._needed, "to run the application")
        return self._beside.run_application()


def _once_up(service: Service, work: Callable[[], object]) -> None:
    """Do what a database has to answer, again and again where no health check says when it does."""
    deadline = time.monotonic() + (0 if service.health else _UP_SECONDS)
    while True:
        try:
            work()
        except BackupError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(1)
        else:
            return


def different(saved: Iterable[str], again: Iterable[str]) -> list[str]:
    """Return the lines that are in one of two censuses alone.

    A checksum of `-` tells of what nobody can hold to, such as keys that end by themselves.
    """
    one, other = ({line for line in lines if not line.endswith("\t-")} for lines in (saved, again))
    return sorted(one ^ other)
