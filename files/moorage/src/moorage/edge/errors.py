"""What the edge cannot do."""

from __future__ import annotations

from moorage.settings.readers import NOTHING, Fault, Unusable


class EdgeError(Exception):
    """The edge refused or failed; the message says why, in nginx's words where it was nginx."""


def refused(start: str, error: Unusable) -> EdgeError:
    """Return the error for values that cannot be used; ``start`` is what their names begin with."""
    return EdgeError("; ".join(f"{start}{_told(fault)}" for fault in error.faults))


def _told(fault: Fault) -> str:
    value = "" if fault.value is NOTHING else f" {fault.value!r} cannot be used: it"
    advice = f"; {fault.advice}" if fault.advice else ""
    return f"{fault.path}:{value} {fault.message}{advice}"
