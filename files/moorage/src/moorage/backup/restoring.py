"""Putting a backup back: all of it is fetched and checked first, and what was there stays beside.

A restore that is cut off is finished or undone by the next command: what it had got to stands in
`state.json`, and the stack stays reserved until then, so that no update runs over it. Directories
change places by renames, each of which can be told from what lies there; databases get a dump,
again as often as needed.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from moorage.backup.archive import Broken, unpack
from moorage.backup.faults import BackupError
from moorage.backup.saving import back_up, load, volumes_of
from moorage.backup.sets import BEFORE_RESTORE, Checked, Part, Set, total
from moorage.backup.work import Work, running_instance, sized
from moorage.common.files import write_atomically
from moorage.common.lock import hold
from moorage.common.shape import make, read_shaped
from moorage.deploy.foreign import remove_tree
from moorage.deploy.gate import GateClosed, wait_until_healthy
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release, ReleaseError, read_release
from moorage.deploy.reservation import Reservation, admit, give_back, reserve
from moorage.deploy.runtimes.base import RuntimeFault
from moorage.deploy.scene import Limits, Scene
from moorage.deploy.traffic import Traffic
from moorage.edge import EdgeError
from moorage.release.layout import Layout
from moorage.release.manifest import Unit

_STATE = "state.json"
_STOP_MARGIN_SECONDS = 60.0
_RESTART_SECONDS = 120.0
# Phases in which nothing of what there was has been touched yet.
_UNTOUCHED = ("fetching", "stopping", "saving")
_CHANGED = ("changing", "starting")
# It has ended, and what was kept for the other way is being removed.
_ENDED = ("restored", "returned")


_FAILURES = (BackupError, EdgeError, GateClosed, OSError, ReleaseError, RuntimeFault)


@dataclass(frozen=True)
class Tree:
    """A directory that is replaced: where it lies, the new one beside it, and the old one."""

    name: str
    path: str
    fresh: str
    old: str


@dataclass
class State:
    """How far a restore has got. ``trees`` and ``dumps`` are what it replaces.

    ``begun`` names the dumps of which a database may have got something already.
    ``stopped`` names the instances that ran, ``held`` the services that did not; ``paged`` whether
    visitors are shown the maintenance page since; ``saved`` is the backup of what there was.
    """

    backup: str
    token: str
    release: str
    phase: str = "fetching"
    trees: tuple[Tree, ...] = ()
    dumps: tuple[str, ...] = ()
    begun: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    paged: bool = False
    saved: str = ""
    gate_seconds: float = 120.0


@dataclass
class Restored:
    """What became of it: ``restored``, or ``returned`` where what was there runs again.

    ``saved`` is the backup of what was overwritten.
    """

    outcome: str
    stack: str
    backup: str
    saved: str = ""
    message: str = ""
    seconds: float = 0.0
    parts: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def directory_of(layout: Layout) -> Path:
    """Return where a restore keeps what it needs; it is root's alone."""
    return layout.base / ".restore"


def unfinished(layout: Layout) -> State | None:
    """Return how far a restore has got that was cut off or is under way, None without one."""
    path = directory_of(layout) / _STATE
    found = read_shaped(path, State)
    return None if found is None else make(State, found)


def left_behind(layout: Layout) -> str:
    """Say what to do about a restore that was not finished; "" when there is none."""
    state = unfinished(layout)
    if state is None:
        return ""
    undo = f"`moorage restore {layout.stack} --back` undoes it"
    if state.phase in _UNTOUCHED:
        return f"a restore of backup {state.backup} was cut off before it changed anything: {undo}"
    if state.phase in _ENDED:
        undo = f"`moorage restore {layout.stack} --continue` takes away what it has left"
        return f"a restore of backup {state.backup} was cut off at its end ({state.phase}): {undo}"
    finish = f"`moorage restore {layout.stack} --continue` finishes it, "
    return (
        f"a restore of backup {state.backup} was cut off ({state.phase}): "
        f"{finish if state.phase in _CHANGED else ''}{undo}"
    )


def choose(
    layout: Layout, release: Release, found: Set, only: Collection[str], with_secrets: bool
) -> list[Part]:
    """Return the parts of a backup to put back; BackupError for one that has no place here."""
    known = {part.name: part for part in found.parts}
    for name in only:
        if name not in known:
            there = ", ".join(known)
            raise BackupError(f"backup {found.id} has no part {name!r}; it has {there}")
        if known[name].kind == "release":
            raise BackupError(
                f"a release comes back by a deploy; to look into it: restic dump "
                f"{known[name].snapshot} /release | tar -x"
            )
        if known[name].kind == "secrets" and not with_secrets:
            raise BackupError(
                "secrets belong to what runs here, databases' passwords among them: say "
                "--with-secrets where these are to be used"
            )
    kinds = {"dump", "volume", *(["secrets"] if with_secrets else [])}
    chosen = [p for p in found.parts if (p.name in only if only else p.kind in kinds)]
    if with_secrets and "secrets" in known and known["secrets"] not in chosen:
        chosen.append(known["secrets"])
    volumes = {path.name for path in volumes_of(layout, release)}
    for part in chosen:
        dumped = part.kind == "dump" and not _command(release, part.of)
        if dumped or (part.kind == "volume" and part.of not in volumes):
            raise BackupError(
                f"release {release.id}, which runs, has no place for {part.name} of backup "
                f"{found.id} (of release {found.release}): name the others with --only, or go "
                f"back to a release that has it"
            )
    if not chosen:
        raise BackupError(f"backup {found.id} has nothing to put back: {', '.join(known)}")
    return chosen


def _command(release: Release, service: str) -> tuple[str, ...]:
    backups = (s.backup for s in release.manifest.services if s.name == service and s.backup)
    return next((backup.restore for backup in backups), ())


class Restore:
    """Replaces what a stack has by a backup, or goes back to what it had."""

    def __init__(self, work: Work, release: Release, state: State) -> None:
        self._work, self._release, self._state = work, release, state
        self._layout = work.layout
        self._driver = work.driver(release)
        self._directory = directory_of(work.layout)
        limits = Limits()
        traffic = Traffic(work.layout.stack, work.edge)
        self._scene = Scene(work.layout, release, self._driver, traffic, limits)
        self._scene.did.held = list(state.held)

    # -- forward --------------------------------------------------------------------------

    def fetch(self, found: Set, parts: Sequence[Part]) -> None:
        """Bring every part here, beside what there is, and check all of it."""
        self._require_room(parts)
        for part in parts:
            began = time.monotonic()
            if part.kind == "dump":
                self._fetch_dump(found, part, part.of)
                self._state.dumps += (part.of,)
            else:
                tree = self._tree(part)
                self._state.trees += (tree,)
                # Noted before it is made: what is cut off is found and taken away.
                self._note("fetching")
                self._fetch_tree(found, part, tree)
            seconds = time.monotonic() - began
            self._work.tell(f"fetched {part.name:<24} {sized(part.bytes):>9} in {seconds:.1f} s")

    def carry_out(self, found: Set | None, *, save: bool) -> None:
        """Stop what writes, save what there is, replace it, and wait for health."""
        if found is not None:
            self._stop_writers()
            if save:
                self._save()
        self._note("changing")
        for tree in self._state.trees:
            _put(tree)
        for service in self._state.dumps:
            self._load(service, self._directory / service)
        self._note("starting")
        self._start()

    # -- back -----------------------------------------------------------------------------

    def go_back(self) -> str:
        """Have all as it was before; raises what keeps it from that.

        Returns what is wrong with what runs then: it may have been ill before.
        """
        state = self._state
        if state.phase not in _UNTOUCHED:
            self._note("returning")
            self._stop(self._writers())
            for tree in state.trees:
                _take_back(tree)
            for service in state.begun:
                before = self._directory / f"{service}.before"
                if not before.is_file():
                    raise BackupError(
                        f"{service} holds what was restored, and nothing was saved of what it had"
                    )
                self._load(service, before)
        ill = ""
        try:
            self._start()
        except _FAILURES as trouble:
            ill = f"the data is as it was, but what ran before does not run well: {trouble}"
        self.clean("returned")
        return ill

    def clean(self, outcome: str) -> None:
        """Take away what the restore has kept beside, and let others at the stack.

        From the first file on that is gone there is no other way any more.
        """
        # What somebody had stopped ran only to take its dump.
        there = self._scene.look().values() if self._state.begun else ()
        idle = {*self._state.begun} & {*self._state.held}
        self._stop([i for i in there if i.alive and i.service in idle])
        self._page(on=False)
        # A full disk gets room by this.
        with suppress(OSError):
            self._note(outcome)
        for tree in self._state.trees:
            for path in (Path(tree.fresh), Path(tree.old)):
                if path.is_dir():
                    remove_tree(path)
        # Before the state: without that nobody would know whose reservation it is.
        give_back(self._layout, self._state.token)
        (self._directory / _STATE).unlink()
        remove_tree(self._directory)

    # -- fetching -------------------------------------------------------------------------

    def _require_room(self, parts: Sequence[Part]) -> None:
        free = shutil.disk_usage(self._layout.base).free
        # What databases hold is saved and fetched once more, in case it has to come back.
        needed = total(parts) + total([part for part in parts if part.kind == "dump"])
        if needed > free:
            raise BackupError(
                f"{self._layout.base} has {sized(free)} free, and the restore needs about "
                f"{sized(needed)} beside what is there: make room, or name parts with --only"
            )

    def _tree(self, part: Part) -> Tree:
        base = self._layout.base
        path = base / "secrets" if part.kind == "secrets" else base / "data" / part.of
        if mounted := _mounted(path):
            raise BackupError(
                f"{mounted} is a mount of its own, which no backup has, and which would go along "
                f"with what is replaced: unmount it, or restore this part by hand"
            )
        beside = (str(path.with_name(f".{path.name}.{kind}")) for kind in ("restored", "before"))
        return Tree(part.name, str(path), *beside)

    def _fetch_dump(self, found: Set, part: Part, name: str) -> None:
        how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with (
            os.fdopen(os.open(self._directory / name, how, 0o600), "wb") as out,
            self._work.restic.read(part.snapshot, part.name) as source,
        ):
            checked = Checked(source)
            while piece := checked.read(1 << 20):
                out.write(piece)
            checked.end(part, found.id)

    def _fetch_tree(self, found: Set, part: Part, tree: Tree) -> None:
        fresh = Path(tree.fresh)
        users, groups = self._owners(part, Path(tree.path))
        with self._work.restic.read(part.snapshot, part.name) as source:
            checked = Checked(source)
            try:
                unpack(checked, fresh, users, groups)  # type: ignore[arg-type]
            except Broken as trouble:
                # What was cut off or altered says so better than what it looks like.
                checked.end(part, found.id)
                raise BackupError(f"{part.name} of backup {found.id}: {trouble}") from None
            checked.end(part, found.id)

    def _owners(self, part: Part, path: Path) -> tuple[dict[int, int], dict[int, int]]:
        """Return who on this host is whom of the backup: stacks have other numbers elsewhere."""
        entries = self._release.manifest.directories or ()
        wanted = next(((e.owner, e.group) for e in entries if e.path == str(path)), None)
        if part.owner is None or wanted is None or part.kind != "volume":
            return {}, {}
        return {part.owner[0]: wanted[0]}, {part.owner[1]: wanted[1]}

    # -- changing -------------------------------------------------------------------------

    def _stop_writers(self) -> None:
        writers = self._writers()
        self._state.held = tuple(
            self._driver.held(self._release, list(self._scene.look().values()))
        )
        self._scene.did.held = list(self._state.held)
        self._state.stopped = tuple(instance.name for instance in writers)
        self._state.paged = self._may_page()
        self._note("stopping")
        self._page(on=True)
        self._stop(writers)

    def _save(self) -> None:
        self._note("saving")
        names = [tree.name for tree in self._state.trees if Path(tree.path).is_dir()]
        names += [f"dump/{service}" for service in self._state.dumps]
        try:
            saved = back_up(
                self._work, self._release, lambda: None, kind=BEFORE_RESTORE, only=names
            )
        except BackupError as trouble:
            raise BackupError(
                f"what is there cannot be saved first: {trouble}\nWhere it is lost anyway, say "
                f"--without-backup"
            ) from None
        self._state.saved = saved.id
        for part in saved.parts:
            if part.kind == "dump":
                self._fetch_dump(saved, part, f"{part.of}.before")
        self._note("saving")

    def _load(self, service: str, dump: Path) -> None:
        """Have a service put a dump in the place of what it has, and start it anew."""
        unit = self._unit(service)
        if not self._there(unit).alive:
            self._driver.runtime.start([unit.name])
        self._healthy([unit])
        instance = running_instance(self._release, service, self._scene.found)
        if instance is None:
            raise BackupError(f"{service} does not run, so it takes no dump: see its log")
        beside = self._driver.surroundings(self._release, unit, service)
        command = _command(self._release, service)
        argv = self._driver.runtime.within(instance.name, command, beside, interactive=True)
        began = time.monotonic()
        if service not in self._state.begun:
            self._state.begun += (service,)
            self._note(self._state.phase)
        try:
            with dump.open("rb") as source:
                load(service, argv, source)
        finally:
            # Some take it with their next start, and no other one keeps what it had in memory.
            # Also after a failure: what was ended for its slowness goes on in its container.
            self._driver.runtime.restart(
                instance.name, timeout_seconds=unit.stop_seconds + _RESTART_SECONDS
            )
        self._healthy([unit])
        self._work.tell(f"{service} has its dump after {time.monotonic() - began:.1f} s")

    # -- instances ------------------------------------------------------------------------

    def _writers(self) -> list[Instance]:
        """Return the instances that run and could write to what is replaced, or lean on it."""
        data = {unit.name for unit in self._release.manifest.units if unit.data}
        paths = {tree.path for tree in self._state.trees}
        return [
            i
            for i in self._scene.look().values()
            if i.alive and (i.name not in data or paths & {*i.writes, *i.reads})
        ]

    def _stop(self, instances: Sequence[Instance]) -> None:
        longest = max((instance.stop_seconds for instance in instances), default=0.0)
        names = [instance.name for instance in instances]
        if names:
            self._work.tell(f"stopping {', '.join(names)}")
            self._driver.runtime.stop(names, timeout_seconds=longest + _STOP_MARGIN_SECONDS)

    def _start(self) -> None:
        """Start what ran before, data services first, and wait for the health of all."""
        units = [unit for unit in self._release.manifest.units if not unit.on_demand]
        down = {name for name, i in self._scene.look().items() if not i.alive}
        due = [unit for unit in units if unit.name in self._state.stopped and unit.name in down]
        # What migrates looks again at what a dump has brought.
        once = [u for u in units if u.one_off and u.name in down and self._state.dumps]
        data = [unit for unit in due if unit.data]
        for group in (data, *([unit] for unit in once), [u for u in due if u not in data]):
            if group:
                self._driver.runtime.start([unit.name for unit in group])
                self._healthy(group)
        names = {unit.name for unit in units}
        # An instance that no unit describes ran as well.
        other = [n for n in self._state.stopped if n not in names and n in down]
        if other:
            self._driver.runtime.start(other)
        self._work.tell("waiting until all is healthy")
        wait_until_healthy(self._scene.everything, self._state.gate_seconds)

    def _healthy(self, units: Sequence[Unit]) -> None:
        look = self._scene.looker({unit.name for unit in units})
        wait_until_healthy(look, self._state.gate_seconds)

    def _unit(self, service: str) -> Unit:
        return next(u for u in self._release.manifest.units if u.serves(service))

    def _there(self, unit: Unit) -> Instance:
        found = self._scene.look().get(unit.name)
        if found is None:
            raise BackupError(f"there is no container {unit.name}: deploy the stack first")
        return found

    # -- small things ---------------------------------------------------------------------

    def _note(self, phase: str) -> None:
        self._state.phase = phase
        write_state(self._layout, self._state)

    def _may_page(self) -> bool:
        """Tell whether visitors can be shown the maintenance page, and are not shown it yet."""
        stack = self._layout.stack
        try:
            known = self._work.edge.present() and self._work.edge.pools(stack)
            return bool(known) and not self._work.edge.store.pools(stack)["maintenance"]
        except (EdgeError, OSError):
            return False

    def _page(self, *, on: bool) -> None:
        if not self._state.paged:
            return
        try:
            self._work.edge.maintenance(self._layout.stack, on)
        except (EdgeError, OSError) as trouble:
            self._work.tell(f"the maintenance page cannot be turned {'on' if on else 'off'}: "
                            f"{trouble}")  # fmt: skip


def write_state(layout: Layout, state: State) -> None:
    """Have what a restore has got to on the disk."""
    text = json.dumps(asdict(state), indent=2) + "\n"
    write_atomically(directory_of(layout) / _STATE, text, 0o600)


def _mounted(path: Path) -> str:
    """Return what is mounted at a path or below it, "" for nothing."""
    top = os.path.realpath(path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        points = [line.split()[4] for line in mounts]
    return next((p for p in points if p == top or p.startswith(f"{top}/")), "")


def _put(tree: Tree) -> None:
    """Have the new directory in its place and the old one beside it, however far that had got."""
    path, fresh, old = Path(tree.path), Path(tree.fresh), Path(tree.old)
    if fresh.is_dir():
        if os.path.lexists(path) and not old.is_dir():
            path.rename(old)
        fresh.rename(path)


def _take_back(tree: Tree) -> None:
    """Have the old directory in its place again, and the new one beside it."""
    path, fresh, old = Path(tree.path), Path(tree.fresh), Path(tree.old)
    if old.is_dir():
        if os.path.lexists(path):
            path.rename(fresh)
        old.rename(path)


@contextmanager
def _reserved(layout: Layout, who: str, purpose: str, token: str = "") -> Iterator[str]:
    """Hold the stack for a restore: beyond the end of this process when it is cut off."""
    if token:
        admit(layout, token)
    # No process: who is cut off in the middle leaves a stack that no update may run over.
    claim = Reservation(who, os.uname().nodename, 0, time.time(), purpose)
    mine = token or reserve(layout, claim).token
    with ExitStack() as held:
        try:
            held.enter_context(hold(layout.lock, purpose, who))
        except BaseException:
            if not token:
                give_back(layout, mine)
            raise
        yield mine


def restore(
    work: Work,
    release: Release,
    found: Set,
    parts: Sequence[Part],
    *,
    who: str,
    save: bool = True,
    gate_seconds: float = 120.0,
) -> Restored:
    """Put parts of a backup back; on any failure all is as before, where that is possible.

    Raises BackupError where nothing was touched, or where not even going back was possible.
    """
    layout, began = work.layout, time.monotonic()
    if left := left_behind(layout):
        raise BackupError(left)
    purpose = (
        f"restore of backup {found.id}; should it be cut off: `moorage restore {layout.stack} "
        f"--continue` or `--back`"
    )
    result = Restored("restored", layout.stack, found.id, parts=[part.name for part in parts])
    with _reserved(layout, who, purpose) as token:
        state = State(found.id, token, release.id, gate_seconds=gate_seconds)
        try:
            if directory_of(layout).is_dir():
                # One that had ended was killed before its last step.
                remove_tree(directory_of(layout))
            directory_of(layout).mkdir(mode=0o700)
            write_state(layout, state)
            run = Restore(work, release, state)
        except BaseException:
            shutil.rmtree(directory_of(layout), ignore_errors=True)
            give_back(layout, token)
            raise
        try:
            run.fetch(found, parts)
            run.carry_out(found, save=save)
        except BaseException as trouble:
            _return(work, run, state, trouble, result)
        else:
            run.clean("restored")
    result.saved, result.seconds = state.saved, round(time.monotonic() - began, 3)
    return result


def resume(work: Work, who: str, *, back: bool) -> Restored:
    """Finish or undo a restore that was cut off; raises BackupError where there is none."""
    layout, began = work.layout, time.monotonic()
    state = unfinished(layout)
    if state is None:
        raise BackupError(f"no restore of {layout.stack} was cut off: there is nothing to resume")
    if not back and state.phase not in (*_CHANGED, *_ENDED):
        raise BackupError(
            f"the restore of backup {state.backup} cannot go on from where it was cut off "
            f"({state.phase}): `moorage restore {layout.stack} --back` undoes it, then begin anew"
        )
    parts = [*(f"dump/{name}" for name in state.dumps), *(tree.name for tree in state.trees)]
    outcome = "returned" if back else "restored"
    result = Restored(outcome, layout.stack, state.backup, state.saved, parts=parts)
    with _reserved(layout, who, f"restore of backup {state.backup}", state.token):
        run = Restore(work, read_release(layout, state.release), state)
        if state.phase in _ENDED:
            result.outcome = state.phase
            result.message = f"it had ended already: {state.phase}"
            run.clean(state.phase)
        elif back:
            result.message = run.go_back()
        else:
            try:
                run.carry_out(None, save=False)
            except BaseException as trouble:
                _return(work, run, state, trouble, result)
            else:
                run.clean("restored")
    result.seconds = round(time.monotonic() - began, 3)
    return result


def _return(
    work: Work, run: Restore, state: State, trouble: BaseException, result: Restored
) -> None:
    """Go back after a failure; raises BackupError where that fails as well."""
    known = isinstance(trouble, _FAILURES)
    why = str(trouble) or type(trouble).__name__
    touched = state.phase not in _UNTOUCHED
    work.tell(f"failed: {why}\ngoing back to what was there" if touched else f"failed: {why}")
    try:
        ill = run.go_back()
    except _FAILURES as worse:
        raise BackupError(
            f"{why}\nand going back failed too: {worse}\nThe stack stays reserved; "
            f"{left_behind(work.layout)}"
        ) from None
    if not known:
        raise trouble
    why = "\n".join(filter(None, (why, ill)))
    if not touched:
        raise BackupError(why) from None
    result.outcome, result.message = "returned", why


def restore_secrets(work: Work, found: Set) -> None:
    """Put the secrets of a backup onto a host that has none of the stack yet."""
    layout = work.layout
    part = next((part for part in found.parts if part.kind == "secrets"), None)
    if part is None:
        raise BackupError(f"backup {found.id} has no secrets")
    target, fresh = layout.base / "secrets", layout.base / ".secrets.restored"
    if target.is_dir() and any(target.iterdir()):
        raise BackupError(
            f"{target} holds secrets already, and what runs here goes by them: nothing was "
            f"changed. `moorage restore {layout.stack} --with-secrets` replaces them"
        )
    layout.base.mkdir(mode=0o755, parents=True, exist_ok=True)
    if fresh.is_dir():
        remove_tree(fresh)
    with work.restic.read(part.snapshot, part.name) as source:
        checked = Checked(source)
        try:
            unpack(checked, fresh)  # type: ignore[arg-type]
        except Broken as trouble:
            raise BackupError(f"secrets of backup {found.id}: {trouble}") from None
        checked.end(part, found.id)
    if target.is_dir():
        target.rmdir()
    fresh.rename(target)
