"""The configuration: what to run and how, read from JSON or YAML and checked as a whole."""

from __future__ import annotations

import json
import os
import re
import time

from process_supervisor.config.cycle import find_cycle
from process_supervisor.config.health import HealthConfig
from process_supervisor.config.limits import read_nice, read_ulimits, read_umask
from process_supervisor.config.places import RUN_DIR, SOCKET_NAME
from process_supervisor.config.plugins import check_plugins, read_alerts, read_plugins
from process_supervisor.config.reader import ConfigError, Reader, meant
from process_supervisor.config.replicas import KEYS, replicas, resolve_dependencies
from process_supervisor.config.signals import stop_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
CONDITIONS = ("started", "healthy", "completed")
RESTARTS = ("always", "on-failure", "never")
# Everything else is about supervising and applies to the running process.
RESTART_KEYS = (
    "command", "working_dir", "environment", "environment_file", "user", "umask", "nice", "ulimits",
)  # fmt: skip
PATHS = ("working_dir", "environment_file", "stdout_logfile", "stderr_logfile")
OWN_PATHS = ("run_dir", "socket", "state_dir", "log_file", "pids_file")


class ProcessConfig:
    """One process: what to run and how to keep it running. Times are seconds.

    `restart_limit` None means no limit; `autorestart` also takes True (always) and False (never).
    With `numprocs` it stands for several, the group `name`, as an entry of a file does.
    Raises ConfigError for a wrong value or an unknown setting, naming process and key.
    """

    name: str
    group: str | None
    command: list[str]
    working_dir: str | None
    environment: dict[str, str]
    environment_file: str | None
    user: str | None
    umask: str | None
    nice: int | None
    ulimits: dict[str, dict[str, int]]
    schedule: str | None
    run_missed: bool
    autostart: bool
    start_seconds: float
    autorestart: str
    restart_limit: int | None
    restart_reset_seconds: float
    restart_delay: float
    restart_delay_max: float
    restart_backoff: float
    restart_jitter: float
    stop_signal: str
    stop_grace: float
    stdout_logfile: str | None
    stderr_logfile: str | None
    log_max_bytes: int
    log_backups: int
    depends_on: dict[str, str]
    health_check: HealthConfig | None
    ports: list[int]
    labels: dict[str, str]

    def __init__(self, name: str, command: Sequence[str], **settings: object) -> None:
        problems: list[str] = []
        # A text would become its letters; the reader refuses it.
        words = command if isinstance(command, str) else list(command)
        data = {"name": name, "command": words, **settings}
        found = replicas(data, problems)
        for entry in found:
            reader = Reader(entry, f"process {name}", problems)
            reader.elsewhere = KEYS
            self._read(reader, problems)
            if problems:
                raise ConfigError(problems)
        self._replicas: list[Mapping[str, object]] = []
        if data.get("numprocs") is not None:
            self.name, self._replicas = name, found

    def entries(self) -> list[Mapping[str, object]]:
        """Return what a configuration file would have of it: an entry for each that it is."""
        return self._replicas or [self.as_dict()]

    @classmethod
    def read(cls, data: Mapping[str, object], where: str, problems: list[str]) -> ProcessConfig:
        """Build from a mapping, adding mistakes to problems instead of raising."""
        self = cls.__new__(cls)
        reader = Reader(data, where, problems)
        reader.elsewhere = KEYS
        self._replicas = []
        self._read(reader, problems)
        return self

    def _read(self, reader: Reader, problems: list[str]) -> None:
        self.name = reader.text("name", required=True) or ""
        if self.name and not NAME.match(self.name):
            reader.fail("name", f"must be letters, digits, '.', '_' and '-', not {self.name!r}")
        self.group = reader.text("group")
        if self.group and not NAME.match(self.group):
            reader.fail("group", f"must be letters, digits, '.', '_' and '-', not {self.group!r}")
        self.command = reader.words("command", required=True)
        self.working_dir = reader.text("working_dir")
        self.environment = reader.strings("environment")
        for key in self.environment:
            if "=" in key:
                reader.fail(f"environment.{key}", "has '=' in its name")
        self.environment_file = reader.text("environment_file")
        user = reader.raw("user")
        self.user = None if user is None else str(user)
        self.umask, self.nice = read_umask(reader), read_nice(reader)
        self.ulimits = read_ulimits(reader)
        self._read_schedule(reader)
        self.autostart = reader.flag("autostart", self.schedule is None)
        self.start_seconds = reader.number("start_seconds", 0.0)
        self._read_restart(reader)
        self.stop_signal = stop_signal(reader, "stop_signal")
        self.stop_grace = reader.number("stop_grace", 10.0)
        self.stdout_logfile = reader.text("stdout_logfile")
        self.stderr_logfile = reader.text("stderr_logfile")
        self.log_max_bytes = reader.integer("log_max_bytes", 0)
        self.log_backups = reader.integer("log_backups", 5, 0)
        self.depends_on = reader.strings("depends_on")
        for other, condition in self.depends_on.items():
            if condition not in CONDITIONS:
                reader.fail(f"depends_on.{other}", f"must be one of {', '.join(CONDITIONS)}")
        self.health_check = self._read_health(reader, problems)
        ports = reader.raw("ports") or []
        if not isinstance(ports, (list, tuple)) or not all(type(port) is int for port in ports):
            reader.fail("ports", f"must be a list of numbers, not {ports!r}")
            ports = []
        self.ports = list(ports)
        self.labels = reader.strings("labels")
        reader.finish()

    def _read_schedule(self, reader: Reader) -> None:
        self.schedule = reader.text("schedule")
        self.run_missed = reader.flag("run_missed", False)
        if self.schedule is None:
            if self.run_missed:
                reader.fail("run_missed", "is for a process with a schedule alone")
            return
        # Most have none, and the module takes memory.
        from process_supervisor.config.cron import Cron

        try:
            Cron(self.schedule).next(time.time())
        except ValueError as error:
            reader.fail("schedule", f"{error} ({self.schedule!r})")

    def _read_restart(self, reader: Reader) -> None:
        raw = reader.raw("autorestart")
        if isinstance(raw, bool):
            self.autorestart = "always" if raw else "never"
        else:
            usual = "never" if self.schedule else "always"
            self.autorestart = reader.choice("autorestart", usual, RESTARTS)
        if self.schedule and self.autorestart == "always":
            reader.fail("autorestart", "must be never or on-failure: its schedule starts it")
        unlimited = "restart_limit" in reader.data and reader.raw("restart_limit") is None
        self.restart_limit = None if unlimited else reader.integer("restart_limit", 10)
        # Its former name is in what an earlier version has kept of a configuration.
        former = reader.former("restart_window", 60.0)
        self.restart_reset_seconds = reader.number("restart_reset_seconds", former)
        if self.restart_limit is not None and self.restart_reset_seconds == 0:
            reader.fail("restart_limit", "is never reached with restart_reset_seconds: 0")
        self.restart_delay = reader.number("restart_delay", 0.0)
        self.restart_delay_max = reader.number("restart_delay_max", 30.0)
        self.restart_backoff = reader.number("restart_backoff", 2.0, 1.0)
        self.restart_jitter = reader.number("restart_jitter", 0.1)
        if self.restart_jitter > 1:
            reader.fail("restart_jitter", "must be between 0 and 1")

    def _read_health(self, reader: Reader, problems: list[str]) -> HealthConfig | None:
        data = reader.raw("health_check")
        if data is None:
            return None
        if not isinstance(data, dict):
            reader.fail("health_check", f"must be a mapping, not {data!r}")
            return None
        return HealthConfig(Reader(data, f"{reader.where}: health_check", problems))

    def as_dict(self) -> dict[str, object]:
        """Return all settings, defaults included, in the form that the configuration file has."""
        result = {key: getattr(self, key) for key in ProcessConfig.__annotations__}
        result["health_check"] = self.health_check.as_dict() if self.health_check else None
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProcessConfig) and self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ProcessConfig({self.name!r}, {self.command!r})"


def needs_restart(old: ProcessConfig, new: ProcessConfig) -> bool:
    """Return whether a running process cannot take over the new settings as it is."""
    if any(getattr(old, key) != getattr(new, key) for key in RESTART_KEYS):
        return True
    return streams(old) != streams(new)


def streams(config: ProcessConfig) -> tuple[bool, bool]:
    """Return which FIFOs a process writes to; the files behind them may change at any time."""
    out, err = config.stdout_logfile, config.stderr_logfile
    return bool(out), bool(err) and err != out


class Config:
    """A whole configuration file: the supervisor's own settings and the processes by name.

    Paths are absolute in it: those of ``data`` may be relative to the directory ``base``, by
    default the one of the program. ``files`` names what it was read from, ``included`` directories
    whose files are read too.
    """

    files: Sequence[str] = ()
    included: Sequence[str] = ()

    def __init__(self, data: Mapping[str, object], base: str = ".") -> None:
        problems: list[str] = []
        reader = Reader(data, "configuration", problems)
        if reader.raw("version") != 1:
            reader.fail("version", f"must be 1, not {reader.raw('version')!r}")
        section = reader.raw("supervisor") or {}
        if not isinstance(section, dict):
            reader.fail("supervisor", "must be a mapping")
            section = {}
        self._read_supervisor(Reader(section, "supervisor", problems), base)
        self.processes: dict[str, ProcessConfig] = {}
        items = reader.raw("processes") or []
        if not isinstance(items, list):
            reader.fail("processes", "must be a list")
            items = []
        for index, item in enumerate(items):
            self._read_process(index, item, problems)
        reader.finish()
        resolve_dependencies(self.processes)
        for paths, owners in ((OWN_PATHS, [self]), (PATHS, self.processes.values())):
            for owner in owners:
                make_absolute(owner, paths, base)
        if len(self.socket.encode()) > 107:
            problems.append(
                "supervisor: socket: is longer than the 107 bytes that a Unix socket's path may "
                f"have: {self.socket}"
            )
        check_together(self.processes, problems)
        checks = {n: p.health_check for n, p in self.processes.items() if p.health_check}
        check_plugins(self.plugins, self.alerts, checks, problems)
        if problems:
            raise ConfigError(problems)

    def _read_supervisor(self, reader: Reader, base: str) -> None:
        self.run_dir = reader.text("run_dir", RUN_DIR) or ""
        self.socket = reader.text("socket", f"{self.run_dir}/{SOCKET_NAME}") or ""
        mode = reader.text("socket_mode", "0660") or ""
        self.socket_mode = 0o660
        if re.fullmatch(r"0?[0-7]{3}", mode):
            self.socket_mode = int(mode, 8)
        else:
            reader.fail("socket_mode", f"must be octal digits in quotes like '0660', not {mode!r}")
        self.state_dir = reader.text("state_dir", f"{self.run_dir}/state") or ""
        self.log_file = reader.text("log_file")
        self.pids_file = reader.text("pids_file")
        self.events_mb = reader.integer("events_mb", 8, 1)
        self.plugins = read_plugins(reader, base)
        self.alerts = read_alerts(reader, base)
        reader.finish()

    def _read_process(self, index: int, item: object, problems: list[str]) -> None:
        if not isinstance(item, dict):
            problems.append(f"process number {index + 1}: must be a mapping, not {item!r}")
            return
        for entry in replicas(item, problems):
            before = len(problems)
            where = f"process {entry.get('name', index + 1)}"
            process = ProcessConfig.read(entry, where, problems)
            if process.name in self.processes:
                problems.append(f"process {process.name}: name: is used twice")
            self.processes[process.name] = process
            if len(problems) > before:
                break  # of replicas each would say the same

    def as_dict(self) -> dict[str, object]:
        """Return the whole configuration in the form that the file has."""
        supervisor: dict[str, object] = {key: getattr(self, key) for key in OWN_PATHS}
        supervisor["socket_mode"] = f"0{self.socket_mode:o}"
        supervisor["events_mb"] = self.events_mb
        supervisor["plugins"] = [plugin.as_dict() for plugin in self.plugins.values()]
        supervisor["alerts"] = self.alerts.as_dict()
        processes = [process.as_dict() for process in self.processes.values()]
        return {"version": 1, "supervisor": supervisor, "processes": processes}


def make_absolute(owner: object, paths: Iterable[str], base: str) -> None:
    """Have attributes that are paths lie below a directory where they are relative."""
    for name in paths:
        if path := getattr(owner, name):
            setattr(owner, name, os.path.abspath(os.path.join(base, path)))


def check_together(processes: Mapping[str, ProcessConfig], problems: list[str]) -> None:
    """Check what one process alone cannot say: dependencies, cycles, shared names and files."""
    variables: dict[str, str] = {}
    files: dict[str, str] = {}
    groups = {process.group for process in processes.values()}
    for name, process in processes.items():
        for other, condition in process.depends_on.items():
            if other not in processes:
                hint = meant(other, processes)
                what = f"there is no such process{hint}"
                problems.append(f"process {name}: depends_on.{other}: {what}")
            elif condition == "healthy" and processes[other].health_check is None:
                problems.append(f"process {name}: depends_on.{other}: it has no health_check")
        if name in groups and process.group != name:
            problems.append(f"process {name}: name: is also the name of a group")
        key = name.upper().replace("-", "_").replace(".", "_")
        if key in variables:
            problems.append(f"process {name}: name: clashes with {variables[key]} in pids.env")
        variables[key] = name
        for path in {process.stdout_logfile, process.stderr_logfile} - {None}:
            other = files.setdefault(str(path), name)
            replicas_do = process.group and process.group == processes[other].group
            hint = "; %(process_num)d in it gives each its own" if replicas_do else ""
            if other != name:
                problems.append(f"process {name}: {path}: is also {other}'s log file{hint}")
    cycle = find_cycle({name: list(process.depends_on) for name, process in processes.items()})
    if cycle:
        problems.append(f"process {cycle[0]}: depends_on: is a cycle: {' -> '.join(cycle)}")


def parse(text: str, yaml: bool = False, base: str = ".") -> Config:
    """Parse the text of a configuration file, which lies in ``base``; raises ConfigError."""
    return Config(mapping(text, yaml), base)


INI = re.compile(r"^\s*\[(program:.+|supervisord|supervisorctl|unix_http_server)\]", re.M)
OF_SUPERVISOR = (
    "is a file of Supervisor's (INI), and JSON or YAML is read here: "
    'docs/coming-from.md, "From another supervisor", has what each word of it is called'
)


def mapping(text: str, yaml: bool) -> dict[str, Any]:
    """Return what a file's text means; raises ConfigError."""
    try:
        if yaml:
            from yaml import YAMLError, safe_load

            try:
                data: object = safe_load(text)
            except (YAMLError, ValueError, RecursionError) as error:
                raise ConfigError([f"not valid YAML: {error}"]) from error
        else:
            data = json.loads(text)
    except ImportError as error:
        raise ConfigError(["YAML needs the PyYAML package; write the file as JSON"]) from error
    except ConfigError:
        raise
    except (ValueError, RecursionError) as error:
        if INI.search(text):
            raise ConfigError([OF_SUPERVISOR]) from error
        raise ConfigError([f"not valid JSON: {error}"]) from error
    if not isinstance(data, dict):
        raise ConfigError(["the configuration must be a mapping"])
    return data
