"""Follows an activation: through a lost connection, and with its phases for a person to read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from moorage.common.text import visible

# An activation goes on when the connection is lost, so it is worth asking for its end.
_RECONNECTS = 10
_RECONNECT_SECONDS = 3.0


class ActionModule(ActionBase):
    """Runs the module of the same name; plugins/modules/moorage_activate.py documents it."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return what became of it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._host = (task_vars or {}).get("inventory_hostname", "")
        done = self._patiently(dict(self._task.args), task_vars)
        if done.get("failed"):
            # What a service has said is in it, and goes to a terminal.
            done["msg"] = visible(str(done.get("msg", "")))
        self._show(done)
        return {**result, **done}

    def _patiently(self, args: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        for attempt in range(_RECONNECTS + 1):
            try:
                return self._module(args, task_vars)
            except AnsibleConnectionFailure as error:
                if attempt == _RECONNECTS:
                    raise
                Display().warning(f"the rollout goes on, but the connection is lost: {error}")
                time.sleep(_RECONNECT_SECONDS)
                self._connection.reset()
                args = {**args, "rejoin": bool(args.get("release"))}
        raise AssertionError("unreachable")

    def _module(self, args: Mapping[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        done: dict[str, Any] = self._execute_module(
            module_name="moorage_activate", module_args=dict(args), task_vars=task_vars
        )
        said = f"{done.get('module_stdout', '')}{done.get('module_stderr', '')}".strip()
        if done.get("failed") and "module_stdout" in done and "Traceback" not in said:
            # Some connections call it a failure of the module when the host goes away under it.
            raise AnsibleConnectionFailure(said)
        return done

    def _show(self, done: Mapping[str, Any]) -> None:
        outcome = done.get("outcome")
        if not outcome or "phases" not in done:
            return
        phases = " · ".join(f"{name} {seconds:.2f}" for name, seconds in done["phases"].items())
        total = sum(done["phases"].values())
        text = f"  [{self._host}] {done['stack']}: {outcome['outcome']} {outcome['release']}"
        Display().display(f"{text} in {total:.2f} s ({phases})")
