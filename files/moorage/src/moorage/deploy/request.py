"""What is asked of an activation, and what became of it.

Apart from what carries it out: who asks and waits for the answer need not load that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from moorage.settings.stack import Settings


def _option(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class Request:
    """What is asked of an activation. Times are in seconds; ``keep`` counts releases.

    A field is an option of `moorage activate` and of the module moorage_activate by its own name,
    and its default stands here alone. No ``release`` is the one that ran before.
    """

    stack: str
    release: str = ""
    who: str = "root"
    purpose: str = _option("by hand", "what is noted in the lock and in the journal")
    action: Literal["deploy", "update", "rollback"] = _option("deploy", "what the receipt calls it")
    token: str = _option("", "of the reservation that this is a part of")
    keep: int = _option(Settings.keep_releases, "how many releases to retain")
    gate_timeout: float = _option(
        float(Settings.gate_timeout_seconds), "within which every service must be healthy"
    )
    start_timeout: float = _option(
        float(Settings.start_timeout_seconds), "that the engine may take to start what is new"
    )
    lock_wait: float = _option(0.0, "to wait for another activation of the stack")
    allow_one_way: bool = _option(False, "yes to one-way migrations")
    hooks: bool = _option(True, "no backup before, nothing after")
    restart: tuple[str, ...] = _option((), "a service that starts anew in any case")


@dataclass
class Outcome:
    """What became of it: ``activated``, ``unchanged``, ``restored``, ``failed`` or ``locked``.

    ``restored`` means that the release failed and the previous one runs again; ``failed`` that
    there was none to go back to, or that going back failed too. ``receipt`` is the path of the
    evidence. ``warnings`` are what a person should know of although it went well.
    """

    outcome: str
    release: str
    previous: str | None = None
    changed: bool = False
    message: str = ""
    did: Mapping[str, Any] = field(default_factory=dict)
    pruned: list[str] = field(default_factory=list)
    phases: Mapping[str, float] = field(default_factory=dict)
    receipt: str | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the asked release runs now."""
        return self.outcome in ("activated", "unchanged")

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as plain data."""
        return asdict(self)
