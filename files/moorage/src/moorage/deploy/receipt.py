"""The receipt of a rollout: what was asked, done and measured, gathered and signed."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moorage.deploy.release import Release
from moorage.deploy.runtimes.base import Runtime, RuntimeFault
from moorage.probe import Figures
from moorage.probe.receipt import ReceiptError, readable_line, write_receipt
from moorage.release.layout import DEFAULT_LOG
from moorage.release.manifest import data_of

KEY = Path("/opt/moorage/keys/receipt.key")


@dataclass(frozen=True)
class Facts:
    """What a receipt is made of; ``began`` in Unix seconds, ``phases`` in seconds."""

    request: Mapping[str, Any]
    outcome: Mapping[str, Any]
    before: Release | None
    after: Release
    runtime: Runtime
    figures: Mapping[str, Figures]
    phases: Mapping[str, float]
    migrations: Mapping[str, Any] | None
    hooks: list[dict[str, Any]]
    began: float
    edge_kind: str | None = None
    verdict: Mapping[str, Any] = field(default_factory=dict)
    cut: int = 0


def write(facts: Facts, units: Sequence[str]) -> tuple[str | None, str]:
    """Write the receipt into the release's directory and a line of it into the log.

    Returns its path, None when it could not be written, and what went wrong: a rollout that went
    well is not undone for want of paper.
    """
    path: Path | None = None
    said = ""
    try:
        receipt = gather(facts, units)
        key = KEY if KEY.exists() else None
        path = write_receipt(facts.after.path, receipt, key)
    except ReceiptError as trouble:
        # It is there all the same, without its signature.
        path, said = trouble.path, str(trouble)
    except OSError as trouble:
        return None, f"no receipt could be written: {trouble}"
    with suppress(OSError):
        log = DEFAULT_LOG / "rollouts" / f"{facts.request['stack']}.log"
        with log.open("a", encoding="utf-8") as out:
            out.write(readable_line(receipt) + "\n")
    return (str(path) if path else None), said


def gather(facts: Facts, units: Sequence[str]) -> dict[str, Any]:
    """Return the receipt as plain data; docs/receipt.schema.json describes it."""
    done, after = facts.outcome, facts.after
    did = done["did"]
    refs = {ref for r in (facts.before, after) if r is not None for ref in r.images}
    try:
        digests = facts.runtime.digests(sorted(refs))
    except RuntimeFault:
        # What happened is told without them: an engine that fails may be what happened.
        digests = {}
    updated = sorted(did.get("instances", []))
    return {
        "format": 1,
        "stack": facts.request["stack"],
        "host": socket.gethostname(),
        "topology": after.topology,
        "action": facts.request["action"],
        "who": facts.request["who"],
        "outcome": done["outcome"],
        "reason": done["message"],
        "started": round(facts.began, 3),
        "finished": round(time.time(), 3),
        "before": _side(facts.before, digests) if facts.before else None,
        "after": _side(after, digests),
        "services": {
            "updated": updated + [n for n in did.get("processes", []) if n not in updated],
            "unchanged": sorted(set(units) - set(updated)),
            "removed": sorted(did.get("removed", [])),
        },
        "owners": did.get("owners", []),
        "partial": bool(after.manifest.partial),
        "requests": {name: figures.to_dict() for name, figures in facts.figures.items()},
        "judged": bool(facts.verdict.get("judged")),
        "too_busy": str(facts.verdict.get("too_busy", "")),
        "cut": facts.cut,
        "warnings": list(done["warnings"]),
        "budget": _budget(after),
        "singleton_gaps": did.get("singleton_gaps", []),
        "in_place_gaps": did.get("in_place_gaps", []),
        "phases": dict(facts.phases),
        "restored": done["outcome"] == "restored",
        "migrations": facts.migrations,
        "hooks": facts.hooks,
        "edge": {"kind": facts.edge_kind if after.manifest.edge else None},
    }


def _side(release: Release, digests: Mapping[str, str]) -> dict[str, Any]:
    pulled = release.manifest.pulled
    return {
        "release": release.id,
        "version": release.manifest.version,
        "images": {
            ref: {
                "ref": ref,
                "digest": digests.get(ref),
                **({"pulled": data_of(pulled[ref])} if ref in pulled else {}),
            }
            for ref in release.images
        },
    }


def _budget(release: Release) -> dict[str, Any]:
    names = ("budget", "p99_factor", "p99_floor_seconds", "rate", "timeout_seconds")
    return {name: getattr(release.manifest.probe, name) for name in names}
