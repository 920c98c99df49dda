"""What an update does before and after: hooks in running instances, and a look at migrations."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from moorage.common.readers import decode
from moorage.common.shape import fit
from moorage.deploy.execute import apart
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release, make_runtime
from moorage.deploy.runtimes.base import RuntimeFault
from moorage.deploy.scene import Scene
from moorage.release.layout import Layout
from moorage.release.manifest import Hook, Unit
from moorage.release.names import NEXT

_PLAN_SECONDS = 120.0
_SAID_LINES = 15
_FITS = ("sh", "-c", "! command -v moorage-fits >/dev/null || exec moorage-fits")


@dataclass(frozen=True)
class _Migration:
    """A migration that the release would run."""

    revision: str
    kind: str = ""
    message: str = ""


@dataclass(frozen=True)
class _Plan:
    """What a release says of its migrations."""

    pending: list[_Migration] = field(default_factory=list)
    compatible: bool = True


class HookFailed(Exception):
    """A hook ended badly, or a migration may not be run; the message says which and why."""


def run_hooks(
    kind: Literal["before", "after"],
    release: Release,
    scene: Scene,
    keep: int,
) -> list[dict[str, Any]]:
    """Run the hooks ``before`` or ``after`` of a release in the instances that run now.

    Returns name, duration in seconds and the path saved to for each. Raises HookFailed.
    """
    done = []
    instances = scene.look().values()
    for hook in getattr(release.manifest.hooks, kind):
        instance = _instance(hook, release, instances)
        if instance is None:
            if kind == "before":
                # Nothing runs yet that could be saved.
                continue
            raise HookFailed(f"hook {hook.name!r}: no instance of {hook.service} runs")
        began = time.monotonic()
        argv = scene.runtime.within(instance.name, hook.command)
        saved = _run(hook, release, scene.layout, argv)
        if saved is not None:
            _forget_old(saved, hook.save_as, keep)
        done.append(
            {
                "name": hook.name,
                "seconds": round(time.monotonic() - began, 3),
                "saved": str(saved) if saved else None,
            }
        )
    return done


def _instance(hook: Hook, release: Release, instances: Iterable[Instance]) -> Instance | None:
    homes = {unit.name for unit in release.manifest.units if unit.serves(hook.service)}
    return next(
        (
            c
            for c in instances
            if c.state == "running" and (c.name in homes or c.service == hook.service)
            if not c.name.endswith(NEXT)
        ),
        None,
    )


def _run(hook: Hook, release: Release, layout: Layout, argv: Sequence[str]) -> Path | None:
    target = None
    if hook.save_as:
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        layout.backups.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = layout.backups / f"{release.id}-{moment}-{hook.save_as}.gz"
    try:
        _execute(
            argv, target, hook.timeout_seconds or release.manifest.rollout.hook_timeout_seconds
        )
    except (OSError, RuntimeFault) as trouble:
        if target is not None:
            _scratch(target).unlink(missing_ok=True)
        raise HookFailed(f"hook {hook.name!r} failed: {trouble}") from None
    return target


def _scratch(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _execute(argv: Sequence[str], target: Path | None, timeout_seconds: float) -> None:
    """Run a command; what it prints goes into ``target``, compressed, all of it or nothing."""
    with (
        # Not a pipe: a command that complains a lot must not wait for somebody to read it.
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if target else subprocess.DEVNULL,
            stderr=said,
        ) as process,
    ):
        late = threading.Timer(timeout_seconds, process.kill)
        late.start()
        try:
            if target is not None and process.stdout is not None:
                _save(process.stdout, _scratch(target))
            status = process.wait()
        finally:
            timed_out = late.finished.is_set()
            late.cancel()
        said.seek(0)
        words = said.read().decode("utf-8", "replace").splitlines()[-_SAID_LINES:]
    if status != 0:
        how = f"did not end within {timeout_seconds:g} s" if timed_out else f"ended with {status}"
        tail = "\n".join(f"  | {line}" for line in words)
        raise RuntimeFault(f"`{' '.join(argv)}` {how}\n{tail}".rstrip())
    if target is not None:
        _scratch(target).replace(target)


def _save(source: IO[bytes], path: Path) -> None:
    # Left by a run that was killed.
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as raw:
        with gzip.open(raw, "wb", compresslevel=1) as out:
            shutil.copyfileobj(source, out)
        raw.flush()
        os.fsync(raw.fileno())


def _forget_old(saved: Path, name: str, keep: int) -> None:
    """Keep the newest dumps of this name; `_run` makes what they are called."""
    # The whole name: `db.sql` is also the end of `users-db.sql`.
    of_it = re.compile(rf"[0-9a-f]{{12}}-[0-9]{{8}}T[0-9]{{6}}Z-{re.escape(name)}\.gz")
    found = [path for path in saved.parent.iterdir() if of_it.fullmatch(path.name)]
    # By age, not by name: names begin with the release.
    for path in sorted(found, key=lambda path: path.lstat().st_mtime)[:-keep]:
        path.unlink(missing_ok=True)


def check_data(scene: Scene, moving: Sequence[Unit]) -> None:
    """Have each data service say in its new form whether it can read the data; changes nothing.

    Raises HookFailed with what it has against them; one that has no such command is not asked.
    """
    make_runtime(scene.release)
    for unit in moving:
        argv = apart(scene.driver, scene.release, unit.service, _FITS)
        try:
            scene.runtime.output(argv, timeout_seconds=_PLAN_SECONDS)
        except RuntimeFault as why:
            new = scene.release.manifest.kind
            old = next(c.kind for c in scene.found.values() if c.kind != new)
            raise HookFailed(f"{unit.service} cannot change from {old} to {new}: {why}") from None


def migrations(scene: Scene, allow_one_way: bool) -> dict[str, Any] | None:
    """Ask the scene's release which migrations it would run; None when it says nothing of them.

    Raises HookFailed when its code cannot work with the schema that is there, or when a migration
    is one-way, or may be as it cannot be asked, and nobody has said yes to that.
    """
    release = scene.release
    asked = release.manifest.migrations
    unit = next((u for u in release.manifest.units if asked and u.serves(asked.service)), None)
    if not asked or unit is None:
        return None
    old = scene.look().get(unit.name)
    if old is None or old.config == unit.config:
        return None  # the first deploy, or nothing of it changed
    make_runtime(release)
    argv = apart(scene.driver, release, asked.service, asked.plan)
    said = scene.runtime.output(argv, timeout_seconds=_PLAN_SECONDS)
    try:
        plan: dict[str, Any] = decode(said.encode())
        fit(plan, _Plan)
    except ValueError as trouble:
        raise HookFailed(
            f"{' '.join(asked.plan)} did not print a plan ({trouble}) but: {said[:300]}"
        ) from None
    if not plan.get("compatible", True):
        raise HookFailed(
            f"release {release.id} cannot work with the schema that is there: {plan.get('detail')}"
        )
    one_way = [m for m in plan.get("pending", []) if m.get("kind") == "one-way"]
    if one_way and not allow_one_way:
        names = ", ".join(f"{m['revision']} ({m.get('message', '')})" for m in one_way)
        raise HookFailed(
            f"release {release.id} has migrations from which no older release comes back: {names}. "
            f"Say yes with -e allow_one_way=true"
        )
    return plan
