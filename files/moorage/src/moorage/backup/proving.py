"""Proving a backup: it is restored beside, where nobody reaches it, and compared with what it was.

Databases run in throw-away instances of the same images, without a network, on directories of their
own. They take their dump and give another one, in which their own census has to find what it found
when the backup was made. Everything else is read to its end and compared by its sha256.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from moorage.backup import settings as places
from moorage.backup.archive import Broken, listed
from moorage.backup.faults import BackupError
from moorage.backup.noted import proof_of, write
from moorage.backup.retention import proven_set
from moorage.backup.saving import counted, load, pump
from moorage.backup.sets import Checked, Part, Set
from moorage.backup.trees import require_room
from moorage.backup.work import Work
from moorage.common.files import write_atomically
from moorage.common.lock import hold
from moorage.common.readers import read_object
from moorage.control.metrics import family
from moorage.deploy.drivers.base import Driver
from moorage.deploy.foreign import remove_tree
from moorage.deploy.gate import Check, GateClosed, wait_until_healthy
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release, ReleaseError, read_release
from moorage.deploy.runtimes.base import RuntimeFault
from moorage.release.manifest import Backup, Unit
from moorage.release.names import (
    COMPOSE,
    COMPOSE_JSON,
    SERVICE_LABEL,
    STACK_LABEL,
)

_FAILURES = (BackupError, Broken, GateClosed, OSError, ReleaseError, RuntimeFault)
_START_SECONDS = 300.0
_HEALTHY_SECONDS = 600.0
_RESTART_SECONDS = 120.0
_SAID_LINES = 15
# Of a service's description, what a throw-away instance of it has as well.
_KEPT = (
    "image", "command", "entrypoint", "environment", "user", "working_dir", "read_only", "tmpfs",
    "cap_add", "cap_drop", "security_opt", "shm_size", "ulimits", "sysctls", "init", "healthcheck",
    "mem_limit", "memswap_limit", "pids_limit", "cpus", "deploy", "stop_signal",
    "stop_grace_period", "group_add", "pull_policy",
)  # fmt: skip


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
        with _Beside(work, release) as beside:
            parts = [_prove_part(work, beside, found, part) for part in found.parts]
        return note(stack, found.id, found.created, began, parts)


def note(
    stack: str, ident: str, made: float, began: float, parts: list[Found], message: str = ""
) -> Proof:
    """Write down and sign what a proof has found; a message says why there is nothing to prove."""
    ok = bool(parts) and all(part.ok for part in parts)
    before = read_object(proof_of(stack)) or {}
    proof = Proof(
        stack,
        socket.gethostname(),
        ident,
        ok,
        round(began, 3),
        round(time.time(), 3),
        round(sum(part.seconds for part in parts), 3),
        ident if ok else proven_set(stack),
        made if ok else float(before.get("made") or 0.0),
        parts,
        message,
    )
    outcome = f"{stack} backup {ident or 'none'} {'proven' if ok else 'failed'} on {proof.host}"
    unsigned = write(path := proof_of(stack), proof.to_dict(), outcome)
    write_atomically(path.with_suffix(".prom"), _metrics(proof))
    proof.message = "\n".join(filter(None, (message, unsigned)))
    return proof


def _metrics(proof: Proof) -> str:
    """Return a proof in Prometheus' text format, as node_exporter's textfile collector reads it."""
    values = (
        ("ok", "Whether the last proof of a backup went well.", float(proof.ok)),
        ("time_seconds", "When it ended, in seconds since 1970.", proof.finished),
        ("duration_seconds", "How long restoring took in it.", proof.seconds),
        ("proven_time_seconds", "When the newest proven backup was made; 0: none.", proof.made),
    )
    stack = {"stack": proof.stack}
    return "".join(
        family(f"moorage_backup_proof_{name}", "gauge", about, [(stack, value)])
        for name, about, value in values
    )


def _release_of(work: Work, release: Release, found: Set) -> Release:
    """Return the release that was saved, where all of it is still here; else the running one."""
    with suppress(ReleaseError, RuntimeFault):
        own = read_release(work.layout, found.release)
        if not work.driver(own).runtime.missing(own.images):
            return own
    return release


def _prove_part(work: Work, beside: _Beside, found: Set, part: Part) -> Found:
    began = time.monotonic()
    try:
        if part.kind == "dump":
            detail = beside.restore(found, part)
        else:
            with work.restic.read(part.snapshot, part.name) as source:
                checked = Checked(source)
                count = listed(checked)  # type: ignore[arg-type]
                checked.end(part, found.id)
            detail = f"{count} entries, sha256 as saved"
        ok = True
    except _FAILURES as trouble:
        ok, detail = False, str(trouble)
    seconds = round(time.monotonic() - began, 3)
    work.tell(f"{'proven' if ok else 'FAILED'} {part.name:<24} in {seconds:.1f} s: {detail}")
    return Found(part.name, ok, seconds, detail)


def different(saved: Iterable[str], again: Iterable[str]) -> list[str]:
    """Return the lines that are in one of two censuses alone.

    A checksum of `-` tells of what nobody can hold to, such as keys that end by themselves.
    """
    one, other = ({line for line in lines if not line.endswith("\t-")} for lines in (saved, again))
    return sorted(one ^ other)


class _Beside:
    """Where databases are restored: a release of its own, whose instances nobody reaches."""

    def __init__(self, work: Work, release: Release) -> None:
        self._work, self._release = work, release
        self._driver: Driver = work.driver(release)
        self._runtime = self._driver.runtime
        # Also what an earlier proof has left that was killed is found by this name.
        self._stack = f"moorage-proof-{work.layout.stack}"
        self._directory = work.layout.base / ".proof"

    def __enter__(self) -> _Beside:
        self._clear()
        self._directory.mkdir(mode=0o700)
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def _clear(self) -> None:
        names = [instance.name for instance in self._runtime.instances(self._stack)]
        if names:
            self._runtime.remove(names)
        self._runtime.sweep(self._stack)
        if self._directory.is_dir():
            remove_tree(self._directory)

    def restore(self, found: Set, part: Part) -> str:
        """Restore a dump, dump it again, and return what was compared; raises what is wrong."""
        service = next((s for s in self._release.manifest.services if s.name == part.of), None)
        backup = service.backup if service else None
        unit = next((u for u in self._release.manifest.units if u.service == part.of), None)
        if backup is None or unit is None or backup.how != "dump":
            raise BackupError(
                f"release {self._release.id} has no service {part.of} of its own that takes a "
                f"dump: it cannot be tried"
            )
        # As a dump and in a database; a proof must not fill the disk that the stack lives on.
        require_room(self._directory, 2 * part.bytes, f"to try {part.name}")
        with self._instance(unit) as instance:
            self._load(found, part, backup, instance)
            self._runtime.restart(
                instance.name, timeout_seconds=unit.stop_seconds + _RESTART_SECONDS
            )
            self._healthy(instance.name)
            return self._compare(part, backup, instance)

    @contextmanager
    def _instance(self, unit: Unit) -> Iterator[Instance]:
        key = unit.keys[min(unit.keys)]
        composed = read_object(self._release.path / COMPOSE_JSON) or {}
        name = f"{self._stack}-{unit.service}"
        path = self._directory / unit.service
        path.mkdir(mode=0o755)
        entry = self._entry(composed["services"][key], path, name, unit.service)
        text = json.dumps({"name": self._stack, "services": {unit.service: entry}})
        for file in (COMPOSE, COMPOSE_JSON):
            write_atomically(path / file, text)
        release = replace(
            self._release, path=path, manifest=replace(self._release.manifest, stack=self._stack)
        )
        self._runtime.make(release, [unit.service], start=True, timeout_seconds=_START_SECONDS)
        try:
            self._healthy(name)
            yield next(i for i in self._runtime.instances(self._stack) if i.name == name)
        finally:
            self._runtime.remove([name])
            remove_tree(path)

    def _entry(
        self, described: Mapping[str, Any], path: Path, name: str, service: str
    ) -> dict[str, Any]:
        """Describe the throw-away instance: as the service, on directories of its own, alone."""
        mounts = []
        for number, mount in enumerate(described.get("volumes") or []):
            own = dict(mount)
            if not own.get("read_only") and str(own.get("source", "")).startswith("/"):
                fresh = path / f"volume{number}"
                fresh.mkdir(mode=0o700)
                with suppress(OSError):
                    status = os.stat(own["source"])
                    os.chown(fresh, status.st_uid, status.st_gid)
                own["source"] = str(fresh)
            mounts.append(own)
        return {
            **{key: described[key] for key in _KEPT if key in described},
            "volumes": mounts,
            "container_name": name,
            "network_mode": "none",
            "restart": "no",
            "labels": {STACK_LABEL: self._stack, SERVICE_LABEL: service},
        }

    def _healthy(self, name: str) -> None:
        def look() -> list[Check]:
            there = {i.name: i for i in self._runtime.instances(self._stack)}
            instance = there.get(name)
            if instance is None:
                return [Check(name, False, "it does not exist", hopeless=True)]
            ended = instance.state in ("exited", "dead")
            log = () if instance.settled else self._runtime.logs(name, _SAID_LINES)
            detail = f"{instance.state}, {instance.health}"
            return [Check(name, instance.settled, detail, hopeless=ended, log=log)]

        wait_until_healthy(look, _HEALTHY_SECONDS)

    def _load(self, found: Set, part: Part, backup: Backup, instance: Instance) -> None:
        argv = self._runtime.within(instance.name, backup.restore, interactive=True)
        with self._work.restic.read(part.snapshot, part.name) as source:
            checked = Checked(source)
            try:
                load(part.of, argv, checked)
            except BackupError:
                # What was cut off or altered says so better than what becomes of it.
                checked.end(part, found.id)
                raise
            checked.end(part, found.id)

    def _compare(self, part: Part, backup: Backup, instance: Instance) -> str:
        argv = self._runtime.within(instance.name, backup.dump)
        if part.census is None or not backup.census:
            pump(argv, len)
            return "restored and dumped again; not compared, for want of a census"
        census = self._runtime.within(instance.name, backup.census, interactive=True)
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
