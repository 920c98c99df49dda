"""Bad builds of harbour, and what has to become of an update to one."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from update_receipts import check, newest
from update_site import STACK, Harbour, Operator


@dataclass(frozen=True)
class Bad:
    """A build that must not stay: what it is, and what has to be said of it (patterns)."""

    build: dict[str, str]
    said: tuple[str, ...]
    # Whether visitors may have met it: it gave itself away behind the edge only.
    visited: bool = False
    on_host: bool = True
    settings: dict[str, Any] = field(default_factory=dict)


def fault(name: str, *said: str, **more: Any) -> Bad:
    """Return the build with this fault (harbour/build.py)."""
    return Bad({"WEB_FAULT": name}, said, **more)


# Nothing will happen while the gate waits.
SOON = {"harbour_gate_timeout_seconds": 4}
CASES = {
    "crash-at-start": fault("crash", r"web", r"this build crashes at start"),
    "exits-after-5-s": fault("exits", r"web", r"no licence server answered"),
    "never-healthy": fault("never-healthy", r"web", r"the tide is out", settings=SOON),
    "front-page-500": fault("front-500", r"web.*:\d+/:? .*\b500\b"),
    "slow-to-answer": fault("slow", r"web.*:\d+/:? .*no answer within"),
    "wrong-port": fault("port", r"refused|reset", r"web"),
    "missing-secret": fault("secret", r"web", r"no secret /run/secrets/harbour_licence"),
    "migration-fails": Bad(
        {"SCHEMA": "2", "MIGRATE_FAULT": "fail"}, (r"migrate", r"no such table: no_such_table")
    ),
    "does-not-build": Bad({"BROKEN": "broken-"}, (r"no_such_module",), on_host=False),
    "out-of-memory": fault("memory", r"web", r"memory|OOM"),
    # Beyond the ten: what only the prober sees, behind the edge.
    "fails-behind-the-edge": fault("watched-500", r"budget", r"\b500\b|status", visited=True),
}


def give_way(site: Harbour, operator: Operator, name: str, figure: Callable[[str], None]) -> None:
    """Update to the bad build of this name, and make sure that nobody but the operator notices."""
    bad, running = CASES[name], site.serving_containers()
    version, release, pools = site.version(), site.release(STACK), site.pools()
    worker, known = site.beats()[-1], newest(site)[0]
    with site.visited() as visitors:
        began = time.monotonic()
        new = {"WEB_VERSION": operator.next_version(), **bad.build}
        played = operator.update(site.name, new, **bad.settings)
        took = time.monotonic() - began
        visitors.wait_for_more(50)
    figure(f"{operator.topology}: {name}: given up after {took:.1f} s; {visitors.seen.summary()}")
    assert played.status != 0, played.output
    message = told(played.output)
    for pattern in bad.said:
        assert re.search(pattern, message, re.I | re.M), f"no {pattern!r} in:\n{message}"
    visitors.seen.assert_none_failed(200)
    assert site.version() == version and site.release(STACK) == release
    if not bad.visited:
        assert visitors.seen.versions == {version}, "nobody has ever met the new one"
        assert site.serving_containers() == running, "what runs was not touched"
    if not bad.visited or operator.topology != "unified":
        assert site.beats()[-1].run == worker.run
        assert site.pools() == pools
    check_receipt(site, bad, known)


def told(output: str) -> str:
    """Return what a run says when it fails, without what it did before."""
    return output[output.find("fatal:") :] if "fatal:" in output else output


def check_receipt(site: Harbour, bad: Bad, known: str) -> None:
    """Make sure that a rollout which was given up has a receipt that says so."""
    path, receipt = newest(site)
    if not bad.on_host:
        assert path == known, "the host was never asked"
        return
    assert path != known
    check(site, path, receipt)
    assert receipt["outcome"] in ("restored", "failed"), json.dumps(receipt, indent=1)
    for pattern in bad.said:
        assert re.search(pattern, receipt["reason"], re.I | re.M), receipt["reason"]
    assert not sum((receipt["requests"]["before"] or {"failed": {}})["failed"].values())
