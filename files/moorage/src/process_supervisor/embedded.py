"""The supervisor inside a Python program, driven by a thread of its own.

The thread starts with the ProcessSupervisor. Children outlive the program unless it calls
`shutdown`: a ProcessSupervisor that is made later on the same run_dir takes them over.
"""

from __future__ import annotations

import logging
import os
import re
import threading

from process_supervisor.common.loop import EventLoop
from process_supervisor.config.given import configuration, named
from process_supervisor.config.reader import ConfigError
from process_supervisor.config.replicas import having
from process_supervisor.config.settings import Config
from process_supervisor.control import operations
from process_supervisor.control.server import Server
from process_supervisor.daemon import lock
from process_supervisor.guardian.link import GuardianLink
from process_supervisor.service import states
from process_supervisor.service.process import Process
from process_supervisor.service.states import State
from process_supervisor.service.status import status_of
from process_supervisor.supervisor import reload, resume
from process_supervisor.supervisor.rolling import Rolling
from process_supervisor.supervisor.supervisor import Supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeVar

    from process_supervisor.config.settings import ProcessConfig

    T = TypeVar("T")

CONFIG_VARIABLE = "PROCESS_SUPERVISOR_CONFIG"


class RunningProcess:
    """A process that runs now; only its pid is of interest."""

    def __init__(self, pid: int) -> None:
        self.pid = pid


class ManagedProcess:
    """A view of one process; every attribute is the truth of the moment."""

    def __init__(self, supervisor: ProcessSupervisor, name: str) -> None:
        self._supervisor = supervisor
        self.name = name

    @property
    def status(self) -> str:
        """The state in lower case: running, stopped, fatal and so on."""
        return str(self._supervisor.get_process_status(self.name)["status"])

    @property
    def process(self) -> RunningProcess | None:
        """The main process, None while none runs."""
        pid = self._supervisor.get_process_status(self.name)["pid"]
        return None if pid is None else RunningProcess(pid)

    def is_running(self) -> bool:
        """Whether the main process runs."""
        return self.status == "running"


class ProcessSupervisor:
    """Supervises processes from within a program.

    config is a file's path, the mapping that such a file holds, or ProcessConfigs. Its own log is
    ``log_file``, else supervisor.log beside the first process's; the logger "process_supervisor"
    has the same at level DEBUG. Raises ConfigError when the configuration is unusable, RuntimeError
    when another supervisor has the run_dir.
    """

    def __init__(self, config: str | Mapping[str, object] | Iterable[ProcessConfig] = ()) -> None:
        self._path = os.path.abspath(config) if isinstance(config, str) else None
        settings = configuration(config)
        self._lock = lock(settings.run_dir)
        if self._lock is None:
            raise RuntimeError(f"another supervisor runs on {settings.run_dir}")
        self._plugins: dict[str, dict[str, Any]] = {}
        self._loop = EventLoop()
        self._supervisor = Supervisor(settings, self._loop, GuardianLink(self._loop))
        supervisor = self._supervisor
        supervisor.events.files = settings.events_mb
        supervisor.on_shutdown = lambda: supervisor.plugins.when_quiet(self._loop.stop)
        supervisor.monitoring = False
        logger = logging.getLogger("process_supervisor")
        self._supervisor.journal.also = lambda line: logger.debug("%s", line)
        self._server = Server(
            self._supervisor, [self._path] if self._path else [], operations.dispatch
        )
        self._server.listen()
        resume.begin(self._supervisor, autostart=False)
        self._thread = threading.Thread(target=self._run, name="process_supervisor", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run()
        self._server.close()
        self._loop.close()
        assert self._lock is not None
        os.close(self._lock)

    def _call(self, function: Callable[[], T]) -> T:
        """Run a function in the loop's thread and return its result."""
        if not self._thread.is_alive():
            raise RuntimeError("the supervisor has been shut down")
        done = threading.Event()
        results: list[T] = []
        errors: list[Exception] = []

        def work() -> None:
            try:
                results.append(function())
            except Exception as error:
                errors.append(error)
            done.set()

        self._loop.call_from_thread(work)
        done.wait()
        if errors:
            raise errors[0]
        return results[0]

    def _wait(self, name: str, reached: Callable[[Process], bool], timeout: float) -> bool:
        """Wait until a process has got somewhere; False when it did not in time."""
        return self._wait_for(lambda: reached(self._supervisor.processes[name]), timeout)

    def _wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        arrived = threading.Event()

        def look() -> None:
            if condition():
                arrived.set()

        def listen() -> None:
            self._supervisor.listeners.append(look)
            look()

        self._call(listen)
        result = arrived.wait(timeout)
        self._call(lambda: self._supervisor.listeners.remove(look))
        return result

    def _known(self, name: str) -> Process:
        try:
            return self._supervisor.processes[name]
        except KeyError:
            raise KeyError(f"there is no process {name}") from None

    def _each(self, name: str) -> list[str]:
        """Return whom a name means, `web:` a whole group; raises KeyError where there is none."""
        try:
            return self._call(lambda: having(self._supervisor.config.processes, name))
        except ValueError as error:
            raise KeyError(str(error)) from None

    def _all(self, act: Callable[[str, float], bool], group: str, timeout: float) -> bool:
        results = [act(name, timeout) for name in self._each(group)]
        return all(results)

    @property
    def processes(self) -> dict[str, ManagedProcess]:
        """The processes by name."""
        return {name: ManagedProcess(self, name) for name in self._call(self._names)}

    def _names(self) -> list[str]:
        return list(self._supervisor.processes)

    def add_process(self, config: ProcessConfig) -> None:
        """Supervise one more, or its `numprocs`; it is not started. Raises ConfigError if unfit."""

        def add() -> None:
            merged = self._having([*self._supervisor.config.processes.values(), config])
            for name, settings in merged.processes.items():
                if name not in self._supervisor.processes:
                    self._supervisor.processes[name] = Process(settings, self._supervisor)
            reload.adopt_config(self._supervisor, merged)

        self._call(add)

    def remove_process(self, name: str, timeout: float = 60.0) -> bool:
        """Stop a process and supervise it no more; True once it and its family have ended.

        Raises KeyError where there is none, ConfigError where another one depends on it.
        """

        def remove() -> None:
            self._known(name)
            kept = [c for n, c in self._supervisor.config.processes.items() if n != name]
            merged = self._having(kept)
            self._supervisor.note_completed(name, False)
            self._supervisor.remove(name)
            reload.adopt_config(self._supervisor, merged)

        self._call(remove)
        return self._wait_for(lambda: name not in self._supervisor.processes, timeout)

    def add_plugin(
        self, plugin: type[Any] | str, name: str | None = None, **settings: object
    ) -> str:
        """Have a plug-in run in a helper, and return its name; raises ConfigError.

        ``plugin`` is a class, or what a configuration file would name; ``settings`` go to the
        class. A process asks it with `health_check={"type": "plugin", "plugin": name}`, so it has
        to be added before that process.
        """
        target = plugin if isinstance(plugin, str) else named(plugin)
        name = name or re.sub("[^A-Za-z0-9_.-]", "-", target.rpartition(":")[2])
        entry = {"name": name, "class": target, "settings": settings}

        def add() -> None:
            as_it_is = self._supervisor.config.as_dict()
            section: dict[str, Any] = as_it_is["supervisor"]  # type: ignore[assignment]
            section = {**section, "plugins": [*section["plugins"], entry]}
            reload.adopt_config(self._supervisor, Config({**as_it_is, "supervisor": section}))

        self._call(add)
        self._plugins[name] = entry
        return name

    def reload(
        self, config: str | Mapping[str, object] | Iterable[ProcessConfig] | None = None
    ) -> dict[str, list[str]]:
        """Apply a changed configuration, by default the file again: only what changed is touched.

        The result names the processes that were added, removed, changed and restarted. Plug-ins of
        `add_plugin` stay, unless the configuration has one of that name. Raises
        ConfigError, with nothing changed, when it is unusable or there is none.
        """
        found = self._path if config is None else config
        if found is None:
            raise ConfigError(["reload: this supervisor has no file; pass a configuration"])
        settings = configuration(found, self._plugins)
        return self._call(lambda: reload.apply_all(self._supervisor, settings))

    def _having(self, processes: Iterable[ProcessConfig]) -> Config:
        """Return the configuration with these processes; raises ConfigError."""
        as_it_is = self._supervisor.config.as_dict()
        entries = [entry for item in processes for entry in item.entries()]
        return Config({**as_it_is, "processes": entries})

    def start_process(self, name: str, timeout: float = 30.0) -> bool:
        """Start a process; True once it runs, False when it waits, failed or took too long.

        As with stop_process and restart_process, `GROUP:` means each process of a group.
        """
        if name.endswith(":"):
            return self._all(self.start_process, name, timeout)
        settled = (*states.SETTLED, State.BACKOFF)

        def begin() -> None:
            self._known(name)
            self._supervisor.start(name)

        def arrived(process: Process) -> bool:
            waits = self._supervisor.waiting_for(process) is not None
            return waits or process.has_started or process.state in settled

        self._call(begin)
        self._wait(name, arrived, timeout)
        return self.processes[name].is_running()

    def stop_process(self, name: str, timeout: float = 60.0) -> bool:
        """Stop a process and keep it stopped; True once it and its family have ended."""
        if name.endswith(":"):
            return self._all(self.stop_process, name, timeout)

        def begin() -> None:
            self._known(name)
            self._supervisor.stop(name)

        self._call(begin)
        return self._wait(name, lambda process: process.state in states.SETTLED, timeout)

    def restart_process(self, name: str, timeout: float = 60.0) -> bool:
        """Stop a process if it runs and start it; True once it runs again."""
        if name.endswith(":"):
            return self._all(self.restart_process, name, timeout)
        before = self._call(lambda: self._known(name).pid)

        def again(process: Process) -> bool:
            return process.has_started and process.pid != before

        self._call(lambda: self._supervisor.restart(name))
        return self._wait(name, again, timeout)

    def rolling_restart(self, name: str, timeout: float = 60.0) -> None:
        """Restart each process of a group, `GROUP:`, when the one before is healthy.

        timeout is for each. Raises RuntimeError at the first that does not get healthy, with the
        rest left as it was, ValueError where another such restart is under way.
        """
        names, ended = self._each(name), threading.Event()
        problems: list[str] = []

        def done(problem: str | None) -> None:
            problems.extend([problem] if problem else [])
            ended.set()

        self._call(lambda: Rolling(self._supervisor, names, timeout, done))
        ended.wait()
        if problems:
            raise RuntimeError(problems[0])

    def start_all_processes(self) -> dict[str, bool]:
        """Start every process with autostart, in the order of their dependencies."""

        def begin() -> list[str]:
            names = [
                name for name, item in self._supervisor.processes.items() if item.config.autostart
            ]
            for name in names:
                self._supervisor.start(name)
            return names

        names = self._call(begin)
        found = self.get_all_status()
        return {name: found[name]["status"] == "running" for name in names}

    def stop_all_processes(self, timeout: float = 60.0) -> dict[str, bool]:
        """Stop every process, dependants before what they depend on."""
        order = self._call(lambda: dependants_first(self._supervisor.processes))
        return {name: self.stop_process(name, timeout) for name in order}

    def get_process_status(self, name: str) -> dict[str, Any]:
        """Return a process's status as in the control protocol, and `status` in lower case."""

        def read() -> dict[str, Any]:
            found = status_of(self._known(name), self._supervisor.usage)
            return {**found, "status": found["state"].lower()}

        return self._call(read)

    def get_all_status(self) -> dict[str, dict[str, Any]]:
        """Return the status of every process by name."""
        return {name: self.get_process_status(name) for name in self._call(self._names)}

    def start_monitoring(self) -> None:
        """Restart processes that end or become unhealthy, from now on."""
        self._call(lambda: self._supervisor.monitor(True))

    def stop_monitoring(self) -> None:
        """Leave processes that end as they are until monitoring starts again."""
        self._call(lambda: self._supervisor.monitor(False))

    def shutdown(self, timeout: float | None = None) -> None:
        """Stop every process and end the supervisor; it cannot be used afterwards."""
        if self._thread.is_alive():
            self._call(self._supervisor.shutdown)
            self._thread.join(timeout)


def dependants_first(processes: Mapping[str, Process]) -> list[str]:
    """Return the names so that each comes before everything it depends on."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name not in order:
            for other in processes[name].config.depends_on:
                visit(other)
            order.append(name)

    for name in processes:
        visit(name)
    return order[::-1]


_shared: list[ProcessSupervisor] = []


def get_supervisor(
    config: str | Mapping[str, object] | Iterable[ProcessConfig] | None = None,
) -> ProcessSupervisor:
    """Return the program's one supervisor, made at the first call.

    Without a config the file that PROCESS_SUPERVISOR_CONFIG names is used; raises ConfigError where
    it names none.
    """
    if not _shared or not _shared[0]._thread.is_alive():
        found = config if config is not None else os.environ.get(CONFIG_VARIABLE) or None
        if found is None:
            message = "pass a file, a mapping or ProcessConfigs at the first call"
            raise ConfigError([f"get_supervisor: {message}, or set {CONFIG_VARIABLE} to a file"])
        _shared[:] = [ProcessSupervisor(found)]
    elif config is not None:
        raise ConfigError(["get_supervisor: the supervisor exists already; pass config only once"])
    return _shared[0]
