"""An update and a change of numbers, each done once under visitors and looked at from all sides."""

from __future__ import annotations

import time
from typing import Any

from load import Load
from update_receipts import check, compare, newest
from update_site import STACK, Harbour, Operator


def update(site: Harbour, operator: Operator, visitors: Load, **more: Any) -> str:
    """Update once, look at everything, and return a line of figures."""
    version = operator.next_version()
    # Both services change each time.
    build = {"WEB_VERSION": version, "WORKER_VERSION": version, "WEB_DELAY": "300ms"}
    old, began = site.release(STACK), time.monotonic()
    operator.update(site.name, build, **more).ok  # noqa: B018
    took = time.monotonic() - began
    assert site.version() == version
    path, receipt = newest(site)
    check(site, path, receipt)
    compare(receipt, visitors.seen)
    assert receipt["outcome"] == "activated" and receipt["action"] == "update"
    assert receipt["topology"] == operator.topology
    assert receipt["before"]["release"] == old
    assert receipt["after"]["release"] == site.release(STACK)
    assert all(image["digest"] for image in receipt["after"]["images"].values())
    gaps = {gap["service"]: gap["seconds"] for gap in receipt["singleton_gaps"]}
    before, after = site.beats()[-2:]
    assert after.version == version
    assert before.last <= after.first, "never two of them"
    assert abs(gaps["worker"] - (after.first - before.last)) < 1, (gaps, before, after)
    host = sum(seconds for seconds in receipt["phases"].values())
    phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in receipt["phases"].items())
    return f"to {version}: {took:.1f} s, on the host {host:.2f} s ({phases}); gaps {gaps}"


def scale(site: Harbour, operator: Operator, visitors: Load, replicas: int, **more: Any) -> str:
    """Have the site run so often, look at everything, and return a line of figures."""
    there, began = site.container_ids(STACK), time.monotonic()
    played = operator.scale(site.name, "web", replicas, **more).ok
    took = time.monotonic() - began
    said = " ".join(played.output.split())
    assert f"`harbour_replicas: {{web: {replicas}}}` into group_vars/harbour.yml" in said, said
    names = ["harbour-web", *(f"harbour-web-{n}" for n in range(2, replicas + 1))]
    after = site.container_ids(STACK)
    assert {name for name in after if name.startswith("harbour-web")} == set(names)
    # Whoever stays is not touched, the worker beside it neither.
    assert {name: after[name] for name in there if name in after} == {
        name: there[name] for name in there if name in after
    }
    assert len(site.pools()["web:5000"]) == replicas
    path, receipt = newest(site)
    check(site, path, receipt)
    compare(receipt, visitors.seen)
    host = sum(receipt["phases"].values())
    return f"{len(there)} to {len(after)} containers: {took:.1f} s, on the host {host:.2f} s"
