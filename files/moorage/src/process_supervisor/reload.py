"""Applying a changed configuration: only what changed is touched."""

from __future__ import annotations

from process_supervisor.config import ConfigError, load
from process_supervisor.process import Process
from process_supervisor.protocol import ControlError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from process_supervisor.config import Config, ProcessConfig
    from process_supervisor.engine import Engine

# Everything else is about supervising and applies to the running process.
RESTART_KEYS = ("command", "working_dir", "environment", "user")
SUPERVISOR_KEYS = ("socket", "socket_mode", "run_dir", "state_dir", "log_file", "pids_file")


def needs_restart(old: ProcessConfig, new: ProcessConfig) -> bool:
    """Return whether a running process cannot take over the new settings as it is."""
    if any(getattr(old, key) != getattr(new, key) for key in RESTART_KEYS):
        return True
    return streams(old) != streams(new)


def streams(config: ProcessConfig) -> tuple[bool, bool]:
    """Return which FIFOs a process writes to; the files behind them may change at any time."""
    out, err = config.stdout_logfile, config.stderr_logfile
    return bool(out), bool(err) and err != out


def reload(engine: Engine, path: str) -> dict[str, list[str]]:
    """Read the file again and apply it; raises ControlError(config) with nothing changed.

    The result names the processes added, removed, changed and unchanged, those of the changed
    ones that restart, and settings of the supervisor that need it to be started again.
    """
    try:
        config = load(path)
    except ConfigError as error:
        raise ControlError("config", str(error)) from error
    result: dict[str, list[str]] = {
        "added": [], "removed": [], "changed": [], "unchanged": [], "restarted": [],
        "needs_supervisor_restart": [
            key for key in SUPERVISOR_KEYS if getattr(config, key) != getattr(engine.config, key)
        ],
    }  # fmt: skip
    for name in [name for name in engine.processes if name not in config.processes]:
        engine.note_completed(name, False)
        result["removed"].append(name)
        engine.remove(name)
    for name, settings in config.processes.items():
        result[apply(engine, name, settings, result["restarted"])].append(name)
    adopt_config(engine, config)
    changes = {key: names for key, names in result.items() if key != "unchanged" and names}
    engine.events.add("reloaded", None, **changes)
    return result


def apply(engine: Engine, name: str, new: ProcessConfig, restarted: list[str]) -> str:
    """Apply one process's settings and return which list of the result it belongs to."""
    process = engine.processes.get(name)
    if process is not None and name in engine.leaving:
        # It was removed and came back before it had ended.
        engine.leaving.discard(name)
        process.reconfigure(new)
        process.stop(then_start=new.autostart)
        return "added"
    if process is None:
        engine.processes[name] = Process(new, engine)
        if new.autostart and name not in engine.stopped_by_operator:
            engine.processes[name].start()
        return "added"
    if process.config == new:
        return "unchanged"
    again = needs_restart(process.config, new)
    if again:
        engine.note_completed(name, False)
    was_autostart = process.config.autostart
    if not again or not process.wanted:
        process.reconfigure(new)
        if new.autostart and not was_autostart and name not in engine.stopped_by_operator:
            process.start()
        return "changed"
    restarted.append(name)
    process.reconfigure(new)
    process.stop(then_start=True)
    return "changed"


def adopt_config(engine: Engine, config: Config) -> None:
    """Make a configuration the one in use; paths of the supervisor itself stay as they are."""
    for key in SUPERVISOR_KEYS:
        setattr(config, key, getattr(engine.config, key))
    engine.config = config
    engine.store.save_config(engine.generation, config.as_dict())
    engine.touch()
