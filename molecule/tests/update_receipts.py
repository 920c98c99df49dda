"""Receipts as somebody checks them who trusts only the host's public key and the schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
from load import Seen
from playbook import ROOT
from support import Machine
from update_site import STACK

_SCHEMA = json.loads((ROOT / "docs/receipt.schema.json").read_text(encoding="utf-8"))
_PUBLIC_KEY = "/opt/moorage/keys/receipt.pub"
# Most of the two seconds that a prober waits for an answer.
_PATIENCE_MS = 1500.0


def newest(site: Machine, stack: str = STACK) -> tuple[str, dict[str, Any]]:
    """Return path and content of the newest receipt, also that of a release that did not stay."""
    path = site.sh(f"ls -t /opt/{stack}/releases/*/receipt-*.json | head -n 1")
    return path, json.loads(site.sh(f"cat {path}"))


def check(site: Machine, path: str, receipt: dict[str, Any]) -> None:
    """Make sure that a receipt is what the schema says, and signed; a changed one is found out."""
    jsonschema.validate(receipt, _SCHEMA, cls=jsonschema.Draft202012Validator)
    assert site.sh(f"stat -c %a {path}") == "644"
    verify = f"minisign -Vq -p {_PUBLIC_KEY}"
    site.sh(f"{verify} -m {path}")
    site.sh(f'sed \'s/"host"/"hosts"/\' {path} >/tmp/forged')
    site.sh(f"cp {path}.minisig /tmp/forged.minisig")
    assert site.host.run(f"{verify} -m /tmp/forged").rc != 0
    site.sh("rm /tmp/forged /tmp/forged.minisig")


def compare(receipt: dict[str, Any], seen: Seen) -> None:
    """Make sure that a receipt and a client of another make saw the same rollout."""
    during = receipt["requests"]["during"]
    assert during["requests"] >= 20, receipt["requests"]
    client = seen.between(receipt["started"], receipt["finished"])
    assert len(client.requests) > 50, client.summary()
    # On a machine without time an answer may take longer than the prober waits, and no client's.
    late = client.percentile(1.0) > _PATIENCE_MS and during["failed"].get("timeout", 0)
    wrong = sum(during["failed"].values()) - late
    assert bool(wrong) == bool(client.failed), (during, client.summary())
    if late:
        return
    # Both are of the same seconds, by other requests from another place.
    for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
        ours, theirs = float(during[name]), client.percentile(share)
        assert ours < 10 * theirs + 100, (name, ours, theirs)
        assert theirs < 10 * ours + 100, (name, ours, theirs)
    assert during["longest_gap_ms"] < client.longest_gap + 1000, (during, client.summary())
    assert client.longest_gap < during["longest_gap_ms"] + 1000, (during, client.summary())
