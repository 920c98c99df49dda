"""An event-driven process supervisor on pidfds: crash-only, standard library only.

The public names load on first use, because the daemon itself must stay small: importing this
package imports nothing else.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from process_supervisor.api import ProcessSupervisor, get_supervisor
    from process_supervisor.config import ConfigError, ProcessConfig

__all__ = ["ConfigError", "ProcessConfig", "ProcessSupervisor", "get_supervisor"]
__version__ = "0.1.0"

_HOMES = {
    "ConfigError": "config",
    "ProcessConfig": "config",
    "ProcessSupervisor": "api",
    "get_supervisor": "api",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
