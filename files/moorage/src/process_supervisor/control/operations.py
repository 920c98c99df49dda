"""What the control socket's operations do."""

from __future__ import annotations

import os

from process_supervisor.alerts.policy import EVERYTHING
from process_supervisor.common import procfs
from process_supervisor.common.version import __version__
from process_supervisor.config.reader import ConfigError
from process_supervisor.config.replicas import having
from process_supervisor.config.signals import signal_named
from process_supervisor.control.protocol import VERSION, ControlError
from process_supervisor.output import tail
from process_supervisor.service.states import SETTLED, State
from process_supervisor.service.status import status_of
from process_supervisor.supervisor import reload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from process_supervisor.control.server import Connection
    from process_supervisor.service.process import Process
    from process_supervisor.supervisor.supervisor import Supervisor

MOST_LINES = 10_000
MOST_SILENCE = 30 * 86_400.0
MOST_WAIT = 86_400.0  # a job may take hours to end


class Request:
    """One request: its arguments, checked as they are asked for."""

    def __init__(self, connection: Connection, request_id: object, args: object) -> None:
        if not isinstance(args, dict):
            raise ControlError("bad-request", "args must be an object")
        self.connection = connection
        self.supervisor: Supervisor = connection.supervisor
        self.id = request_id
        self.args: dict[str, Any] = args

    def text(self, key: str, default: str | None = None) -> str | None:
        """Return a string argument."""
        value = self.args.get(key, default)
        if value is not None and not isinstance(value, str):
            raise ControlError("bad-request", f"{key} must be a string")
        return value

    def number(self, key: str, default: float, most: float) -> float:
        """Return a number argument, at most `most`."""
        value = self.args.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            raise ControlError("bad-request", f"{key} must be a number of at least 0")
        return min(value, most)

    @property
    def of_group(self) -> bool:
        """Whether the argument `name` names a group, so that the answer is a list."""
        return str(self.args.get("name")).endswith((":", ":*"))

    def processes(self) -> list[Process]:
        """Return the processes that the argument `name` names."""
        name = self.text("name")
        if name is None:
            raise ControlError("bad-request", "name is required")
        every = self.supervisor.processes
        try:
            names = having({key: item.config for key, item in every.items()}, name)
        except ValueError as error:
            raise ControlError("not-found", str(error)) from error
        return [every[found] for found in names]

    def process(self) -> Process:
        """Return the one process that the argument `name` names."""
        found = self.processes()
        if self.of_group:
            names = ", ".join(process.name for process in found)
            raise ControlError("bad-request", f"name one of the group: {names}")
        return found[0]

    def record(self, op: str, process: str | None = None) -> None:
        """Put the request on the audit trail with who asked and why."""
        self.supervisor.events.add(
            "request", process, op=op, who=(self.text("who") or "")[:200] or None,
            peer=self.connection.peer, reason=(self.text("reason") or "")[:500] or None,
        )  # fmt: skip

    def answer(self, result: object) -> None:
        """Send the result."""
        self.connection.answer(self.id, result)

    def status(self, process: Process, everybody: procfs.Everybody | None = None) -> dict[str, Any]:
        """Return a process's status."""
        usage = None if self.args.get("usage") is False else self.supervisor.usage
        return status_of(process, usage, everybody)


def dispatch(connection: Connection, request_id: object, op: object, args: object) -> None:
    """Carry out a request; the answer may come later. Raises ControlError to refuse it."""
    request = Request(connection, request_id, args)
    operation = OPERATIONS.get(op) if isinstance(op, str) else None
    if operation is None:
        raise ControlError("bad-request", f"unknown op {op!r} (known: {', '.join(OPERATIONS)})")
    operation(request)


def status(request: Request) -> None:
    """One process's status, or the list of a group or of all."""
    request.supervisor.look_for_kills()
    found = list(request.supervisor.processes.values())
    if request.args.get("name") is not None:
        found = request.processes()
        if not request.of_group:
            request.answer(request.status(found[0]))
            return
    bare = request.args.get("usage") is False
    everybody = None if bare else request.supervisor.usage.everybody_for(found)
    request.answer([request.status(item, everybody) for item in found])


def start(request: Request) -> None:
    """Start, and answer when it runs or when it is clear that it does not yet."""
    found = accepting(request)
    for process in found:
        request.record("start", process.name)
        request.supervisor.start(process.name)
    until(request, found, started)


def restart(request: Request) -> None:
    """Stop and start."""
    found = accepting(request)
    before = {process.name: process.pid for process in found}
    for process in found:
        request.record("restart", process.name)
        request.supervisor.restart(process.name)

    def again(process: Process) -> bool:
        return started(process) and (process.pid is None or process.pid != before[process.name])

    until(request, found, again)


def rolling_restart(request: Request) -> None:
    """Restart one after the other, and answer when all are well or one is not."""
    # Most supervisors never need it.
    from process_supervisor.supervisor.rolling import Rolling

    found = accepting(request)
    group = request.of_group

    def done(problem: str | None) -> None:
        if problem:
            request.connection.refuse(request.id, ControlError("failed", problem))
        else:
            statuses = [request.status(process) for process in found]
            request.answer(statuses if group else statuses[0])

    names = [process.name for process in found]
    wait = request.number("wait", 60.0, MOST_WAIT)
    try:
        Rolling(request.supervisor, names, wait, done)
    except ValueError as error:
        raise ControlError("conflict", str(error)) from error
    request.record("rolling restart of " + ", ".join(names))


def stop(request: Request) -> None:
    """Stop, and answer when it and everything of its family has ended."""
    found = request.processes()
    for process in found:
        request.record("stop", process.name)
        request.supervisor.stop(process.name)
    until(request, found, lambda item: item.state in SETTLED)


def accepting(request: Request) -> list[Process]:
    """Return the named processes if they may be started now."""
    found = request.processes()
    for process in found:
        if request.supervisor.shutting_down or process.name in request.supervisor.leaving:
            raise ControlError("conflict", f"{process.name} is being shut down")
    return found


def started(process: Process) -> bool:
    """Whether a start has come to a point that is worth an answer."""
    waits = process.state is State.STARTING and process.supervisor.waiting_for(process) is not None
    return waits or process.has_started or process.state in (*SETTLED, State.BACKOFF)


def until(request: Request, processes: list[Process], settled: Callable[[Process], bool]) -> None:
    """Answer with the status as soon as a condition holds, refuse when that takes too long."""
    wait = request.number("wait", 30.0, MOST_WAIT)
    supervisor, group = request.supervisor, request.of_group

    def look() -> None:
        if all(settled(process) for process in processes):
            end()
            found = [request.status(process) for process in processes]
            request.answer(found if group else found[0])

    def give_up() -> None:
        end()
        late = [f"{item.name} is {item.state}" for item in processes if not settled(item)]
        message = f"{', '.join(late)} after {wait:g} s; the request goes on"
        request.connection.refuse(request.id, ControlError("timeout", message))

    def end() -> None:
        timer.cancel()
        supervisor.listeners.remove(look)
        request.connection.on_close.remove(end)

    timer = supervisor.loop.call_later(wait, give_up)
    supervisor.listeners.append(look)
    request.connection.on_close.append(end)
    supervisor.touch()


def reload_config(request: Request) -> None:
    """Read the configuration file again."""
    paths = request.connection.server.config_paths
    if not paths:
        raise ControlError("conflict", "this supervisor has no configuration file")
    request.record("reload")
    try:
        request.answer(reload.reload(request.supervisor, paths))
    except ConfigError as error:
        raise ControlError("config", str(error)) from error


def reopen(request: Request) -> None:
    """Open the log files anew."""
    request.record("reopen")
    request.supervisor.reopen()
    request.answer({"reopened": list(request.supervisor.processes)})


def send_signal(request: Request) -> None:
    """Send a signal to a main process."""
    process = request.process()
    try:
        number = signal_named(request.text("signal") or "")
    except ValueError as error:
        raise ControlError("bad-request", str(error)) from error
    if process.main is None:
        raise ControlError("conflict", f"{process.name} does not run (it is {process.state})")
    request.record(f"signal {number.name}", process.name)
    process.main.send(number)
    request.answer(request.status(process))


def log_path(request: Request) -> str:
    """Return the log file that a request names."""
    process, stream = request.process(), request.text("stream", "stdout")
    if stream not in ("stdout", "stderr"):
        raise ControlError("bad-request", "stream must be stdout or stderr")
    path = process.output.path_of(stream)
    if path is None:
        raise ControlError("conflict", f"{process.name}'s {stream} is not logged to a file")
    process.output.drain()
    return path


def logs(request: Request) -> None:
    """The last lines of a log."""
    count = int(request.number("lines", 100, MOST_LINES))
    request.answer(tail.last_lines(log_path(request), count))


def log_times(request: Request) -> None:
    """The log files of a process, and when what was written to them."""
    request.answer(request.process().output.times())


def history(request: Request) -> None:
    """What a process used over the last day."""
    name = request.process().name
    request.answer({"name": name, "samples": request.supervisor.history.read(name)})


def follow(request: Request) -> None:
    """The last lines of a log, then each new one until the client goes."""
    path, connection = log_path(request), request.connection
    if connection.on_room is not None:
        raise ControlError("conflict", "this connection already follows a log")
    process = request.process()
    try:
        follower = tail.Follower(path, int(request.number("lines", 10, MOST_LINES)))
    except OSError as error:
        raise ControlError("conflict", f"{path}: {error.strerror}") from error

    def push() -> None:
        while not connection.closed and connection.has_room:
            lines = follower.read()
            if not lines and not follower.more:
                return
            for line in lines:
                connection.send({"id": request.id, "line": line})

    def end() -> None:
        process.output.followers.remove(push)
        follower.close()

    process.output.followers.append(push)
    connection.on_room = push
    connection.on_close.append(end)
    push()


def events(request: Request) -> None:
    """What happened."""
    since, limit = request.number("since", 0, 1e15), request.number("limit", 100, MOST_LINES)
    after = request.number("after", 0, 1e15)
    request.answer(request.supervisor.events.since(int(since), int(limit), after))


def info(request: Request) -> None:
    """The supervisor itself."""
    supervisor = request.supervisor
    request.answer({
        "pid": os.getpid(), "guardian_pid": supervisor.guardian.pid or None, "protocol": VERSION,
        "version": __version__, "started_at": supervisor.started_at,
        "config": ", ".join(request.connection.server.config_paths) or None,
        "shutting_down": supervisor.shutting_down,
        "stray_memory_kills": supervisor.shortage.strays,
    })  # fmt: skip


def plugins(request: Request) -> None:
    """The plug-ins and how they do."""
    request.answer(request.supervisor.plugins.as_dict())


def alerts(request: Request) -> None:
    """What is wrong, what is silenced, and how the channels do."""
    request.answer(request.supervisor.alerts.as_dict())


def silence(request: Request) -> None:
    """Tell nothing of a process, or of all, for so many seconds."""
    name = request.text("name")
    subject = request.process().name if name else EVERYTHING
    seconds = request.number("seconds", 3600.0, MOST_SILENCE)
    request.record(f"silence for {seconds:g} s", subject or None)
    request.supervisor.alerts.silence(subject, seconds)
    request.answer(request.supervisor.alerts.as_dict())


def test_alert(request: Request) -> None:
    """Send a test message by a channel, and answer when it has arrived or not."""
    name, channels = request.text("channel"), request.supervisor.alerts.channels
    if name not in channels:
        known = ", ".join(channels) or "none"
        raise ControlError("not-found", f"there is no channel {name} (there are: {known})")
    request.record(f"test of channel {name}")
    request.supervisor.alerts.test(name, request.answer)


def shutdown(request: Request) -> None:
    """Stop everything and end."""
    request.record("shutdown")
    request.answer({"shutting_down": True})
    request.supervisor.loop.call_soon(request.supervisor.shutdown)


OPERATIONS: dict[str, Callable[[Request], None]] = {
    "status": status, "start": start, "stop": stop, "restart": restart,
    "rolling_restart": rolling_restart, "reload": reload_config,
    "reopen": reopen, "signal": send_signal, "logs": logs, "log_times": log_times,
    "history": history, "follow": follow,
    "events": events, "info": info, "plugins": plugins, "alerts": alerts, "silence": silence,
    "test_alert": test_alert, "shutdown": shutdown,
}  # fmt: skip
