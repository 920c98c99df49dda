"""Applying a changed configuration: only what changed is touched."""

from __future__ import annotations

import os

from process_supervisor.config.files import load
from process_supervisor.config.settings import needs_restart
from process_supervisor.service.process import Process
from process_supervisor.service.states import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from process_supervisor.config.settings import Config, ProcessConfig
    from process_supervisor.supervisor.supervisor import Supervisor

SUPERVISOR_KEYS = ("socket", "socket_mode", "run_dir", "state_dir", "log_file", "pids_file")


def reload(supervisor: Supervisor, paths: Sequence[str]) -> dict[str, list[str]]:
    """Read the files again and apply them; raises ConfigError with nothing changed."""
    return apply_all(supervisor, load(*paths))


def apply_all(supervisor: Supervisor, config: Config) -> dict[str, list[str]]:
    """Apply a configuration to what runs.

    The result names the processes added, removed, changed and unchanged, those of the changed
    ones that restart, settings of the supervisor that need it to be started again, and what became
    of plug-ins and channels.
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
    for kind in ("plugins", "channels"):
        result |= difference(kind, helpers_of(supervisor.config, kind), helpers_of(config, kind))
    adopt_config(supervisor, config)
    tell_exposed(supervisor)
    changes = {key: names for key, names in result.items() if key != "unchanged" and names}
    supervisor.events.add("reloaded", None, **changes)
    return result


def helpers_of(config: Config, kind: str) -> dict[str, dict[str, object]]:
    """Return the settings of a configuration's plug-ins or channels by name."""
    found = config.plugins if kind == "plugins" else config.alerts.channels
    return {name: item.as_dict() for name, item in found.items()}


def difference(
    kind: str, old: dict[str, dict[str, object]], new: dict[str, dict[str, object]]
) -> dict[str, list[str]]:
    """Return the names that were added, removed and changed, as keys of a reload's result."""
    return {
        f"{kind}_added": [name for name in new if name not in old],
        f"{kind}_removed": [name for name in old if name not in new],
        f"{kind}_changed": [name for name in new if name in old and old[name] != new[name]],
    }


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


def tell_exposed(supervisor: Supervisor) -> None:
    """Tell which files that root uses others may write; nothing after a supervisor died."""
    if os.geteuid() == 0 and supervisor.config.files:
        from process_supervisor.service.trust import told

        for text in told(supervisor.config):
            supervisor.events.add("exposed", reason=text)


def adopt_config(supervisor: Supervisor, config: Config) -> None:
    """Make a configuration the one in use; paths of the supervisor itself stay as they are."""
    for key in SUPERVISOR_KEYS:
        setattr(config, key, getattr(supervisor.config, key))
    supervisor.config = config
    supervisor.events.files = config.events_mb
    supervisor.store.save_config(supervisor.generation, config.as_dict())
    supervisor.configure_helpers()
    supervisor.touch()
