"""The command line: `process_supervisor` or `python -m process_supervisor`.

Exit status: 0 done or healthy, 1 the supervisor refused or something is not as it should be,
2 wrong usage, 3 no supervisor answers, 78 unusable configuration.
"""

from __future__ import annotations

import json
import os
import sys
import time
from types import SimpleNamespace

from process_supervisor.cli import show
from process_supervisor.cli.words import event_or_moment, is_group, moment, pattern, span
from process_supervisor.common.visible import visible
from process_supervisor.control.client import Client, ControlError, default_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

EXIT_REFUSED, EXIT_UNREACHABLE = 1, 3


def parser() -> argparse.ArgumentParser:
    """Return the command line's definition."""
    import argparse

    from process_supervisor.common.version import __version__

    top = argparse.ArgumentParser(
        prog="process_supervisor", description="Run and control supervised processes.",
        epilog="Exit status: 0 done, 1 refused or not well, 2 usage, 3 no supervisor, 78 config.",
    )  # fmt: skip
    top.add_argument(
        "-s", "--socket", default=default_socket(),
        help="control socket (default: $PROCESS_SUPERVISOR_SOCKET, else %(default)s)",
    )  # fmt: skip
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, names: str | None = None) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        if names:
            sub.add_argument("names", nargs=names, metavar="NAME")
        return sub

    files = "may be given more than once: a later one overrides"
    sub = add("run", "guard a supervisor in the foreground")
    sub.add_argument("-c", "--config", required=True, action="append", metavar="FILE", help=files)
    sub.add_argument(
        "--takeover", action="store_true", help="replace a supervisor that runs, not its processes"
    )
    sub = add("check-config", "check a configuration file and do nothing else")
    sub.add_argument("-c", "--config", required=True, action="append", metavar="FILE", help=files)
    sub.add_argument("--show", action="store_true", help="print all settings as JSON")
    sub = add("status", "show the processes", "*")
    sub.add_argument("--json", action="store_true", help="as JSON, one object or a list")
    sub.add_argument(
        "-w", "--watch", type=float, nargs="?", const=2.0, metavar="S", help="again every 2 s"
    )
    for name in ("start", "stop", "restart"):
        sub = add(name, f"{name} processes and wait for the outcome", "*")
        sub.add_argument("--all", action="store_true", help="every process")
        sub.add_argument("--reason", help="noted in the events")
        sub.add_argument("--wait", type=float, default=60.0, help="seconds (default: %(default)g)")
        if name == "restart":
            sub.add_argument(
                "--rolling", action="store_true", help="each only when the one before is healthy"
            )
    add("reload", "read the configuration again; only what changed restarts")
    add("reopen", "open the log files anew, after a log rotator moved them")
    sub = add("logs", "show the last lines of a log, or of all as one", "*")
    sub.add_argument("-f", "--follow", action="store_true", help="go on with new lines")
    sub.add_argument(
        "-n", "--lines", type=int, metavar="N",
        help="at most so many (default: 100 without --since and --grep)",
    )  # fmt: skip
    sub.add_argument("--stderr", action="store_true", help="standard error instead of output")
    sub.add_argument(
        "--since", type=moment, metavar="TIME", help="30m, 2h, 1d, or 2026-12-01T08:00"
    )
    sub.add_argument("--grep", type=pattern, metavar="RE", help="only lines that match")
    add("pid", "print a process's pid, or the supervisor's without a name", "?")
    sub = add("signal", "send a signal to a main process")
    sub.add_argument("signal", metavar="SIGNAL")
    sub.add_argument("name", metavar="NAME")
    sub = add("events", "show what happened")
    sub.add_argument("-n", "--limit", type=int, help="at most (default: 100 without a TIME)")
    sub.add_argument(
        "--since", type=event_or_moment, default=0, metavar="SEQ|TIME",
        help="only after this event, or since 30m, 2h, 1d or 2026-12-01T08:00",
    )  # fmt: skip
    sub.add_argument("--json", action="store_true", help="one JSON object a line")
    sub = add("graph", "show who depends on whom")
    form = sub.add_mutually_exclusive_group()
    form.add_argument("--dot", action="store_true", help="in Graphviz' language")
    form.add_argument("--json", action="store_true", help="as JSON")
    sub = add("top", "show what each process uses, now and over the last day")
    sub.add_argument("--by", choices=("cpu", "memory"), default="cpu", help="default: %(default)s")
    sub.add_argument("--json", action="store_true", help="as JSON")
    sub = add("history", "show what a process used over the last day")
    sub.add_argument("name", metavar="NAME")
    sub.add_argument("--json", action="store_true", help="every sample, as JSON")
    sub = add("plugins", "show the plug-ins")
    sub.add_argument("--json", action="store_true", help="as JSON")
    sub = add("alerts", "show what is wrong and who is told; test a channel; silence")
    sub.add_argument("--json", action="store_true", help="as JSON")
    sub.add_argument("--test", metavar="CHANNEL", help="send a test message by a channel")
    sub.add_argument(
        "--silence",
        nargs="?",
        const="",
        metavar="NAME",
        help="tell nothing of a process, or of all",
    )
    sub.add_argument(
        "--for", dest="duration", type=span, metavar="TIME",
        help="with --silence: how long, such as 30m, 2h or 1d; 0 ends it (default: 1h)",
    )  # fmt: skip
    add("health", "say whether everything that should be up is; exit status 1 if not")
    sub = add("completion", "print what a shell evaluates to complete words")
    # `names` is what that asks for.
    sub.add_argument("shell", choices=("bash", "zsh", "names"), metavar="bash|zsh")
    sub.set_defaults(commands=commands.choices)
    sub = add("web", "serve a web page; takes the options of moorage.panel as well")
    sub.add_argument(
        "--listen", default="127.0.0.1:9000", metavar="ADDRESS:PORT", help="default: %(default)s"
    )
    sub.add_argument("--password-file", metavar="FILE", help="default: one made up and shown")
    add("shutdown", "stop everything, dependants first, and end the supervisor")
    return top


def plain_status(words: list[str]) -> SimpleNamespace | None:
    """Return what a plain `status` says, None for what argparse shall look at.

    Scripts ask for it often, and to import argparse takes longer than the answer does.
    """
    socket = default_socket()
    if words[:1] in (["-s"], ["--socket"]) and len(words) > 1:
        socket, words = words[1], words[2:]
    names = [word for word in words[1:] if word != "--json"]
    if words[:1] != ["status"] or any(name.startswith("-") for name in names):
        return None
    as_json = len(names) < len(words) - 1
    return SimpleNamespace(command="status", socket=socket, names=names, json=as_json, watch=None)


def parsed(words: list[str]) -> argparse.Namespace:
    """Return what the words say; those that `web` does not know are for the panel."""
    top = parser()
    arguments, more = top.parse_known_args(words)
    if more and arguments.command != "web":
        top.error(f"unrecognized arguments: {' '.join(more)}")
    arguments.more = more
    return arguments


def requester() -> str:
    """Return who sits at the keyboard, for the events."""
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or f"uid {os.getuid()}"


class Commands:
    """The commands that speak to a supervisor; each returns the exit status."""

    def __init__(self, arguments: argparse.Namespace | SimpleNamespace) -> None:
        self.arguments = arguments
        self.client = Client(arguments.socket)

    def status(self) -> int:
        """Print a table or JSON."""
        names, pause = self.arguments.names, self.arguments.watch
        while True:
            found = list(self._of(names, self.client.status)) if names else self.client.status()
            if self.arguments.json:
                one = len(names) == 1 and not is_group(names[0])
                print(json.dumps(found[0] if one else found, indent=2))
            else:
                if pause is not None and sys.stdout.isatty():
                    print("\x1b[H\x1b[2J", end="")
                show.table(found)
            if pause is None:
                return 0
            sys.stdout.flush()
            time.sleep(max(0.1, pause))

    def act(self) -> int:
        """Start, stop or restart."""
        names = self.arguments.names
        if self.arguments.all == bool(names):
            raise ControlError("bad-request", "name the processes, or give --all")
        if self.arguments.all:
            names = [item["name"] for item in self.client.status()]
        rolling = self.arguments.command == "restart" and self.arguments.rolling
        action = getattr(self.client, "rolling_restart" if rolling else self.arguments.command)
        facts = {"who": requester(), "reason": self.arguments.reason, "wait": self.arguments.wait}
        good = True
        for item in self._of(names, lambda name: action(name, **facts)):
            show.line(item)
            good = good and (self.arguments.command == "stop" or show.well(item))
        return 0 if good else EXIT_REFUSED

    @staticmethod
    def _of(names: list[str], ask: Callable[[str], Any]) -> Iterator[dict[str, Any]]:
        """Yield what is answered for each name, of a group each of its processes."""
        for name in names:
            found = ask(name)
            yield from found if isinstance(found, list) else [found]

    start = stop = restart = act

    def reload(self) -> int:
        """Reload and say what that did."""
        for kind, names in self.client.reload(who=requester()).items():
            if names:
                print(f"{kind.replace('_', ' ')}: {', '.join(names)}")
        return 0

    def reopen(self) -> int:
        """Reopen."""
        self.client.reopen()
        return 0

    def logs(self) -> int:
        """Print lines: of one log as the supervisor reads it, else of all as one."""
        arguments = self.arguments
        stream = "stderr" if arguments.stderr else "stdout"
        plain = arguments.since is None and arguments.grep is None
        if not plain or len(arguments.names) != 1 or is_group(arguments.names[0]):
            from process_supervisor.cli import logs

            return EXIT_REFUSED if logs.show(self.client, arguments, 100 if plain else None) else 0
        name, lines = arguments.names[0], 100 if arguments.lines is None else arguments.lines
        if arguments.follow:
            for line in self.client.follow(name, stream, lines):
                print(visible(line), flush=True)
        else:
            for line in self.client.logs(name, stream, lines):
                print(visible(line))
        return 0

    def pid(self) -> int:
        """Print a pid, of a group those that run."""
        name = self.arguments.names
        found = self._of([name], self.client.status) if name else [self.client.info()]
        pids = [item["pid"] for item in found if item["pid"] is not None]
        if not pids:
            raise ControlError("conflict", f"{name} does not run")
        print("\n".join(map(str, pids)))
        return 0

    def signal(self) -> int:
        """Send a signal."""
        self.client.signal(self.arguments.name, self.arguments.signal, who=requester())
        return 0

    def events(self) -> int:
        """Print events."""
        since, limit = self.arguments.since, self.arguments.limit
        after = since if isinstance(since, float) else None
        # Who names a time wants all since then.
        most = limit if limit is not None else 100 if after is None else 10_000
        for entry in self.client.events(0 if after else since, most, after):
            as_json = self.arguments.json
            print(json.dumps(entry) if as_json else show.event(entry))
        return 0

    def graph(self) -> int:
        """Print the dependencies."""
        from process_supervisor.cli import graph

        found = self.client.status(usage=False)
        form = graph.dot if self.arguments.dot else graph.as_json
        print((form if self.arguments.dot or self.arguments.json else graph.text)(found))
        return 0

    def top(self) -> int:
        """Print what all use."""
        from process_supervisor.cli import usage

        print(usage.top(self.client, self.arguments.by, self.arguments.json))
        return 0

    def history(self) -> int:
        """Print what one has used."""
        from process_supervisor.cli import usage

        name = self.arguments.name
        as_json = self.arguments.json
        print(
            json.dumps(self.client.history(name)) if as_json else usage.history(self.client, name)
        )
        return 0

    def completion(self) -> int:
        """Print a script, or names for one."""
        from process_supervisor.cli import completion

        if self.arguments.shell == "names":
            print("\n".join(completion.names(self.client)))
        else:
            print(completion.script(self.arguments.commands, self.arguments.shell), end="")
        return 0

    def plugins(self) -> int:
        """Print the plug-ins."""
        found = self.client.plugins()
        print(json.dumps(found, indent=2) if self.arguments.json else show.plugins(found))
        return EXIT_REFUSED if any(item["trouble"] for item in found) else 0

    def alerts(self) -> int:
        """Print alerts, test a channel, or silence."""
        arguments = self.arguments
        if arguments.test is not None:
            found = self.client.test_alert(arguments.test, who=requester())
            print(f"{arguments.test}: " + (visible(found["trouble"] or "sent")))
            return 0 if found["sent"] else EXIT_REFUSED
        if arguments.silence is not None:
            seconds = 3600.0 if arguments.duration is None else arguments.duration
            self.client.silence(arguments.silence or None, seconds, who=requester())
        elif arguments.duration is not None:
            raise ControlError("bad-request", "write --silence [NAME] --for TIME")
        found = self.client.alerts()
        print(json.dumps(found, indent=2) if arguments.json else show.alerts(found))
        return 0

    def health(self) -> int:
        """Print what is not well."""
        found: list[dict[str, Any]] = self.client.status()
        bad = [item for item in found if not show.well(item)]
        for item in bad:
            show.line(item)
        print(f"{len(found) - len(bad)} of {len(found)} as they should be")
        return EXIT_REFUSED if bad else 0

    def shutdown(self) -> int:
        """End everything."""
        self.client.shutdown(who=requester())
        return 0


def guard(paths: list[str], takeover: bool) -> NoReturn:
    """Become the guardian."""
    from process_supervisor.guardian.guard import main

    configs = [word for path in paths for word in ("--config", path)]
    main([*configs, *(["--takeover"] if takeover else [])])


def main(words: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
    words = sys.argv[1:] if words is None else words
    arguments = plain_status(words) or parsed(words)
    if arguments.command == "run":
        guard(arguments.config, arguments.takeover)
    if arguments.command == "web":
        from process_supervisor.cli import web

        return web.serve(
            arguments.socket, arguments.listen, arguments.password_file, arguments.more
        )
    try:
        if arguments.command == "check-config":
            from process_supervisor.cli.check import check_config

            return check_config(arguments.config, arguments.show)
        status: int = getattr(Commands(arguments), arguments.command)()
        return status
    except ControlError as error:
        print(f"process_supervisor: {visible(error.message)}", file=sys.stderr)
        return EXIT_UNREACHABLE if error.code == "unreachable" else EXIT_REFUSED
    except BrokenPipeError:
        # The reader (head, less) has seen enough; the interpreter must not complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
