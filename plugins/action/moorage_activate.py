"""Asks `moorage` on the host for a rollout: through a lost connection, with phases to read.

No module is shipped for it: the command is there, and starts in a fraction of a module's time.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.parsing.plugin_docs import read_docstring
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from moorage.common.text import visible
from moorage.release.names import COMMAND

_MODULE = Path(__file__).parents[1] / "modules" / "moorage_activate.py"
# The documentation is what the options are checked by.
_OPTIONS = read_docstring(str(_MODULE), verbose=False)["doc"]["options"]
# What this action keeps to itself; all other options are fields of deploy.request.Request.
OWN = ("base", "give_back")
# The same words as moorage.deploy.request.Outcome.
_GOOD = ("activated", "unchanged")
# How the command says that it cannot, and its shell that there is no command.
_REFUSED = ("moorage: ", "usage: ", "Traceback ", "/bin/sh: ")
# An activation goes on when the connection is lost, so it is worth asking for its end.
_RECONNECTS = 10
_RECONNECT_SECONDS = 3.0

Result = dict[str, Any]


class ActionModule(ActionBase):
    """The action of moorage_activate; plugins/modules/moorage_activate.py documents it."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Result:
        """Return what became of it."""
        result: Result = super().run(tmp, task_vars)
        host = (task_vars or {}).get("inventory_hostname", "")
        _, args = self.validate_argument_spec(argument_spec=_OPTIONS)
        if self._task.check_mode:
            return {**result, **self._foretold(args)}
        done = judged(args, self._patiently(args))
        for line in done.pop("notes", ()):
            Display().warning(f"{args['stack']}: {line}")
        if "phases" in done:
            _show(host, done)
        return {**result, **done}

    def _foretold(self, args: Mapping[str, Any]) -> Result:
        link = shlex.quote(f"{args['base']}/current")
        before = PurePosixPath(self._execute(f"readlink {link} || true")["stdout"].strip()).name
        changed = bool(before != args["release"] or args["restart"])
        return {"changed": changed, "stack": args["stack"], "diff": _diff(before, args["release"])}

    def _patiently(self, args: Mapping[str, Any]) -> Result:
        rejoin = False
        for attempt in range(_RECONNECTS + 1):
            try:
                return self._ask(args, rejoin)
            except AnsibleConnectionFailure as error:
                if attempt == _RECONNECTS:
                    raise
                Display().warning(f"the rollout goes on, but the connection is lost: {error}")
                time.sleep(_RECONNECT_SECONDS)
                self._connection.reset()
                rejoin = bool(args["release"])
        raise AssertionError("unreachable")

    def _ask(self, args: Mapping[str, Any], rejoin: bool) -> Result:
        argv = [COMMAND, "--base", str(PurePosixPath(args["base"]).parent), "request"]
        argv += ["--rejoin"] if rejoin else []
        argv += ["--give-back"] if args["give_back"] and args["token"] else []
        done = self._execute(shlex.join(argv), request(args))
        said = f"{done['stdout']}{done['stderr']}".strip()
        if done["rc"] and not done["stdout"].startswith("{") and not said.startswith(_REFUSED):
            # Some connections call it a failure of the command when the host goes away under it.
            raise AnsibleConnectionFailure(said or "it ended without a word")
        return done

    def _execute(self, command: str, data: str | None = None) -> Result:
        if data is None or self._connection.is_pipelining_enabled():
            given = None if data is None else data.encode()
            return dict(self._low_level_execute_command(command, in_data=given))
        # Where another user's standard input cannot be written to, as with `su`.
        directory = self._make_tmp_path()
        try:
            path = self._connection._shell.join_path(directory, "request")
            self._transfer_data(path, data)
            return dict(self._low_level_execute_command(f"{command} < {shlex.quote(path)}"))
        finally:
            self._remove_tmp_path(directory)


def request(args: Mapping[str, Any]) -> str:
    """Return what is asked of the host, as JSON; what is not said has the default of there."""
    return json.dumps({k: v for k, v in args.items() if k not in OWN and v is not None})


def judged(args: Mapping[str, Any], said: Mapping[str, Any]) -> Result:
    """Return the result of the task, by what the host has said."""
    done: Result = {"stack": args["stack"], "reservation_ended": False}
    try:
        outcome = json.loads(said["stdout"])
    except ValueError:
        message = (said["stderr"] or said["stdout"]).strip() or f"{COMMAND} said nothing"
        return {**done, "failed": True, "msg": visible(message.removeprefix("moorage: "))}
    done |= {
        "changed": bool(outcome["changed"]),
        "reservation_ended": bool(args["give_back"] and args["token"]),
    }
    if outcome["outcome"] not in _GOOD:
        # The message tells all of it; a play needs the rest to decide what to do.
        short = {key: outcome[key] for key in ("outcome", "release", "previous", "changed")}
        message = visible(_sentence(args, outcome))
        return {**done, "failed": True, "msg": message, "outcome": short}
    return done | {
        "outcome": outcome,
        "phases": outcome["phases"],
        "receipt": outcome.get("receipt"),
        "diff": _diff(outcome["previous"], outcome["release"]),
        "notes": outcome.get("warnings", []),
    }


def _sentence(args: Mapping[str, Any], outcome: Mapping[str, Any]) -> str:
    """Return why it failed, the reason first, and then what it was about."""
    lines = [outcome["message"].strip() or "no reason was given"]
    what = f"{args['action'] or 'deploy'} of {args['stack']} to release {outcome['release']}"
    lines.append(f"{what}: {outcome['outcome']}")
    phases = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in outcome["phases"].items())
    if phases:
        lines.append(f"phases: {phases}")
    if outcome.get("receipt"):
        lines.append(f"receipt: {outcome['receipt']}")
    return "\n".join(lines)


def _diff(before: str | None, after: str | None) -> dict[str, str]:
    before_lines = f"{before}\n" if before else ""
    return {"before": before_lines, "after": f"{after or 'what ran before'}\n"}


def _show(host: str, done: Mapping[str, Any]) -> None:
    outcome = done["outcome"]
    phases = " · ".join(f"{name} {seconds:.2f}" for name, seconds in done["phases"].items())
    total = sum(done["phases"].values())
    text = f"  [{host}] {done['stack']}: {outcome['outcome']} {outcome['release']}"
    Display().display(f"{text} in {total:.2f} s ({phases})")
