"""Reading configuration: what is accepted, and that every mistake names its place."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from process_supervisor.config.cycle import find_cycle
from process_supervisor.config.files import load
from process_supervisor.config.reader import ConfigError
from process_supervisor.config.settings import Config, ProcessConfig, parse


def problems(*processes: dict[str, Any], **top: Any) -> list[str]:
    """What is wrong with a configuration of these processes."""
    with pytest.raises(ConfigError) as caught:
        Config({"version": 1, "processes": list(processes), **top})
    return caught.value.problems


def test_defaults() -> None:
    process = ProcessConfig("web", ["serve", "--port", "80"])
    assert process.as_dict() == {
        "name": "web", "group": None, "command": ["serve", "--port", "80"], "working_dir": None,
        "environment": {}, "environment_file": None,
        "user": None, "umask": None, "nice": None, "ulimits": {},
        "schedule": None, "run_missed": False, "autostart": True,
        "start_seconds": 0.0, "autorestart": "always",
        "restart_limit": 10, "restart_reset_seconds": 60.0, "restart_delay": 0.0,
        "restart_delay_max": 30.0, "restart_backoff": 2.0, "restart_jitter": 0.1,
        "stop_signal": "TERM", "stop_grace": 10.0, "stdout_logfile": None, "stderr_logfile": None,
        "log_max_bytes": 0, "log_backups": 5, "depends_on": {}, "health_check": None,
        "ports": [], "labels": {},
    }  # fmt: skip


def test_the_settings_of_a_fastblog_process() -> None:
    process = ProcessConfig(
        name="main_app",
        command=["python", "app.py"],
        working_dir=".",
        autostart=True,
        autorestart=True,
        restart_limit=3,
        restart_delay=5,
        stdout_logfile="logs/app.log",
        stderr_logfile="logs/app.err.log",
        environment={"KEY": "VALUE"},
    )
    assert process.autorestart == "always"
    assert ProcessConfig("p", ["x"], autorestart=False).autorestart == "never"
    assert (process.restart_limit, process.restart_delay) == (3, 5.0)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"comand": ["x"]}, "process web: comand: is not a known setting"),
        ({"command": "sleep 1"}, "process web: command: must be a list of strings"),
        ({"command": []}, "process web: command: must be a list"),
        ({"command": ["a\0b"]}, "process web: command: must be a list"),
        ({"restart_limit": -1}, "process web: restart_limit: must be a whole number"),
        ({"restart_limit": True}, "process web: restart_limit: must be a whole number"),
        ({"stop_grace": "10"}, "process web: stop_grace: must be a number"),
        ({"stop_grace": float("nan")}, "process web: stop_grace: must be at least 0"),
        ({"restart_jitter": 2}, "process web: restart_jitter: must be between 0 and 1"),
        ({"restart_backoff": 0.5}, "process web: restart_backoff: must be at least 1"),
        ({"autorestart": "maybe"}, "process web: autorestart: must be one of always"),
        ({"autostart": "yes"}, "process web: autostart: must be true or false"),
        ({"stop_signal": "TREM"}, "process web: stop_signal: is not a signal: 'TREM'"),
        ({"environment": {"A": [1]}}, "process web: environment.A: must be a string"),
        ({"environment": {"A=B": "1"}}, "process web: environment.A=B: has '='"),
        ({"environment": ["A=1"]}, "process web: environment: must be a mapping"),
        ({"umask": 27}, "process web: umask: must be octal digits in quotes like '0027', not 27"),
        ({"nice": 20}, "process web: nice: must be a whole number from -20 to 19, not 20"),
        ({"ulimits": {"locks": 5}}, "process web: ulimits.locks: is not one of as, core"),
        ({"ulimits": {"core": "0"}}, "ulimits.core: must be a number (-1: unlimited), or a mapp"),
        ({"ulimits": {"core": {"soft": 1}}}, "ulimits.core: must be a number"),
        ({"ulimits": {"core": {"soft": -1, "hard": 5}}}, "core: soft -1 is more than hard 5"),
        ({"ulimits": [1]}, "ulimits: must be a mapping"),
        ({"ports": ["80"]}, "process web: ports: must be a list of numbers"),
        ({"depends_on": {"db": "up"}}, "process web: depends_on.db: must be one of started"),
        ({"depends_on": {"db": "started"}}, "process web: depends_on.db: there is no such process"),
        ({"health_check": {"type": "ping"}}, "process web: health_check: type: must be one of"),
        ({"health_check": {}}, "process web: health_check: type: is required"),
        ({"health_check": {"type": "http"}}, "process web: health_check: url: is required"),
        ({"health_check": {"type": "tcp"}}, "process web: health_check: port: must be between"),
        (
            {"health_check": {"type": "http", "url": "https://x/"}},
            "process web: health_check: url: must look like http://",
        ),
        (
            {"health_check": {"type": "tcp", "port": 1, "url": "x"}},
            "process web: health_check: url: is not a known setting",
        ),
        ({"name": "a/b"}, "process a/b: name: must be letters"),
        ({"name": "a\n"}, "name: must be letters"),
    ],
)
def test_a_mistake_names_process_and_key(settings: dict[str, Any], told: str) -> None:
    found = problems({"name": "web", "command": ["x"], **settings})
    assert any(told in problem for problem in found), found


def test_all_mistakes_are_told_at_once() -> None:
    found = problems(
        {"name": "a", "command": "x", "stop_grace": -1}, {"name": "b"}, supervisor={"sock": "/x"}
    )
    assert len(found) == 4


def test_names_files_and_sockets_that_clash() -> None:
    first = {"name": "my-app", "command": ["x"], "stdout_logfile": "/l"}
    assert "is used twice" in problems(first, first)[0]
    found = problems(first, {"name": "my_app", "command": ["x"], "stderr_logfile": "/l"})
    assert any("clashes with my-app in pids.env" in problem for problem in found)
    assert any("/l: is also my-app's log file" in problem for problem in found)
    assert "107 bytes" in problems(supervisor={"socket": "/" + "x" * 107})[0]
    longest = "/" + "x" * 106
    given = {"version": 1, "processes": [], "supervisor": {"socket": longest}}
    assert Config(given).socket == longest


def test_a_dependency_needs_a_health_check_to_become_healthy() -> None:
    found = problems(
        {"name": "a", "command": ["x"], "depends_on": {"b": "healthy"}},
        {"name": "b", "command": ["x"]},
    )
    assert found == ["process a: depends_on.b: it has no health_check"]


def test_a_cycle_is_shown_as_a_path() -> None:
    found = problems(
        {"name": "a", "command": ["x"], "depends_on": {"b": "started"}},
        {"name": "b", "command": ["x"], "depends_on": {"c": "started"}},
        {"name": "c", "command": ["x"], "depends_on": {"a": "started"}},
    )
    assert found == ["process a: depends_on: is a cycle: a -> b -> c -> a"]


# A machine without time makes up examples slowly.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"), max_size=4), max_size=8
    )
)
def test_find_cycle_agrees_with_repeated_removal_of_leaves(edges: dict[str, list[str]]) -> None:
    found = find_cycle(edges)
    for begin, end in pairwise(found):
        assert end in edges[begin]
    left = {name: set(others) & set(edges) for name, others in edges.items()}
    while leaves := {name for name, others in left.items() if not others & set(left)}:
        left = {name: others for name, others in left.items() if name not in leaves}
    assert bool(found) == bool(left)
    assert not found or found[0] == found[-1]


HEALTH = st.fixed_dictionaries(
    {"type": st.just("tcp"), "port": st.integers(1, 65535)},
    optional={"retries": st.integers(1, 9), "interval": st.floats(0.01, 1e6)},
)
TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {"name": st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True),
         "command": st.lists(TEXT, min_size=1, max_size=5)},
        optional={
            "environment": st.dictionaries(TEXT.filter(lambda name: "=" not in name), TEXT),
            "autorestart": st.sampled_from(["always", "on-failure", "never", True, False]),
            "restart_limit": st.none() | st.integers(0, 99), "stop_grace": st.floats(0, 1e6),
            "stop_signal": st.sampled_from(["TERM", "SIGINT", "quit", 9, "15"]),
            "health_check": HEALTH, "ports": st.lists(st.integers(1, 65535)),
        },
    )
)  # fmt: skip
def test_what_is_written_out_reads_back_the_same(settings: dict[str, Any]) -> None:
    config = Config({"version": 1, "processes": [settings]})
    again = Config(json.loads(json.dumps(config.as_dict())))
    assert again.processes == config.processes
    assert again.as_dict() == config.as_dict()


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_any_other_json_is_refused_without_a_crash(data: Any) -> None:
    for text in (data, {"version": 1, "processes": [data]}, {"version": 1, "supervisor": data}):
        try:
            parse(json.dumps(text))
        except ConfigError as error:
            assert error.problems


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["soft", "hard", "name"]), inner)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from([*ProcessConfig.__annotations__, "numprocs", "numprocs_start",
                        "process_name"])  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(KEYS, ANYTHING, min_size=1), st.booleans())
def test_any_value_of_any_key_is_refused_without_a_crash(found: dict[str, Any], many: bool) -> None:
    entry = {"name": "web", "command": ["x"], **({"numprocs": 2} if many else {}), **found}
    try:
        config = Config({"version": 1, "processes": [entry]})
    except ConfigError as error:
        assert error.problems
    else:
        assert Config(json.loads(json.dumps(config.as_dict()))).as_dict() == config.as_dict()


def test_yaml_and_json_mean_the_same(tmp_path: Path) -> None:
    yaml, plain = tmp_path / "c.yaml", tmp_path / "c.json"
    yaml.write_text("version: 1\nprocesses:\n- {name: web, command: [serve], user: 10001}\n")
    process = {"name": "web", "command": ["serve"], "user": "10001"}
    plain.write_text(json.dumps({"version": 1, "processes": [process]}))
    assert load(str(yaml)).as_dict() == load(str(plain)).as_dict()


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    for text, told in (("{", "not valid JSON"), ("[]", "must be a mapping"), ("{}", "version")):
        path = tmp_path / "c.json"
        path.write_text(text)
        with pytest.raises(ConfigError, match=told):
            load(str(path))
    with pytest.raises(ConfigError, match="No such file"):
        load(str(tmp_path / "absent.json"))
    (tmp_path / "c.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(str(tmp_path / "c.yaml"))


def test_a_limit_that_is_never_reached_is_a_mistake() -> None:
    endless = {"name": "web", "command": ["serve"], "restart_limit": 3, "restart_reset_seconds": 0}
    assert "restart_limit: is never reached" in problems(endless)[0]
    kept = ProcessConfig("web", ["serve"], restart_window=7)
    assert kept.restart_reset_seconds == 7.0
