"""What a rollout sees for itself: smoke checks, the prober and its verdict, receipts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorage.probe.target import Figures, Sample, Target

if TYPE_CHECKING:
    from moorage.probe.prober import Prober
    from moorage.probe.smokecheck import smoke
    from moorage.probe.verdicts import too_busy, verdict

__all__ = ["Figures", "Prober", "Sample", "Target", "smoke", "too_busy", "verdict"]

_HOMES = {
    "Prober": "prober",
    "smoke": "smokecheck",
    "too_busy": "verdicts",
    "verdict": "verdicts",
}


def __getattr__(name: str) -> Any:
    """Load the rest when it is asked for: the prober's own process needs none of it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
