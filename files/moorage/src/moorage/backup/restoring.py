"""Putting a backup back: all of it is fetched and checked first, and what was there stays beside.

A restore that is cut off is finished or undone by the next command: what it had got to stands in
`state.json`, and the stack stays reserved until then, so that no update runs over it. Databases get
a dump again, as often as needed.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from socket import gethostname
from typing import Any

from moorage.backup.faults import BackupError
from moorage.backup.instances import Instances, restore_command
from moorage.backup.noted import restore_of, write
from moorage.backup.saving import back_up, volumes_of
from moorage.backup.sets import BEFORE_RESTORE, Checked, Part, Set, total
from moorage.backup.trees import (
    Tree,
    fetch_tree,
    owners_of,
    put,
    remove_beside,
    require_room,
    take_back,
    tree_of,
)
from moorage.backup.work import Work, sized
from moorage.common.files import write_atomically
from moorage.common.lock import hold
from moorage.common.shape import make, read_shaped
from moorage.deploy.foreign import remove_tree
from moorage.deploy.gate import GateClosed
from moorage.deploy.release import Release, ReleaseError, read_release
from moorage.deploy.reservation import Reservation, admit, give_back, reserve
from moorage.deploy.runtimes.base import RuntimeFault
from moorage.edge import EdgeError
from moorage.release.layout import Layout

_STATE = "state.json"
# Phases in which nothing of what there was has been touched yet.
_UNTOUCHED = ("fetching", "stopping", "saving")
_CHANGED = ("changing", "starting")
# It has ended, and what was kept for the other way is being removed.
_ENDED = ("restored", "returned")
# What a census has around names, and doubled in them.
_QUOTES = str.maketrans("", "", '"`')


_FAILURES = (BackupError, EdgeError, GateClosed, OSError, ReleaseError, RuntimeFault)


@dataclass
class State:
    """How far a restore has got. ``trees`` and ``dumps`` are what it replaces.

    ``tables`` names those of a service whose rows alone it replaces, ``parts`` is what a person is
    told of all of it.
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
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    begun: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    paged: bool = False
    saved: str = ""
    gate_seconds: float = 120.0


@dataclass
class Restored:
    """What became of it: ``restored``, or ``returned`` where what was there runs again.

    ``saved`` is the backup of what was overwritten, ``finished`` in Unix seconds.
    """

    outcome: str
    stack: str
    backup: str
    who: str
    host: str = field(default_factory=gethostname)
    finished: float = 0.0
    saved: str = ""
    message: str = ""
    seconds: float = 0.0
    parts: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def directory_of(layout: Layout) -> Path:
    """Return where a restore keeps what it needs; it is root's alone."""
    # Beside the volumes: it holds dumps, and where data is encrypted so is what lies there.
    return layout.data / ".restore"


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
        dumped = part.kind == "dump" and not restore_command(release, part.of)
        if dumped or (part.kind == "volume" and part.of not in volumes):
            raise BackupError(
                f"release {release.id}, which runs, has no place for {part.name} of backup "
                f"{found.id} (of release {found.release}): name the others with --only, or go "
                f"back to a release that has it"
            )
    if not chosen:
        raise BackupError(f"backup {found.id} has nothing to put back: {', '.join(known)}")
    return chosen


def choose_tables(
    release: Release, found: Set, asked: Collection[str]
) -> tuple[list[Part], dict[str, tuple[str, ...]]]:
    """Return the dumps that hold tables, each SERVICE.TABLE, and the tables of each service.

    Raises BackupError for what has no place here, or is not in the backup as far as that says it.
    """
    dumps = {part.of: part for part in found.parts if part.kind == "dump"}
    tables: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys(asked):
        of = next((service for service in dumps if name.startswith(f"{service}.")), "")
        table = name.removeprefix(f"{of}.")
        if not of or not table or not table.isprintable():
            there = ", ".join(dumps) or "none"
            raise BackupError(
                f"{name!r} is no table of a service with a dump in backup {found.id}: write "
                f"SERVICE.TABLE or SERVICE.SCHEMA.TABLE (services with a dump: {there})"
            )
        if not restore_command(release, of, (table,)):
            raise BackupError(
                f"release {release.id}, which runs, does not say how {of} gets single tables "
                f"back: Redis has none, MariaDB and PostgreSQL of Moorage can do it once the "
                f"stack was deployed with them, others where the Compose file says x-moorage: "
                f"{{backup: {{dump: …, restore: …, restore_tables: [PROGRAM, …]}}}}; or restore "
                f"all of it with --only dump/{of}"
            )
        known = [line.split("\t")[0] for line in dumps[of].census or ()]
        bare = table.translate(_QUOTES)
        if known and not any(f".{one.translate(_QUOTES)}".endswith(f".{bare}") for one in known):
            there = ", ".join(one for one in known if not one.startswith("("))
            raise BackupError(f"{of} has no table {table} in backup {found.id}; it has {there}")
        tables[of] = (*tables.get(of, ()), table)
    return [part for part in found.parts if part.of in tables and part.kind == "dump"], tables


def told_of(parts: Iterable[Part], tables: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what is replaced as a person is told of it."""
    rows = {of: [f"table/{of}.{name}" for name in names] for of, names in tables.items()}
    return [name for part in parts for name in rows.get(part.of, [part.name])]


class Restore:
    """Replaces what a stack has by a backup, or goes back to what it had."""

    def __init__(self, work: Work, release: Release, state: State) -> None:
        self._work, self._release, self._state = work, release, state
        self._layout, self._directory = work.layout, directory_of(work.layout)
        self._instances = Instances(work, release, state.held, state.gate_seconds)

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
                tree = tree_of(self._layout, part)
                self._state.trees += (tree,)
                # Noted before it is made: what is cut off is found and taken away.
                self._note("fetching")
                owners = owners_of(self._release, part, Path(tree.path))
                fetch_tree(self._work.restic, found, part, Path(tree.fresh), *owners)
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
            put(tree)
        for service in self._state.dumps:
            self._load(service, self._directory / service, self._state.tables.get(service, ()))
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
            self._instances.stop(self._writers())
            for tree in state.trees:
                take_back(tree)
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
        if idle := {*self._state.begun} & {*self._state.held}:
            self._instances.stop(self._instances.of(idle))
        self._page(on=False)
        # A full disk gets room by this.
        with suppress(OSError):
            self._note(outcome)
        for tree in self._state.trees:
            remove_beside(tree)
        # Before the state: without that nobody would know whose reservation it is.
        give_back(self._layout, self._state.token)
        (self._directory / _STATE).unlink()
        remove_tree(self._directory)

    # -- fetching -------------------------------------------------------------------------

    def _require_room(self, parts: Sequence[Part]) -> None:
        # What databases hold is saved and fetched once more, in case it has to come back.
        needed = total(parts) + total([part for part in parts if part.kind == "dump"])
        mend = "make room, or name parts with --only"
        require_room(self._layout.data, needed, "the restore", mend)

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

    # -- changing -------------------------------------------------------------------------

    def _stop_writers(self) -> None:
        writers = self._writers()
        self._state.held = tuple(self._instances.held())
        self._instances.hold(self._state.held)
        self._state.stopped = tuple(writers)
        self._state.paged = self._may_page()
        self._note("stopping")
        self._page(on=True)
        self._instances.stop(writers)

    def _writers(self) -> list[str]:
        return self._instances.writers([tree.path for tree in self._state.trees])

    def _start(self) -> None:
        # What migrates looks again at what a dump has brought.
        self._instances.start(self._state.stopped, migrate=bool(self._state.dumps))

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

    def _load(self, service: str, dump: Path, tables: Collection[str] = ()) -> None:
        def begin() -> None:
            if service not in self._state.begun:
                self._state.begun += (service,)
                self._note(self._state.phase)

        self._instances.load(service, dump, tables, begin)

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
    tables: Mapping[str, tuple[str, ...]] | None = None,
    save: bool = True,
    gate_seconds: float = 120.0,
) -> Restored:
    """Put parts of a backup back; on any failure all is as before, where that is possible.

    ``tables``: of these services only the rows of these tables.
    Raises BackupError where nothing was touched, or where not even going back was possible.
    """
    layout, began = work.layout, time.monotonic()
    if left := left_behind(layout):
        raise BackupError(left)
    purpose = (
        f"restore of backup {found.id}; should it be cut off: `moorage restore {layout.stack} "
        f"--continue` or `--back`"
    )
    told = told_of(parts, tables or {})
    result = Restored("restored", layout.stack, found.id, who, parts=told)
    with _reserved(layout, who, purpose) as token:
        state = State(
            found.id,
            token,
            release.id,
            tables=tables or {},
            parts=tuple(told),
            gate_seconds=gate_seconds,
        )
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
    result.saved = state.saved
    return _noted(result, began)


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
    outcome = "returned" if back else "restored"
    result = Restored(
        outcome, layout.stack, state.backup, who, saved=state.saved, parts=[*state.parts]
    )
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
    return _noted(result, began)


def _noted(result: Restored, began: float) -> Restored:
    """Write down and sign what became of a restore."""
    result.finished, result.seconds = round(time.time(), 3), round(time.monotonic() - began, 3)
    comment = f"{result.stack} backup {result.backup} {result.outcome} on {result.host}"
    unsigned = write(restore_of(result.stack), result.to_dict(), f"{comment} by {result.who}")
    result.message = "\n".join(filter(None, (result.message, unsigned)))
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


def restore_secrets(work: Work, found: Set, who: str) -> Restored:
    """Put the secrets of a backup onto a host that has none of the stack yet."""
    layout, began = work.layout, time.monotonic()
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
    fetch_tree(work.restic, found, part, fresh)
    if target.is_dir():
        target.rmdir()
    fresh.rename(target)
    done = Restored("restored", layout.stack, found.id, who, parts=[part.name])
    return _noted(done, began)
