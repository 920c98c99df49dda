"""The supervisor of a unified container, as root asks it.

It runs as the application's user: whoever that is may answer in its stead, and anything at all.
"""

# Not with postponed annotations: what need not be there would not be told from what has to.
from typing import Any, NotRequired, TypedDict

from moorage.common.shape import fit
from process_supervisor.control.client import Client, ControlError


class Exit(TypedDict, total=False):
    """How a process ended."""

    code: int | None
    signal: int | None


class Status(TypedDict):
    """What a rollout looks at in the status of a process."""

    name: str
    state: str
    health: str
    wanted: str
    autostart: bool
    restarts: int
    started_at: NotRequired[float | str | None]
    exit: NotRequired[Exit | None]
    reason: NotRequired[str | None]
    log_tail: NotRequired[list[str] | None]


class Reloaded(TypedDict):
    """What a new configuration has changed."""

    added: list[str]
    removed: list[str]
    changed: list[str]


class Supervisor(Client):
    """A client that takes no answer for granted."""

    def call(self, op: str, extra_time: float = 0.0, **args: object) -> Any:
        """Send one request and return its result; raises ControlError for what is none."""
        result = super().call(op, extra_time, **args)
        kinds = {
            "status": list[Status] if args.get("name") is None else Status,
            "reload": Reloaded,
            "logs": list[str],
        }
        try:
            fit(result, kinds.get(op, Any))
        except (ValueError, RecursionError) as trouble:
            said = f"{self.path} does not answer as a supervisor does: {trouble}"
            raise ControlError("protocol", said) from None
        return result
