"""The control API: what may be asked of a stack's services, whatever the topology."""

from moorage.control.contract import (
    ACTIONS,
    Action,
    ControlBackend,
    ControlError,
    Event,
    ExitStatus,
    Health,
    ServiceStatus,
    State,
    Stream,
)

__all__ = [
    "ACTIONS",
    "Action",
    "ControlBackend",
    "ControlError",
    "Event",
    "ExitStatus",
    "Health",
    "ServiceStatus",
    "State",
    "Stream",
]
