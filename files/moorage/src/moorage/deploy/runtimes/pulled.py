"""Images of registries on this host: which stand for what, how old they are, which nobody needs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from moorage.common.engine import DockerError, Engine
from moorage.deploy.release import list_releases, readable_release
from moorage.deploy.runtimes.docker import run
from moorage.images.names import PULLED, digest_of, period
from moorage.release.layout import Layout, known_stacks
from moorage.release.manifest import Pulled

# What was pulled for a release that is still being brought is not swept away.
_WAITING_SECONDS = 3600.0


def pins(layout: Layout, engine: Engine | None = None) -> dict[str, tuple[str, Pulled]]:
    """Return what the running release's references stand for, as far as it is still there."""
    running = readable_release(layout)
    if running is None or not running.manifest.pulled:
        return {}
    held = (engine or Engine()).images()
    return {p.ref: (name, p) for name, p in running.manifest.pulled.items() if name in held}


def due(layout: Layout, pulls: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the references of ``pulls`` (ref, policy) that their policy wants pulled again.

    When one was pulled or confirmed last is what the engine says of our name for it.
    """
    timed = {pull["ref"]: period(pull["policy"]) for pull in pulls}
    wanted = {r: s for r, s in timed.items() if s is not None and not digest_of(r)}
    if not wanted:
        return []
    engine = Engine()
    with suppress(DockerError):
        known = pins(layout, engine)
        return [
            ref
            for ref, seconds in wanted.items()
            if not seconds or ref not in known or _age(engine, known[ref][0]) >= seconds
        ]
    return []


def _age(engine: Engine, name: str) -> float:
    said = ((engine.image(name) or {}).get("Metadata") or {}).get("LastTagTime") or ""
    # Python 3.11 takes no more than six digits of a second.
    text = re.sub(r"\.(\d{1,6})\d*", r".\1", said)
    try:
        return time.time() - datetime.fromisoformat(text).timestamp()
    except ValueError:
        return float("inf")


def sweep(base: Path) -> list[str]:
    """Remove our names of images that no release of a stack below ``base`` has any more."""
    engine = Engine()
    layouts = (Layout.of(stack, base) for stack in known_stacks(base))
    kept = {
        ref for layout in layouts for release in list_releases(layout) for ref in release.images
    }
    removed = []
    for name, ident in sorted(engine.images().items()):
        if not name.startswith(PULLED) or name in kept or _age(engine, name) < _WAITING_SECONDS:
            continue
        # One that a container uses stays: the engine refuses.
        with suppress(DockerError):
            run(["image", "rm", name])
            removed.append(name)
            left = engine.image(ident)
            if left is not None and not left.get("RepoTags"):
                run(["image", "rm", ident])
    return removed
