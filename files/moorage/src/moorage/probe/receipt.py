"""Receipts: the evidence of a rollout, written once, signed, and verified later.

What stands in one: docs/receipt.schema.json.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moorage.common.files import lead, persist, write_atomically
from moorage.common.signing import SigningError, ensure_key, sign, verify
from moorage.release.names import RECEIPT

__all__ = ["ReceiptError", "ensure_key", "readable_line", "verify_receipt", "write_receipt"]


class ReceiptError(Exception):
    """A receipt could not be signed or is not what the host has signed; the message says why.

    ``path`` is the receipt, where there is one.
    """

    def __init__(self, message: str, path: Path | None = None) -> None:
        self.path = path
        super().__init__(message)


def write_receipt(directory: Path, receipt: Mapping[str, Any], key: Path | None) -> Path:
    """Write ``receipt-TIME.json`` and its signature, let ``receipt.json`` name it; return its path.

    ``key`` is the host's secret key; None leaves it unsigned. Every file is there as a whole or not
    at all. Raises ReceiptError when signing fails: the receipt is written nevertheless and
    ``path`` of the error names it.
    """
    path = _fresh_path(directory)
    text = json.dumps(receipt, indent=2, ensure_ascii=False) + "\n"
    # A reason may hold what an application said, and that halves of characters.
    write_atomically(path, text.encode(errors="replace"))
    failed: SigningError | None = None
    if key is not None:
        try:
            persist(sign(path, key, _summary(receipt)))
        except SigningError as error:
            failed = error
    lead(directory / RECEIPT, path.name)
    if failed is not None:
        raise ReceiptError(f"{path} is not signed: {failed}", path)
    return path


def verify_receipt(path: Path, public_key: Path) -> str:
    """Return what the host has signed a receipt as: stack, action, outcome, release, host, time.

    ``path`` may be the link to the newest one. Raises ReceiptError when the receipt was altered,
    is not signed, or is not signed by this key.
    """
    path = path.resolve()
    try:
        return verify(path, public_key)
    except SigningError as error:
        raise ReceiptError(f"{path} cannot be trusted: {error}", path) from None


def readable_line(receipt: Mapping[str, Any]) -> str:
    """Return what a receipt says in a line for a log."""
    seconds = receipt["finished"] - receipt["started"]
    parts = [f"{receipt['stack']} on {receipt['host']}: {_happened(receipt)} ({seconds:.1f} s)"]
    parts += _requests(receipt.get("requests") or {})
    if receipt.get("too_busy"):
        parts.append(f"not judged: {receipt['too_busy']}")
    parts += receipt.get("warnings") or []
    if receipt.get("cut"):
        parts.append(f"{receipt['cut']} open connections were cut")
    updated = (receipt.get("services") or {}).get("updated") or []
    if updated:
        parts.append("replaced " + ", ".join(updated))
    turned = {entry["path"] for entry in receipt.get("owners") or []}
    if turned:
        parts.append(f"changed hands: {', '.join(sorted(turned))}")
    for kind in ("singleton_gaps", "in_place_gaps"):
        parts += [f"{gap['service']} away {gap['seconds']:.1f} s" for gap in receipt.get(kind, [])]
    return "; ".join(parts)


def _happened(receipt: Mapping[str, Any]) -> str:
    action, outcome = receipt["action"], receipt["outcome"]
    after, before = _release(receipt.get("after")), _release(receipt.get("before"))
    reason = (receipt.get("reason") or "").strip().partition("\n")[0]
    if outcome == "activated":
        return f"{action} from {before} to {after} activated" if before else f"{after} activated"
    end = f"{before} put back" if receipt.get("restored") else outcome
    return f"{action} to {after or 'nothing'} failed, {end}" + (f": {reason}" * bool(reason))


def _release(side: Mapping[str, Any] | None) -> str:
    if not side:
        return ""
    version = side.get("version")
    return f"{side['release']} ({version})" if version else str(side["release"])


def _requests(requests: Mapping[str, Any]) -> list[str]:
    during, before = requests.get("during") or {}, requests.get("before") or {}
    if not during.get("requests"):
        return []
    failed = during["failed"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in failed.items())
    # The reason may name those that the release was judged by: these are all that were sent.
    judged = (requests.get("judged") or {}).get("requests", during["requests"])
    whole = "altogether " if failed and judged != during["requests"] else ""
    said = [f"{whole}{sum(failed.values())} of {during['requests']} requests failed"]
    said[0] += f" ({kinds})" * bool(kinds)
    if during.get("p99_ms") is not None:
        usual = before.get("p99_ms")
        said.append(
            f"p99 {during['p99_ms']:.1f} ms" + ("" if usual is None else f", before {usual:.1f} ms")
        )
    if during.get("longest_gap_ms") is not None:
        said.append(f"longest gap {during['longest_gap_ms']:.0f} ms")
    apart = requests.get("in_place") or {}
    if apart.get("failed"):
        count = sum(apart["failed"].values())
        said.append(f"{count} of {apart['requests']} failed while something was replaced in place")
    return said


def _summary(receipt: Mapping[str, Any]) -> str:
    """What is signed along with the file, so that it says what it is by itself."""
    fields = [receipt.get(name, "?") for name in ("stack", "action", "outcome")]
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(receipt.get("finished")))
    fields += [
        _release(receipt.get("after")) or "nothing",
        f"on {receipt.get('host', '?')}",
        moment,
    ]
    return " ".join(map(str, fields))


def _fresh_path(directory: Path) -> Path:
    """Return a name by UTC time that nobody has yet; names sort as they were written."""
    while True:
        now = time.time_ns()
        moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9))
        path = directory / f"receipt-{moment}.{now // 10**6 % 1000:03d}Z.json"
        if not path.exists():
            return path
