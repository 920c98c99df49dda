"""The control API: what may be asked of a stack's services, whatever the topology."""

from moorage.control.contract import (
    ACTIONS,
    Action,
    Backups,
    ControlBackend,
    ControlError,
    Event,
    ExitStatus,
    Health,
    KnowsBackups,
    ServiceStatus,
    State,
    Stream,
)

__all__ = [
    "ACTIONS",
    "Action",
    "Backups",
    "ControlBackend",
    "ControlError",
    "Event",
    "ExitStatus",
    "Health",
    "KnowsBackups",
    "ServiceStatus",
    "State",
    "Stream",
]
