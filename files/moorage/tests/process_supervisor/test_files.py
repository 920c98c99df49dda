"""Configuration in several files, and what check-config says of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from process_supervisor.config.files import load
from process_supervisor.config.reader import ConfigError, distance, meant
from process_supervisor.service import trust

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig

BASE: dict[str, Any] = {
    "version": 1, "supervisor": {"run_dir": "run", "plugins": [
        {"name": "space", "class": "space.py:Space", "settings": {"least": 5}}]},
    "processes": [
        {"name": "web", "command": ["serve"], "environment": {"A": "1", "B": "2"},
         "stdout_logfile": "web.log", "health_check": {"type": "tcp", "port": 80}},
        {"name": "worker", "command": ["work"], "restart_limit": 3},
    ],
}  # fmt: skip


def write(path: Path, data: object) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data))
    return str(path)


def problems(*paths: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(*paths)
    return caught.value.problems


def check(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "process_supervisor", "check-config", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_a_later_file_overrides_an_earlier_one_key_by_key(tmp_path: Path) -> None:
    base = write(tmp_path / "base.json", BASE)
    site = write(tmp_path / "site" / "site.json", {
        "supervisor": {"socket_mode": "0600", "plugins": [{"name": "space", "timeout": 9}]},
        "processes": [
            {"name": "web", "environment": {"B": None, "C": "3"}, "stdout_logfile": "own.log",
             "health_check": {"retries": 7}},
            {"name": "worker", "restart_limit": None},
            {"name": "more", "command": ["more"]},
        ],
    })  # fmt: skip
    found = load(base, site)
    assert list(found.processes) == ["web", "worker", "more"]
    web = found.processes["web"]
    assert web.environment == {"A": "1", "C": "3"}
    # A path is relative to the file that has it.
    assert web.stdout_logfile == str(tmp_path / "site" / "own.log")
    assert web.health_check is not None
    assert (web.health_check.port, web.health_check.retries) == (80, 7)
    assert found.processes["worker"].restart_limit is None
    assert (found.run_dir, found.socket_mode) == (str(tmp_path / "run"), 0o600)
    space = found.plugins["space"]
    assert (space.target, space.timeout) == (f"{tmp_path}/space.py:Space", 9)
    assert space.settings == {"least": 5}
    # Another kind of check is another check.
    other = {"processes": [{"name": "web", "health_check": {"type": "command", "command": ["x"]}}]}
    check = load(base, write(tmp_path / "other.json", other)).processes["web"].health_check
    assert check is not None
    assert check.command == ["x"]


def test_a_file_includes_others(tmp_path: Path) -> None:
    base = write(tmp_path / "base.json", {**BASE, "include": ["conf.d/*.json", "site.yaml"]})
    write(tmp_path / "conf.d" / "20.json", {"processes": [{"name": "web", "command": ["second"]}]})
    write(tmp_path / "conf.d" / "10.json", {"processes": [{"name": "web", "command": ["first"]}]})
    (tmp_path / "site.yaml").write_text("processes: [{name: worker, autostart: false}]")
    found = load(base)
    assert found.processes["web"].command == ["second"]
    assert not found.processes["worker"].autostart
    assert [Path(name).name for name in found.files] == [
        "base.json", "10.json", "20.json", "site.yaml"]  # fmt: skip
    (tmp_path / "site.yaml").unlink()
    missing = f"{tmp_path}/site.yaml: No such file or directory (included by {base})"
    assert problems(base) == [missing]
    write(tmp_path / "conf.d" / "30.json", {"include": "../base.json"})
    assert f"{tmp_path}/conf.d/../base.json: is read twice" in problems(base)


def test_a_mistake_names_its_file(tmp_path: Path) -> None:
    base = write(tmp_path / "base.json", BASE)
    site = tmp_path / "site.json"
    for data, told in (
        ({"processes": [{"name": "web", "comand": ["x"]}]},
         "site.json: process web: comand: is not a known setting; did you mean command? (known: "),
        ({"processes": [{"name": "wbe", "autostart": False}]},
         "site.json: process wbe: command: is required; did you mean web?"),
        ({"processes": [{"name": "web", "health_check": {"port": "x"}}]},
         "site.json: process web: health_check: port: must be a whole number"),
        ({"supervisor": {"sokcet": "x"}}, "site.json: supervisor: sokcet: is not a known setting; "
         "did you mean socket?"),
        ({"processes": [{"name": "web", "depends_on": {"worekr": "started"}}]},
         "site.json: process web: depends_on.worekr: there is no such process; did you mean worke"),
        ({"processes": [{"name": "more", "numprocs": 2, "command": "x"}]},
         "site.json: process more-1: command: must be a list"),
        ({"processes": 5}, "site.json: processes: cannot override [{"),
        ({"version": 2}, "site.json: configuration: version: must be 1"),
        ({"include": [5]}, "site.json: include: must be a list of paths"),
        ([], "site.json: the configuration must be a mapping"),
    ):  # fmt: skip
        found = problems(base, write(site, data))
        assert any(f"{tmp_path}/{told}" in problem for problem in found), found
    twice = [{"name": "new", "command": ["x"]}] * 2
    assert (
        "process new: name: is used twice" in problems(base, write(site, {"processes": twice}))[0]
    )


@pytest.mark.parametrize("data", [
    {"processes": {}}, {"processes": [5, {"name": 5}, {"name": None}, {}]}, {"supervisor": []},
    {"supervisor": {"plugins": {}, "alerts": []}}, {"supervisor": {"plugins": [{"name": "a"}, 5]}},
    {"supervisor": {"alerts": {"channels": 5}}}, {"supervisor": {"run_dir": 5, "log_file": []}},
    {"supervisor": None}, {"processes": [{"name": ["web"]}]},
    {"processes": [{"name": "web", "working_dir": 5, "health_check": 5, "environment": []}]},
])  # fmt: skip
def test_anything_else_is_refused_without_a_crash(tmp_path: Path, data: object) -> None:
    base, other = write(tmp_path / "a.json", BASE), write(tmp_path / "b.json", data)
    for paths in ((other,), (base, other), (other, base)):
        try:
            load(*paths)
        except ConfigError as error:
            assert error.problems


def test_the_word_that_was_meant() -> None:
    assert distance("comand", "command") == distance("socekt", "socket") == 1
    assert distance("", "abc") == 3
    assert meant("restart_widow", ["restart_delay", "restart_window"]).endswith("restart_window?")
    assert meant("colour", ["command", "name"]) == meant("x", []) == ""


def test_a_supervisor_of_several_files(rig: Rig) -> None:
    rig.configure({"name": "web", "command": ["sleep", "1000"]})
    more = rig.path("more.json")
    more.write_text(json.dumps({"processes": [{"name": "web", "labels": {"a": "b"}}]}))
    rig.start(words=["--config", str(more)])
    assert rig.status("web")["labels"] == {"a": "b"}
    assert rig.client.info()["config"] == f"{rig.config_path}, {more}"
    pid = rig.pid("web")
    more.write_text(json.dumps({"processes": [{"name": "web", "labels": {"a": "c"}}]}))
    assert rig.client.reload()["changed"] == ["web"]
    rig.kill_supervisor()
    assert (rig.pid("web"), rig.status("web")["labels"]) == (pid, {"a": "c"})
    old = rig.client.info()
    os.kill(old["guardian_pid"], signal.SIGKILL)
    rig.until(lambda: (rig._info() or old)["pid"] != old["pid"], "another supervisor")
    assert rig.client.reload()["unchanged"] == ["web"]


def test_check_config_shows_the_result_and_looks_around(tmp_path: Path) -> None:
    (tmp_path / "space.py").write_text("class Spcae:\n    pass\n")
    site = write(tmp_path / "site.json", {
        "supervisor": {"alerts": {"channels": [{"name": "sms", "type": "webhook", "url": "http://x",
            "body": {"text": ["$host: $sumary", "$$ ${reason}"]}}]}},
        "processes": [{"name": "web", "user": "no-such", "working_dir": "gone"}],
    })  # fmt: skip
    base = write(tmp_path / "base.json", BASE)
    done = check("-c", base, "-c", site)
    assert done.returncode == 0, done.stderr
    assert f"{base}, {site}: 2 processes: web, worker" in done.stdout
    for told in (
        "warning: process web: user: there is no user no-such",
        f"warning: process web: working_dir: there is no {tmp_path}/gone",
        f"plug-in space: class: {tmp_path}/space.py has no class Space; did you mean Spcae?",
        "warning: channel sms: body: there is no $sumary; did you mean summary?",
        f"warning: process worker: command: there is no work in {os.environ['PATH']}",
    ):
        assert told in done.stderr
    assert done.stderr.count("channel sms") == 1
    shown = json.loads(check("-c", base, "-c", site, "--show").stdout)
    assert shown["processes"][0]["user"] == "no-such"
    entry = {"name": "a", "command": ["b"], "restart_windo": 5}
    slip = check("-c", write(tmp_path / "x.json", {"version": 1, "processes": [entry]})).stderr
    assert "restart_windo: is not a known" in slip
    assert "restart_window" not in slip


def test_programs_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "serve").touch(mode=0o755)
    entries: list[dict[str, Any]] = [
        {"name": "here", "command": ["bin/serve"], "working_dir": "."},
        {"name": "path", "command": ["serve"], "environment": {"PATH": f"{tmp_path}/bin"}},
        {"name": "file", "command": ["no-such"], "environment_file": "secret.env"},
        {"name": "gone", "command": ["bin/gone"], "working_dir": "."},
    ]
    (tmp_path / "secret.env").touch(mode=0o600)
    done = check("-c", write(tmp_path / "c.json", {"version": 1, "processes": entries}))
    assert [line for line in done.stderr.splitlines() if "command" in line] == [
        f"warning: process gone: command: there is no {tmp_path}/bin/gone"
    ]


def test_one_mistake_in_a_type_is_told_once(tmp_path: Path) -> None:
    entry = {"name": "a", "command": ["b"], "health_check": {"type": "htp", "url": "http://x"}}
    channel = {"name": "c", "type": "mial", "to": "x@example.com"}
    supervisor = {"alerts": {"channels": [channel]}}
    data = {"version": 1, "supervisor": supervisor, "processes": [entry]}
    assert [text.partition(", not ")[2] for text in problems(write(tmp_path / "c.json", data))] == [
        "'mial'", "'htp'",
    ]  # fmt: skip


def test_keys_of_replicas_are_meant_too(tmp_path: Path) -> None:
    entry = {"name": "a", "command": ["b"], "numproc": 2}
    found = problems(write(tmp_path / "c.json", {"version": 1, "processes": [entry]}))
    assert "numproc: is not a known setting; did you mean numprocs? (known: " in found[0]


def test_what_root_runs_and_others_may_write(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        return  # nothing of it is root's then
    tmp_path.chmod(0o700)
    program, script = tmp_path / "bin" / "serve", tmp_path / "app" / "app.py"
    for path in (program, script):
        path.parent.mkdir()
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    entry = {"name": "web", "command": [str(program)]}
    runs = {
        "name": "app",
        "command": ["python3", "-u", "app.py"],
        "working_dir": str(tmp_path / "app"),
    }
    other = {"name": "other", "command": [str(program)], "user": "nobody"}
    config = write(tmp_path / "c.json", {"version": 1, "processes": [entry, runs, other]})
    before = set(trust.exposed(load(config)))

    def told() -> list[str]:
        return sorted(set(trust.exposed(load(config))) - before)

    assert told() == []
    program.chmod(0o777)
    os.chown(script.parent, 12345, 0)
    os.chown(config, 0, 12345)
    Path(config).chmod(0o664)
    assert told() == [
        f"{tmp_path}/app belongs to uid 12345, and root uses it: script of app",
        f"{program} may be written by everybody, and root uses it: program of web",
        f"{config} may be written by gid 12345, and root uses it: configuration",
    ]
    assert any(str(program) in line for line in check("-c", config).stderr.splitlines())
    # By a link, too; not what is run as somebody else.
    program.chmod(0o755)
    program.parent.chmod(0o777)
    link = tmp_path / "link"
    link.symlink_to(program)
    write(tmp_path / "c.json", {"version": 1, "processes": [{**entry, "command": [str(link)]}]})
    assert f"{tmp_path}/bin may be written by everybody" in " ".join(told())
    write(tmp_path / "c.json", {"version": 1, "processes": [other]})
    assert f"{tmp_path}/bin" not in " ".join(told())


def test_what_others_may_put_in_the_way_of_what_root_runs(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    places = [tmp_path / name for name in ("conf.d", "links", "path", "logs")]
    for place in places:
        place.mkdir()
        os.chown(place, 12345, 12345)
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "run").write_text("#!/bin/sh\n")
    # A link by way of theirs to what is ours.
    (tmp_path / "links" / "theirs").symlink_to("../real")
    (tmp_path / "current").symlink_to("links/theirs")
    linked = {"name": "linked", "command": [str(tmp_path / "current" / "run")]}
    path = {"PATH": f"{tmp_path}/path:/usr/bin:/bin"}
    found = {"name": "found", "command": ["sleep", "1"], "environment": path}
    logs = {"name": "logs", "command": ["/bin/true"], "stdout_logfile": "logs/a.log"}
    processes = [linked, found, {**logs, "user": "nobody"}]
    config = {"version": 1, "include": "conf.d/*.json", "processes": processes}
    told = trust.exposed(load(write(tmp_path / "c.json", config)))
    for place, what in zip(
        places, ("configuration", "program of", "PATH of", "log of"), strict=True
    ):
        line = f"{place} belongs to uid 12345, and root uses it: {what}"
        assert any(text.startswith(line) for text in told), (line, told)


def test_it_is_told_at_the_start_and_what_became_of_plugins_and_channels(rig: Rig) -> None:
    rig.configure({"name": "web", "command": ["sleep", "1000"]})
    rig.config_path.chmod(0o666)
    rig.start()
    if os.geteuid() == 0:
        events = rig.client.events()
        told = [item["reason"] for item in events if item["event"] == "exposed"]
        assert any(f"{rig.config_path} may be written by everybody" in text for text in told)
    channel = {"name": "ops", "type": "command", "command": ["true"]}
    rig.more = {
        "alerts": {"channels": [channel]},
        "plugins": [{"name": "p", "class": "json:JSONDecoder"}],
    }
    rig.configure({"name": "web", "command": ["sleep", "1000"]})
    found = rig.client.reload()
    assert (found["channels_added"], found["plugins_added"]) == (["ops"], ["p"])
    channel["command"] = ["false"]
    rig.more["plugins"] = []
    rig.configure({"name": "web", "command": ["sleep", "1000"]})
    found = rig.client.reload()
    assert (found["channels_changed"], found["plugins_removed"]) == (["ops"], ["p"])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("s.conf", "[supervisord]\nnodaemon=true\n", "file of Supervisor's (INI)"),
        ("web.ini", "; web\n[program:web]\ncommand=x\n", 'docs/coming-from.md, "From another'),
        ("list.json", '["[program:web]"]', "the configuration must be a mapping"),
        ("nul.json", '{"include": ["a\\u0000b.json"]}', "include: must be a list of paths"),
        ("many.json", '{"version": %s}' % ("9" * 5000), "not valid JSON: Exceeds the limit"),
        ("many.yaml", "version: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
        ("hex.yaml", "version: 0x" + "f" * 5000, "hex.yaml: Exceeds the limit"),
    ],
)
def test_what_is_no_configuration_ends_in_a_sentence(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    assert told in caught.value.problems[0]
    assert all(str(path) in problem for problem in caught.value.problems)
