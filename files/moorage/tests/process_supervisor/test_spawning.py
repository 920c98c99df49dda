"""As whom a program is started, with what environment, and how it is said that it could not be."""

from __future__ import annotations

import grp
import json
import os
import pwd
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from process_supervisor.config.settings import parse
from process_supervisor.service import spawn
from process_supervisor.service.spawn import RLIMIT_LOCKS, Identity, SpawnError

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig

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


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is nothing but a supervisor."""
    monkeypatch.setattr(spawn, "_alone", {"PATH": os.environ["PATH"], "ONLY": "inherited"})


def output_of(config: Any, out: Path, mark: int = 1 << 61) -> str:
    """Start a process's command in the quick way, and return what it printed."""
    out.touch()
    pid = spawn.quickly(config, (str(out), None), mark, {"EXTRA": "ours"})
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return out.read_text()


def test_who_starts_quickly_has_the_same(alone: None, tmp_path: Path) -> None:
    before = (resource.getrlimit(RLIMIT_LOCKS), resource.getrlimit(resource.RLIMIT_NOFILE))
    here, mark = Path.cwd(), 1 << 61 | 12345
    script = (
        "echo $PWD $ONLY $EXTRA $PROCESS_SUPERVISOR_NAME; ps -o sid= -p $$; echo $$; "
        "grep locks /proc/self/limits; readlink /proc/self/fd/0; no-such; "
        "grep SigIgn /proc/self/status"
    )
    assert spawn.can_be_quick(process())
    found = output_of(
        process(command=["sh", "-c", script], working_dir="/usr"), tmp_path / "out", mark
    ).splitlines()
    assert found[0] == "/usr inherited ours web"
    assert int(found[1]) == int(found[2]), "it leads its session"
    assert str(mark) in found[3]
    assert found[4] == "/dev/null"
    assert "no-such" in found[5], "standard error goes where standard output does"
    # Python ignores SIGPIPE (13) and SIGXFSZ (25); programs do not.
    assert int(found[6].split()[1], 16) & (1 << 12 | 1 << 24) == 0
    after = (resource.getrlimit(RLIMIT_LOCKS), resource.getrlimit(resource.RLIMIT_NOFILE))
    assert (after, Path.cwd()) == (before, here)


def test_a_program_is_found_as_its_own_path_says(alone: None, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("#!/bin/sh\necho mine\n")
    config = process(command=["mine"], environment={"PATH": f"/no/such:{tmp_path}"})
    with pytest.raises(SpawnError, match="cannot run mine: Permission denied"):
        output_of(config, tmp_path / "out")
    mine.chmod(0o755)
    assert output_of(config, tmp_path / "out") == "mine\n"
    # A relative one is in the process's directory.
    config = process(command=["./mine"], working_dir=str(tmp_path))
    assert output_of(config, tmp_path / "other") == "mine\n"


def test_another_user_is_not_given_quickly(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert not spawn.can_be_quick(process(user="nobody"))


def test_who_is_not_alone_does_not_start_quickly() -> None:
    assert not spawn.can_be_quick(process())


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"working_dir": "/no/such"}, "cannot enter working_dir /no/such: No such file"),
        ({}, "cannot run /no/program: No such file"),
        ({"working_dir": "/"}, "cannot run /no/program: No such file"),
        ({"command": ["no-program"]}, "cannot run no-program: No such file"),
    ],
)
def test_it_is_said_what_is_not_there(settings: dict[str, Any], said: str, quick: bool) -> None:
    before = resource.getrlimit(RLIMIT_LOCKS)
    config = process(**{"command": ["/no/program"], **settings})
    with pytest.raises(SpawnError, match=said):
        if quick:
            spawn.quickly(config, ("/dev/null", None), 1 << 61, {})
        else:
            spawn.run(config, config.command, (1, 2), 1 << 61, {})
    assert resource.getrlimit(RLIMIT_LOCKS) == before


def test_an_environment_file_is_read_at_each_start(rig: Rig) -> None:
    path = rig.path("web.env")
    path.write_text('# of the shop\n\nTOKEN="a = b"\nBOTH=file\nEMPTY=\n')
    script = 'echo "$TOKEN/$BOTH/$EMPTY."; exec sleep 1000'
    rig.start({"name": "web", "command": ["sh", "-c", script], "environment_file": "web.env",
               "environment": {"BOTH": "own"}})  # fmt: skip
    rig.until(lambda: rig.client.logs("web") == ['"a = b"/own/.'], "what the file has")
    path.write_text("TOKEN=new\n")
    rig.client.restart("web")
    rig.until(lambda: rig.client.logs("web")[-1] == "new/own/.", "what it has now")
    path.write_text("TOKEN=hidden\nhidden as well\n")
    found = rig.client.restart("web")
    assert found["reason"].endswith("web.env: line 2 is not NAME=value")
    assert "hidden" not in rig.path("supervisor.log").read_text()
    path.unlink()
    found = rig.client.restart("web")
    assert "cannot read environment_file" in found["reason"]
    os.mkfifo(path)
    assert "is no file" in rig.client.restart("web")["reason"]


def test_a_start_is_one_when_it_has_lasted(rig: Rig) -> None:
    brief = ["sh", "-c", "sleep 0.3; exit 3"]
    once = {"autorestart": "never", "autostart": False}
    rig.start(
        {"name": "brief", "command": brief, "start_seconds": 30, **once},
        {"name": "long", "command": ["sleep", "1000"], "start_seconds": 0.5, **once},
    )
    assert rig.client.start("brief")["state"] == "EXITED"
    found = rig.client.start("long")
    assert found["state"] == "RUNNING" and found["uptime"] >= 0.5


def limits_of(pid: int) -> dict[str, list[str]]:
    """What /proc says of a process's limits: soft and hard ones by name."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    return {line[:25].strip(): line[26:68].split() for line in lines}


@pytest.mark.parametrize("user", [None, "nobody"])
def test_a_program_gets_its_umask_nice_value_and_limits(rig: Rig, user: str | None) -> None:
    rig.directory.chmod(0o755)
    limited = {"umask": "0027", "nice": 7, "ulimits": {
        "nofile": {"soft": 300, "hard": 400}, "core": 0}}  # fmt: skip
    rig.start(
        {"name": "limited", "command": ["sleep", "1000"], "user": user, **limited},
        {"name": "plain", "command": ["sleep", "1000"], "user": user},
    )
    pid, plain = rig.pid("limited"), rig.pid("plain")
    status = Path(f"/proc/{pid}/status").read_text()
    assert "Umask:\t0027" in status
    if user:
        entry = pwd.getpwnam(user)
        assert f"Uid:\t{entry.pw_uid}\t{entry.pw_uid}\t{entry.pw_uid}" in status
        assert f"Gid:\t{entry.pw_gid}" in status
    assert os.getpriority(os.PRIO_PROCESS, pid) == 7
    limits = limits_of(pid)
    assert limits["Max open files"] == ["300", "400"]
    assert limits["Max core file size"] == ["0", "0"]
    assert os.getpriority(os.PRIO_PROCESS, plain) == os.getpriority(os.PRIO_PROCESS, 0)
    assert limits_of(plain)["Max core file size"] != ["0", "0"]
    # Its family is still found, and it is restarted when they change.
    assert rig.family("limited") == [pid]
    rig.configure({"name": "limited", "command": ["sleep", "1000"], "user": user, "nice": 7})
    assert rig.client.reload()["restarted"] == ["limited"]


def test_what_only_root_could_give_is_told() -> None:
    program = """
import os, resource
from process_supervisor.config.settings import ProcessConfig
from process_supervisor.service.spawn import SpawnError, check_limits
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
if os.geteuid() == 0:
    os.setuid(65534)
for settings in ({"ulimits": {"nofile": 200}}, {"ulimits": {"nofile": -1}}, {"nice": -5}):
    try:
        check_limits(ProcessConfig("web", ["x"], **settings))
    except SpawnError as error:
        print(error)
check_limits(ProcessConfig("web", ["x"], ulimits={"nofile": 100}, nice=19))
"""
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    first, second, third = done.stdout.splitlines() or [done.stderr] * 3
    assert first == "ulimits.nofile: 200 is more than the supervisor's own hard limit of 100"
    assert second.startswith("ulimits.nofile: -1 is more than")
    assert third == "nice: -5 is less than the supervisor's own, which may not"
