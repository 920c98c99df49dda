"""Files that survive the supervisor: run state, intents, pids.env."""

from __future__ import annotations

import json
import os

from process_supervisor.common.files import read_json, write_atomic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def names_in(path: str, key: str) -> set[str]:
    """Return the names that a file lists, none when it is unreadable."""
    names = read_json(path).get(key, [])
    return {str(name) for name in names} if isinstance(names, list) else set()


def variable_name(name: str) -> str:
    """Return a process's variable in pids.env: `my-app` becomes `MY_APP_PID`."""
    return name.upper().replace("-", "_").replace(".", "_") + "_PID"


def kept_config(run_dir: str, generation: str) -> dict[str, Any]:
    """Return the configuration that a supervisor of this boot used, empty when there is none."""
    saved = read_json(f"{run_dir}/config.json")
    config = saved.get("config") if saved.get("generation") == generation else None
    return config if isinstance(config, dict) else {}


class Store:
    """The supervisor's files.

    run_dir holds what is true of this boot (a tmpfs), state_dir what an operator decided.
    """

    def __init__(self, run_dir: str, state_dir: str, pids_file: str | None) -> None:
        self.state_path = f"{run_dir}/state.json"
        self.config_path = f"{run_dir}/config.json"
        self.intents_path = f"{state_dir}/intents.json"
        self.completed_path = f"{state_dir}/completed.json"
        self.pids_path = pids_file
        os.makedirs(run_dir, mode=0o755, exist_ok=True)
        os.makedirs(state_dir, mode=0o755, exist_ok=True)
        if pids_file:
            os.makedirs(os.path.dirname(pids_file) or ".", exist_ok=True)

    def load_state(self, generation: str) -> dict[str, Any]:
        """Return the processes' saved state, empty when it is of another boot or container run."""
        state = read_json(self.state_path)
        if state.get("version") != 1 or state.get("generation") != generation:
            return {}
        processes = state.get("processes")
        return processes if isinstance(processes, dict) else {}

    def load_memory(self, generation: str) -> dict[str, Any]:
        """Return what was told of ends for want of memory, empty likewise."""
        state = read_json(self.state_path)
        found = state.get("memory") if state.get("generation") == generation else None
        return found if isinstance(found, dict) else {}

    def save_state(
        self, generation: str, processes: Mapping[str, str], memory: Mapping[str, object]
    ) -> None:
        """Save the processes' state, each as JSON, and what was told of ends for want of memory."""
        state = json.dumps({"version": 1, "generation": generation, "memory": memory})
        each = ", ".join(f'"{name}": {text}' for name, text in processes.items())
        write_atomic(self.state_path, f'{state[:-1]}, "processes": {{{each}}}}}')

    def forget_state(self) -> None:
        """After a clean shutdown nothing is left that a next supervisor should go on with."""
        for path in (self.state_path, self.config_path):
            if os.path.exists(path):
                os.unlink(path)

    def save_config(self, generation: str, config: Mapping[str, object]) -> None:
        """Keep the configuration in use: a crash must not act as a reload of an edited file."""
        text = json.dumps({"generation": generation, "config": config})
        write_atomic(self.config_path, text)

    def load_stopped(self) -> set[str]:
        """Return the names of the processes that an operator stopped."""
        return names_in(self.intents_path, "stopped")

    def load_completed(self) -> set[str]:
        """Return the names of the processes that others waited for and that have completed."""
        return names_in(self.completed_path, "completed")

    def save_completed(self, names: set[str]) -> None:
        """Save who has completed, for the starts after this one."""
        text = json.dumps({"version": 1, "completed": sorted(names)})
        write_atomic(self.completed_path, text + "\n", 0o644)

    def save_stopped(self, names: set[str]) -> None:
        """Save whom an operator stopped; survives power cuts."""
        text = json.dumps({"version": 1, "stopped": sorted(names)})
        write_atomic(self.intents_path, text + "\n", 0o644, durable=True)

    def save_pids(self, pids: Mapping[str, int]) -> None:
        """Rewrite pids.env: one `FRONTEND_PID=1234` a running process."""
        if self.pids_path:
            lines = "".join(f"{variable_name(name)}={pid}\n" for name, pid in pids.items())
            write_atomic(self.pids_path, lines, 0o644)
