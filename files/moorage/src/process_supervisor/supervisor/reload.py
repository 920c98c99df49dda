"""Applying a changed configuration: only what changed is touched."""

from __future__ import annotations

from process_supervisor.config.settings import load, needs_restart
from process_supervisor.service.process import Process
from process_supervisor.service.states import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from process_supervisor.config.settings import Config, ProcessConfig
    from process_supervisor.supervisor.supervisor import Supervisor

SUPERVISOR_KEYS = ("socket", "socket_mode", "run_dir", "state_dir", "log_file", "pids_file")


def reload(supervisor: Supervisor, path: str) -> dict[str, list[str]]:
    """Read the file again and apply it; raises ConfigError with nothing changed."""
    return apply_all(supervisor, load(path))


def apply_all(supervisor: Supervisor, config: Config) -> dict[str, list[str]]:
    """Apply a configuration to what runs.

    The result names the processes added, removed, changed and unchanged, those of the changed
    ones that restart, and settings of the supervisor that need it to be started again.
    """
    result: dict[str, list[str]] = {
        "added": [], "removed": [], "changed": [], "unchanged": [], "restarted": [],
        "needs_supervisor_restart": [
            key
            for key in SUPERVISOR_KEYS
            if getattr(config, key) != getattr(supervisor.config, key)
        ],
    }  # fmt: skip
    for name in [name for name in supervisor.processes if name not in config.processes]:
        supervisor.note_completed(name, False)
        result["removed"].append(name)
        supervisor.remove(name)
    for name, settings in config.processes.items():
        result[apply(supervisor, name, settings, result["restarted"])].append(name)
    adopt_config(supervisor, config)
    changes = {key: names for key, names in result.items() if key != "unchanged" and names}
    supervisor.events.add("reloaded", None, **changes)
    return result


def apply(supervisor: Supervisor, name: str, new: ProcessConfig, restarted: list[str]) -> str:
    """Apply one process's settings and return which list of the result it belongs to."""
    process = supervisor.processes.get(name)
    if process is not None and name in supervisor.leaving:
        # It was removed and came back before it had ended.
        supervisor.leaving.discard(name)
        process.reconfigure(new)
        process.stop(then_start=new.autostart)
        return "added"
    if process is None:
        supervisor.processes[name] = Process(new, supervisor)
        if new.autostart and name not in supervisor.stopped_by_operator:
            supervisor.processes[name].start()
        return "added"
    if process.config == new:
        return "unchanged"
    again = needs_restart(process.config, new)
    if again:
        supervisor.note_completed(name, False)
    was_autostart = process.config.autostart
    if not again or not process.wanted:
        process.reconfigure(new)
        # One that has run and ended has done so by its policy.
        fresh = process.state is State.STOPPED and name not in supervisor.stopped_by_operator
        if new.autostart and not was_autostart and fresh:
            process.start()
        return "changed"
    restarted.append(name)
    process.reconfigure(new)
    process.stop(then_start=True)
    return "changed"


def adopt_config(supervisor: Supervisor, config: Config) -> None:
    """Make a configuration the one in use; paths of the supervisor itself stay as they are."""
    for key in SUPERVISOR_KEYS:
        setattr(config, key, getattr(supervisor.config, key))
    supervisor.config = config
    supervisor.store.save_config(supervisor.generation, config.as_dict())
    supervisor.configure_helpers()
    supervisor.touch()
