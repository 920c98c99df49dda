"""How a rollout is asked for over a connection, and what a task says of what came of it."""

from __future__ import annotations

import importlib.util
import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure

SOURCE = Path(__file__).resolve().parents[4] / "plugins/action/moorage_activate.py"
SPEC = importlib.util.spec_from_file_location("moorage_activate_action", SOURCE)
assert SPEC and SPEC.loader
ACTION = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ACTION)
OUTCOME = {
    "outcome": "activated",
    "release": "1" * 12,
    "previous": "0" * 12,
    "changed": True,
    "message": "",
    "phases": {"start": 0.5},
    "warnings": ["port 80: nobody reaches it"],
}


class Connection:
    """A connection that answers with what was prepared, and notes what was asked."""

    def __init__(self, *answers: dict[str, Any] | Exception, pipelining: bool = True) -> None:
        self.answers = [*answers]
        self.asked: list[tuple[str, Any]] = []
        self.resets = 0
        self._pipelining = pipelining
        self._shell = SimpleNamespace(join_path=lambda *parts: "/".join(parts), tmpdir="/tmp")

    def is_pipelining_enabled(self) -> bool:
        return self._pipelining

    def reset(self) -> None:
        self.resets += 1

    def run(self, command: str, in_data: bytes | None = None) -> dict[str, Any]:
        self.asked.append((command, json.loads(in_data) if in_data else None))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def said(stdout: str = "", stderr: str = "", rc: int = 0) -> dict[str, Any]:
    """Return how a command has ended."""
    return {"rc": rc, "stdout": stdout, "stderr": stderr}


def play(
    monkeypatch: pytest.MonkeyPatch, connection: Connection, check: bool = False, **options: Any
) -> dict[str, Any]:
    """Return the result of the task."""
    given = {"base": "/opt/shop", "stack": "shop", "release": "1" * 12, **options}
    task = SimpleNamespace(
        args=given, check_mode=check, async_val=0, action="moorage_activate", diff=False
    )
    action = ACTION.ActionModule(task, connection, None, None, None, None)
    monkeypatch.setattr(ACTION.time, "sleep", lambda _: None)
    monkeypatch.setattr(
        action, "validate_argument_spec", lambda argument_spec: (None, filled(argument_spec, given))
    )
    monkeypatch.setattr(action, "_low_level_execute_command", connection.run)
    monkeypatch.setattr(action, "_make_tmp_path", lambda: "/tmp/of-ansible")
    monkeypatch.setattr(
        action,
        "_transfer_data",
        lambda path, data: connection.asked.append((path, json.loads(data))),
    )
    monkeypatch.setattr(action, "_remove_tmp_path", lambda _: None)
    done: dict[str, Any] = action.run(task_vars={"inventory_hostname": "a"})
    return done


def filled(spec: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the options as Ansible hands them over."""
    return {name: given.get(name, option.get("default")) for name, option in spec.items()}


def test_the_host_is_asked_once_and_only_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(said(json.dumps(OUTCOME)))
    done = play(monkeypatch, connection, token="secret", give_back=True, keep=3)
    ((command, request),) = connection.asked
    assert shlex.split(command)[1:] == ["--base", "/opt", "request", "--give-back"]
    assert request == {"stack": "shop", "release": "1" * 12, "token": "secret", "keep": 3}
    assert "secret" not in command
    assert done["changed"] and done["reservation_ended"] and "failed" not in done
    assert done["phases"] == {"start": 0.5}
    assert done["diff"] == {"before": "0" * 12 + "\n", "after": "1" * 12 + "\n"}


def test_without_a_reservation_none_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(said(json.dumps(OUTCOME)))
    assert not play(monkeypatch, connection, give_back=True)["reservation_ended"]
    assert "--give-back" not in connection.asked[0][0]


def test_a_rollout_that_fails_says_why_first(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = {**OUTCOME, "outcome": "restored", "message": "the gate \x1b[2Jstayed closed"}
    done = play(monkeypatch, Connection(said(json.dumps(outcome), "more of it", 1)))
    assert done["failed"] and done["changed"]
    assert done["msg"].startswith("the gate ") and "\x1b" not in done["msg"]
    assert f"deploy of shop to release {'1' * 12}: restored" in done["msg"]
    assert set(done["outcome"]) == {"outcome", "release", "previous", "changed"}


@pytest.mark.parametrize(
    ("stderr", "rc"),
    [
        ("moorage: this host has no such stack", 1),
        ("usage: moorage …\nmoorage: error: unrecognized arguments: --give-back", 2),
        ("Traceback (most recent call last):\n  …\nKeyError: 'x'", 1),
        ("/bin/sh: 1: /usr/local/bin/moorage: not found", 127),
    ],
)
def test_what_the_host_refuses_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch, stderr: str, rc: int
) -> None:
    connection = Connection(said(stderr=stderr, rc=rc))
    done = play(monkeypatch, connection, token="t", give_back=True)
    assert done["failed"] and done["msg"] == stderr.removeprefix("moorage: ")
    # Whoever did not begin may not have ended it either: the role's last task does.
    assert done["reservation_ended"] is False


@pytest.mark.parametrize(
    "loss", [AnsibleConnectionFailure("gone"), said(rc=137), said("half a l", "", 255)]
)
def test_a_lost_connection_follows_the_same_rollout(
    monkeypatch: pytest.MonkeyPatch, loss: dict[str, Any] | Exception
) -> None:
    connection = Connection(loss, said(json.dumps(OUTCOME)))
    assert play(monkeypatch, connection)["changed"]
    assert connection.resets == 1
    first, second = (shlex.split(command) for command, _ in connection.asked)
    assert "--rejoin" not in first and "--rejoin" in second


def test_without_pipelining_the_request_goes_by_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(said(json.dumps(OUTCOME)), pipelining=False)
    play(monkeypatch, connection, token="secret")
    (path, request), (command, data) = connection.asked
    assert request["token"] == "secret" and data is None
    assert command.endswith(f"request < {path}") and "secret" not in command


@pytest.mark.parametrize(("running", "changed"), [("0" * 12, True), ("1" * 12, False), ("", True)])
def test_a_dry_run_asks_what_runs(
    monkeypatch: pytest.MonkeyPatch, running: str, changed: bool
) -> None:
    connection = Connection(said(f"/opt/shop/releases/{running}\n" if running else ""))
    done = play(monkeypatch, connection, check=True)
    assert done["changed"] is changed
    assert done["diff"]["before"] == (f"{running}\n" if running else "")
    assert connection.asked == [("readlink /opt/shop/current || true", None)]
