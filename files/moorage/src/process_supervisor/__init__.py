"""An event-driven process supervisor on pidfds: crash-only, standard library only.

The public names load on first use, because the daemon itself must stay small: importing this
package imports nothing else.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from process_supervisor.common.version import __version__
    from process_supervisor.config.reader import ConfigError
    from process_supervisor.config.settings import ProcessConfig
    from process_supervisor.embedded import ProcessSupervisor, get_supervisor

__all__ = ["ConfigError", "ProcessConfig", "ProcessSupervisor", "__version__", "get_supervisor"]

_HOMES = {
    "ConfigError": "config.reader",
    "ProcessConfig": "config.settings",
    "ProcessSupervisor": "embedded",
    "__version__": "common.version",
    "get_supervisor": "embedded",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
