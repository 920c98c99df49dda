"""What a program gives the supervisor inside it: a configuration in several forms, a plug-in."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping

from process_supervisor.config.files import Files
from process_supervisor.config.reader import ConfigError
from process_supervisor.config.settings import Config, ProcessConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def named(plugin: type[Any]) -> str:
    """Return how a helper finds a class; raises ConfigError for one that it cannot find."""
    module = sys.modules[plugin.__module__]
    path = getattr(module, "__file__", None)
    if not path or getattr(module, plugin.__qualname__, None) is not plugin:
        raise ConfigError(
            [f"plug-in {plugin.__qualname__}: must be a class of a module with a file"]
        )
    # By its file: the program's directory need not be where a helper looks for modules.
    return f"{os.path.abspath(path)}:{plugin.__qualname__}"


def configuration(
    config: str | Mapping[str, object] | Iterable[ProcessConfig],
    plugins: Mapping[str, dict[str, Any]] | None = None,
) -> Config:
    """Return the configuration of a supervisor in a program; raises ConfigError.

    ``plugins`` are had besides those that it names.
    """
    files = Files()
    if isinstance(config, str):
        files.add(config)
    elif isinstance(config, Mapping):
        files.data = dict(config)
    else:
        processes = [entry for item in config for entry in item.entries()]
        section: object = {"run_dir": default_run_dir()}
        files.data = {"version": 1, "supervisor": section, "processes": processes}
    section = files.data.get("supervisor") or {}
    own = section.get("plugins") or [] if isinstance(section, dict) else []
    if plugins and isinstance(section, dict) and isinstance(own, list):
        names = [item.get("name") for item in own if isinstance(item, dict)]
        more = [entry for name, entry in plugins.items() if name not in names]
        files.data["supervisor"] = {**section, "plugins": [*own, *more]}
    found = files.config()
    if found.log_file is None:
        # A program's standard error is its own.
        logs = [c.stdout_logfile or c.stderr_logfile for c in found.processes.values()]
        directory = next((os.path.dirname(path) for path in logs if path), found.run_dir)
        found.log_file = f"{directory}/supervisor.log"
    return found


def default_run_dir() -> str:
    """Return a directory for sockets and state that only this user can enter."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    path = f"{base}/process_supervisor" if base else ""
    path = path or f"{tempfile.gettempdir()}/process_supervisor-{os.getuid()}"
    os.makedirs(path, mode=0o700, exist_ok=True)
    if os.stat(path).st_uid != os.getuid():
        raise RuntimeError(f"{path} belongs to somebody else")
    return path
