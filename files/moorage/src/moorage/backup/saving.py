"""Making a backup: every part straight into the repository, the manifest last.

Dumps come first, then volumes. An application writes a file before the row that names it, so what
a dump names is there when the volumes are read; only a file that was removed in between is missing,
as its row is when the application goes on. The other way round every upload of that time would be a
row without its file.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread, Timer
from typing import IO, Any, Protocol

from moorage.backup.archive import pack
from moorage.backup.faults import BackupError
from moorage.backup.sets import (
    FORMAT,
    WHOLE,
    Meter,
    Part,
    Set,
    fresh_id,
    save_manifest,
    tags,
)
from moorage.backup.work import Work, running_instance, sized
from moorage.deploy.release import Release, read_part
from moorage.release.directory import Composed
from moorage.release.layout import Layout
from moorage.release.manifest import Backup, Service
from moorage.release.names import COMPOSE_JSON, UNIFIED_STATE

_CHUNK = 1 << 20
_SAID_LINES, _SAID_BYTES, _SAID_SECONDS = 15, 16 << 10, 10.0
# A dump that gives nothing for that long will not give any more.
_STALL_SECONDS = 3600.0
# No command takes or gives a dump for longer, nor counts in one.
_LONGEST_SECONDS = 6 * 3600.0
_CENSUS_BYTES = 4 << 20
_CENSUS_SECONDS = 600.0
_SAY = (
    "say in the Compose file how its data is saved: x-moorage: {backup: {dump: [PROGRAM, …], "
    "restore: [PROGRAM, …]}}, {backup: {files: true}} where a copy of its files is good enough, "
    "or {backup: false}; then deploy"
)


@dataclass(frozen=True)
class Source:
    """Where a part comes from: a service that is asked for a dump, or a directory."""

    name: str
    service: Service | None = None
    directory: Path = Path()


def sources(layout: Layout, release: Release) -> list[Source]:
    """Return the parts of a backup in their order; BackupError where nobody has said how."""
    dumps, aside = [], set[str]()
    for service in release.manifest.services:
        backup = service.backup or _of_older(layout, release, service)
        if backup is None:
            continue
        if backup.how == "unknown":
            raise BackupError(
                f"{service.name} keeps data in {', '.join(backup.volumes)}, and its image has no "
                f"moorage-dump: {_SAY}"
            )
        if backup.how == "dump":
            dumps.append(Source(f"dump/{service.name}", service))
        if backup.how != "files":
            aside |= set(backup.volumes)
    volumes = [
        Source(f"volume/{path.name}", directory=path)
        for path in volumes_of(layout, release)
        if path.name not in aside
    ]
    others = [
        Source(name, directory=path)
        for name, path in (("secrets", layout.base / "secrets"), ("release", release.path))
        if path.is_dir()
    ]
    return [*dumps, *volumes, *others]


def volumes_of(layout: Layout, release: Release) -> list[Path]:
    """Return the directories of a release that hold an application's data."""
    paths = (Path(entry.path) for entry in release.manifest.directories or ())
    return sorted(
        p for p in paths if p.parent == layout.data and not p.name.startswith(UNIFIED_STATE)
    )


def _of_older(layout: Layout, release: Release, service: Service) -> Backup | None:
    """Refuse a data service of a release that does not say how it is saved."""
    described = read_part(release, COMPOSE_JSON, Composed).get("services", {})
    data = f"{layout.base}/data/"
    for unit in release.manifest.units:
        keys = unit.keys.values() if unit.data and unit.service == service.name else ()
        mounts = [m for key in keys for m in described.get(key, {}).get("volumes") or ()]
        if any(str(_source(mount)).startswith(data) for mount in mounts):
            raise BackupError(
                f"release {release.id} of {layout.stack} was made by an older Moorage and does "
                f"not say how the data of {service.name} is saved: deploy the stack once"
            )
    return None


def _source(mount: Any) -> str:
    return str(mount.get("source") or "") if isinstance(mount, dict) else str(mount)


def back_up(
    work: Work,
    release: Release,
    be_heard: Callable[[], None],
    *,
    kind: str = WHOLE,
    only: Collection[str] | None = None,
) -> Set:
    """Make a backup of a stack, or of the parts that are named, and return it.

    Raises BackupError; then nothing of it counts as a backup.
    """
    maker = _Maker(work, release, be_heard)
    ident, began = fresh_id(), time.time()
    found = [s for s in sources(work.layout, release) if only is None or s.name in only]
    if lacking := sorted(set(only or ()) - {source.name for source in found}):
        raise BackupError(f"release {release.id} does not save {', '.join(lacking)}")
    parts: list[Part] = []
    try:
        for source in found:
            parts.append(maker.save(source, ident))
            work.tell(_told(parts[-1]))
        made = Set(
            FORMAT,
            ident,
            kind,
            work.layout.stack,
            socket.gethostname(),
            round(began, 3),
            release.id,
            release.manifest.version,
            release.topology,
            tuple(parts),
        )
        save_manifest(work.restic, made)
    except BaseException:
        # Without a manifest they are none; where that fails too, the next backup does it.
        with suppress(BackupError):
            if parts:
                work.restic.forget([part.snapshot for part in parts])
        raise
    return made


def _told(part: Part) -> str:
    text = f"{part.name:<24} {sized(part.bytes):>9} in {part.seconds:.1f} s"
    return "\n".join([text, *(f"  {note}" for note in part.notes)])


class _Maker:
    """Saves the parts of one backup."""

    def __init__(self, work: Work, release: Release, be_heard: Callable[[], None]) -> None:
        self._work, self._release, self._be_heard = work, release, be_heard
        self._driver = work.driver(release)

    def save(self, source: Source, ident: str) -> Part:
        """Save one part of the set ``ident``."""
        began = time.monotonic()
        facts: dict[str, Any] = {}
        meters: list[Meter] = []

        def produce(out: IO[bytes]) -> None:
            meters.append(meter := Meter(_Heard(out, self._be_heard)))  # type: ignore[arg-type]
            if source.service is not None:
                facts.update(self._dump(source.service, meter))
            else:
                facts.update(_pack(source.directory, meter))

        labels = tags(self._work.layout.stack, ident, source.name)
        try:
            snapshot = self._work.restic.save(produce, source.name, labels)
        except OSError as trouble:
            raise BackupError(f"{source.name} cannot be read: {trouble}") from None
        seconds = round(time.monotonic() - began, 3)
        return Part(source.name, snapshot, meters[0].sha256, meters[0].bytes, seconds, **facts)

    def _dump(self, service: Service, meter: Meter) -> dict[str, Any]:
        backup = service.backup
        assert backup is not None
        stack = self._work.layout.stack
        there = {i.name: i for i in self._driver.runtime.instances(stack)}
        instance = running_instance(self._release, service.name, there)
        if instance is None:
            raise BackupError(
                f"{service.name} does not run, and what does not run gives no dump: start it with "
                f"`moorage start {stack} {service.name}`"
            )
        unit = next(u for u in self._release.manifest.units if u.name == instance.name)
        beside = self._driver.surroundings(self._release, unit, service.name)

        def within(command: Sequence[str], *, interactive: bool = False) -> list[str]:
            return self._driver.runtime.within(
                instance.name, command, beside, interactive=interactive
            )

        if not backup.census:
            pump(within(backup.dump), meter.write)
            return {}
        with counted(within(backup.census, interactive=True)) as census:
            pump(within(backup.dump), meter.write, census.write)
        notes = (
            () if census.lines is not None else ("its census failed: a proof cannot compare it",)
        )
        return {"census": census.lines, "notes": notes}


def _pack(directory: Path, meter: Meter) -> dict[str, Any]:
    status = directory.stat()
    packed = pack(directory, meter)  # type: ignore[arg-type]
    notes = [f"left out: {line}" for line in packed.left]
    notes += [f"changed: {line}" for line in packed.changed]
    for count, what in ((packed.left_count, "left out"), (packed.changed_count, "changed")):
        named = sum(note.startswith(what) for note in notes)
        notes += [f"{what}: {count - named} more"] if count > named else []
    return {"notes": tuple(notes), "owner": (status.st_uid, status.st_gid)}


def pump(argv: Sequence[str], *to: Callable[[bytes], int]) -> None:
    """Pass on what a command prints to all of ``to``.

    Raises BackupError unless it ends well and has printed anything.
    """
    running = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None and running.stderr is not None
    said, count = _Said(running.stderr, _SAID_BYTES), 0
    with _limited(running) as late, running.stdout:
        while piece := _piece(running.stdout.fileno(), argv):
            count += len(piece)
            for write in to:
                write(piece)
        status = running.wait()
    if status != 0 or not count:
        how = _ended(status, late) if status else "wrote nothing"
        raise BackupError(f"the dump failed: `{' '.join(argv)}` {how}{said.tail()}")


def load(service: str, argv: Sequence[str], source: Readable) -> None:
    """Give a dump to a service's command; raises BackupError unless that ends well."""
    running = subprocess.Popen(
        argv, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert running.stdin is not None and running.stderr is not None
    said = _Said(running.stderr, _SAID_BYTES)
    with running.stdin as stdin, _limited(running) as late:
        # What it leaves unread is its own affair: it says so by its status.
        with suppress(BrokenPipeError):
            while rest := memoryview(source.read(_CHUNK)):
                while rest:
                    rest = rest[stdin.write(rest) :]
        stdin.close()
        status = running.wait()
    if status != 0:
        raise BackupError(
            f"{service} took no dump: `{' '.join(argv)}` {_ended(status, late)}{said.tail()}"
        )


class Readable(Protocol):
    """What a dump is read from."""

    def read(self, size: int, /) -> bytes:
        """Return the next piece, an empty one at the end."""


class _Said:
    """Takes all that a command says, and keeps the last of it.

    The command must not wait for a reader, nor fill a disk: it may be of an application.
    """

    def __init__(self, source: IO[bytes], limit: int) -> None:
        self._kept = b""
        self._thread = Thread(target=self._take, args=(source, limit), daemon=True)
        self._thread.start()

    def _take(self, source: IO[bytes], limit: int) -> None:
        with source:
            while piece := os.read(source.fileno(), _CHUNK):
                self._kept = (self._kept + piece)[-limit:]

    def lines(self) -> list[str]:
        """Return what was kept, once the command has ended."""
        self._thread.join(_SAID_SECONDS)
        return self._kept.decode("utf-8", "replace").splitlines()

    def tail(self) -> str:
        """Return its last lines as the end of a message."""
        return "".join(f"\n  | {line}" for line in self.lines()[-_SAID_LINES:])


@contextmanager
def _limited(running: subprocess.Popen[bytes]) -> Iterator[Event]:
    """End a command with the block, or when it takes too long: then what is given is set."""
    late = Event()

    def end() -> None:
        late.set()
        running.kill()

    timer = Timer(_LONGEST_SECONDS, end)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
        running.kill()
        running.wait()


def _ended(status: int, late: Event) -> str:
    took = f"was ended since it took more than {_LONGEST_SECONDS / 3600:g} hours"
    return took if late.is_set() else f"ended with {status}"


def _piece(fd: int, argv: Sequence[str]) -> bytes:
    if not select.select([fd], [], [], _STALL_SECONDS)[0]:
        raise BackupError(
            f"the dump failed: `{' '.join(argv)}` gave nothing for {_STALL_SECONDS:g} s"
        )
    return os.read(fd, _CHUNK)


class _Heard:
    """Passes on what is written to it, and lets others know that somebody is at work."""

    def __init__(self, out: IO[bytes], be_heard: Callable[[], None]) -> None:
        self._out, self._be_heard = out, be_heard

    def write(self, piece: bytes) -> int:
        """Pass a piece on."""
        self._be_heard()
        return self._out.write(piece)


class Census:
    """Has a service's own command count what is in a dump, as it passes by."""

    def __init__(self, running: subprocess.Popen[bytes]) -> None:
        self._running = running
        assert running.stdin is not None
        self._stdin = running.stdin
        os.set_blocking(self._stdin.fileno(), False)
        # None: it could not tell.
        self.lines: tuple[str, ...] | None = None

    def write(self, piece: bytes) -> int:
        """Give it a piece; one that has ended or takes no more is left alone.

        The dump counts for more, and who is asked may be of an application.
        """
        rest = memoryview(piece)
        while rest and not self._stdin.closed:
            if not select.select([], [self._stdin], [], _CENSUS_SECONDS)[1]:
                self._running.kill()
                self.end()
                break
            try:
                rest = rest[os.write(self._stdin.fileno(), rest) :]
            except OSError:
                self.end()
        return len(piece)

    def end(self) -> None:
        """Tell it that this was all."""
        with suppress(OSError):
            self._stdin.close()


@contextmanager
def counted(argv: Sequence[str]) -> Iterator[Census]:
    """Give what counts all that is written to it; its ``lines`` are there after the block."""
    running = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert running.stdout is not None
    said, census = _Said(running.stdout, _CENSUS_BYTES), Census(running)
    with _limited(running):
        try:
            yield census
            census.end()
            with suppress(subprocess.TimeoutExpired):
                if running.wait(_CENSUS_SECONDS) == 0:
                    census.lines = tuple(said.lines())
        finally:
            census.end()
