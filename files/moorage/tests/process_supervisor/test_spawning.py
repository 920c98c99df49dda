"""As whom a program is started, with what environment, and how it is said that it could not be."""

from __future__ import annotations

import grp
import json
import os
import pwd
import resource
import subprocess
from typing import Any

import pytest

from process_supervisor.config.settings import parse
from process_supervisor.service import spawn
from process_supervisor.service.spawn import RLIMIT_LOCKS, Identity, SpawnError

UNKNOWN = 4_000_123


def process(**settings: Any) -> Any:
    """Return the settings of one process."""
    data = {"version": 1, "processes": [{"name": "web", "command": ["serve"], **settings}]}
    (found,) = parse(json.dumps(data)).processes.values()
    return found


def test_a_user_brings_its_group_groups_and_home() -> None:
    entry = pwd.getpwnam("nobody")
    for name in ("nobody", str(entry.pw_uid)):
        found = Identity(name)
        assert (found.uid, found.gid) == (entry.pw_uid, entry.pw_gid)
        assert found.groups == os.getgrouplist("nobody", entry.pw_gid)
        assert found.variables["HOME"] == entry.pw_dir
        assert found.variables["USER"] == found.variables["LOGNAME"] == "nobody"
    mail = grp.getgrnam("mail").gr_gid
    assert Identity("nobody:mail").gid == Identity(f"nobody:{mail}").gid == mail
    assert mail in Identity("nobody:mail").groups


def test_a_number_that_nobody_has_is_in_no_group_but_its_own() -> None:
    alone = Identity(str(UNKNOWN))
    assert (alone.uid, alone.gid, alone.groups) == (UNKNOWN, UNKNOWN, [UNKNOWN])
    assert alone.variables == {}
    assert Identity(f"{UNKNOWN}:7").groups == [7]


@pytest.mark.parametrize(
    ("user", "said"), [("no-such", "no user no-such"), ("nobody:no-such", "no group no-such")]
)
def test_a_name_that_nobody_has_is_refused(user: str, said: str) -> None:
    with pytest.raises(SpawnError, match=said):
        Identity(user)


def test_only_root_gives_a_user_away(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pwd.getpwnam("nobody")
    monkeypatch.setattr(os, "geteuid", lambda: entry.pw_uid)
    monkeypatch.setattr(os, "getegid", lambda: entry.pw_gid)
    assert spawn.identity_of(process()) is None
    assert spawn.identity_of(process(user="nobody")) is None
    for user in ("root", "nobody:mail"):
        with pytest.raises(SpawnError, match="only root can run a process as user"):
            spawn.identity_of(process(user=user))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    given = spawn.identity_of(process(user="root"))
    assert given is not None and given.uid == 0


def test_what_is_configured_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/of-the-supervisor")
    monkeypatch.setenv("ONLY", "inherited")
    who, home = Identity("nobody"), pwd.getpwnam("nobody").pw_dir
    plain = spawn.environment_of(process(), who, {"EXTRA": "ours"})
    assert (plain["HOME"], plain["ONLY"], plain["EXTRA"]) == (home, "inherited", "ours")
    own = process(environment={"HOME": "/mine", "EXTRA": "mine"})
    found = spawn.environment_of(own, who, {"EXTRA": "ours"})
    assert (found["HOME"], found["EXTRA"]) == ("/mine", "mine")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `subprocess.Popen` was told, and the mark that its child would have had."""
    seen: dict[str, Any] = {}

    def popen(_: list[str], **how: Any) -> None:
        seen.update(how, mark=resource.getrlimit(RLIMIT_LOCKS)[0])

    monkeypatch.setattr(subprocess, "Popen", popen)
    return seen


def test_a_program_leads_a_session_as_its_user_with_the_mark_of_its_family(
    started: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    before = resource.getrlimit(RLIMIT_LOCKS)
    assert before[1] == resource.RLIM_INFINITY, "this machine cannot mark anything"
    mark = 1 << 61 | 12345
    config = process(user=f"{UNKNOWN}:7", working_dir="/")
    spawn.run(config, ["serve"], (8, 9), mark, {})
    assert (started["user"], started["group"], started["extra_groups"]) == (UNKNOWN, 7, [7])
    assert (started["stdout"], started["stderr"], started["cwd"]) == (8, 9, "/")
    assert started["stdin"] == subprocess.DEVNULL and started["start_new_session"] is True
    # The child is marked, and nobody else.
    assert started["mark"] == mark and resource.getrlimit(RLIMIT_LOCKS) == before


def test_without_a_user_none_is_set(started: dict[str, Any]) -> None:
    spawn.run(process(), ["serve"], (8, 9), 1, {})
    assert started["user"] is started["group"] is started["extra_groups"] is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"working_dir": "/no/such"}, "cannot enter working_dir /no/such: No such file"),
        ({}, "cannot run /no/program: No such file"),
        ({"working_dir": "/"}, "cannot run /no/program: No such file"),
    ],
)
def test_it_is_said_what_is_not_there(settings: dict[str, Any], said: str) -> None:
    before = resource.getrlimit(RLIMIT_LOCKS)
    with pytest.raises(SpawnError, match=said):
        spawn.run(process(**settings), ["/no/program"], (1, 2), 1 << 61, {})
    assert resource.getrlimit(RLIMIT_LOCKS) == before
