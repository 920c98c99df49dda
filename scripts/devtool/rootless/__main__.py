"""`python -m devtool.rootless up|down STACK`, as `make local` and `make local-down` call it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import xmlrpc.client
from collections.abc import Sequence
from pathlib import Path

from devtool.paths import ROOT
from devtool.rootless import configuration, daemon, environments, health, ports, programs
from devtool.rootless.choice import Choice, choose
from devtool.rootless.places import Places
from devtool.rootless.programs import CannotRun, Program
from devtool.ui import Problem, say, step
from moorage.common.files import write_atomically
from moorage.common.lock import Locked, hold
from moorage.compose import ComposeError, Stack, load_stack
from moorage.compose.dotenv import parse_dotenv
from moorage.compose.load import find_file

_STACKS = ROOT / "files" / "stacks"
_WAIT_SECONDS = 120.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(prog="make local", description=__doc__)
    parser.add_argument("command", choices=("up", "down"))
    parser.add_argument("stack", nargs="?", default="")
    arguments = parser.parse_args(argv)
    try:
        directory = _directory(arguments.stack)
        places = Places.of(directory.name)
        me = (f"make local STACK={directory.name}", f"process {os.getpid()}")
        with hold(places.base / ".lock", *me, wait_seconds=_WAIT_SECONDS):
            return _up(directory, places) if arguments.command == "up" else _down(places)
    except Problem as problem:
        problem.show()
    except (ComposeError, Locked) as error:
        print(f"error: {error}", file=sys.stderr)
    except xmlrpc.client.Fault as fault:
        print(f"error: Supervisor refuses: {fault.faultString}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


def _directory(name: str) -> Path:
    known = sorted(path.name for path in _STACKS.iterdir() if path.is_dir())
    if name not in known:
        what = f"there is no stack {name}" if name else "which stack?"
        raise Problem(what, *(f"make local STACK={stack}" for stack in known))
    return _STACKS / name


def _up(directory: Path, places: Places) -> int:
    stack = _loaded(directory)
    choice = choose(stack)
    for name, why in choice.why_not.items():
        say(f"    {name} does not run: {why}")
    if not (runs := daemon.running(places)):
        daemon.end_strays(places)
        places.clear()
    mine = ports.choose(places.base / "ports.json", choice.services, running=runs)
    once, lasting = _programs(places, stack, choice, mine)
    if not lasting:
        hint = f"On a host of the group {stack.name} all of it does (docs/start.md)."
        raise Problem(f"nothing of {stack.name} can run here", hint)
    for program in once:
        _complete(program)
    write_atomically(places.watched, configuration.watched(places, lasting))
    write_atomically(places.conf, configuration.render(places, stack.name, lasting))
    environments.supervisor()
    with step("Supervisor"):
        if runs:
            daemon.update(places)
        else:
            daemon.start(places)
        _begin(places, lasting)
    environments.tidy(places, {path for p in (*once, *lasting) for path in p.search})
    secrets = {g.source for p in (*once, *lasting) for g in stack.services[p.service].secrets}
    _tell(places, directory.name, "admin_password" in secrets)
    return 0


def _loaded(directory: Path) -> Stack:
    """The stack as it is here: the caller's variables go before .env, that before our defaults."""
    kept = ports.kept_variables(find_file(directory).read_text(encoding="utf-8"))
    given = {**os.environ, **kept}
    usual = load_stack(directory, environment=given).moorage.host.local.variables
    dotenv = directory / ".env"
    known = parse_dotenv(dotenv.read_text(encoding="utf-8"), given) if dotenv.is_file() else {}
    ours = {name: value for name, value in usual.items() if name not in known}
    return load_stack(directory, environment={**ours, **given})


def _programs(
    places: Places, stack: Stack, choice: Choice, mine: programs.Ports
) -> tuple[list[Program], list[Program]]:
    """What runs to its end first, and what goes on running."""
    once: list[Program] = []
    lasting: list[Program] = []
    failed: set[str] = set()
    for service in choice.services:
        try:
            if lacking := sorted(failed & service.depends_on.keys()):
                raise CannotRun(f"needs {lacking[0]}, which does not run here")
            program = programs.make(places, stack, service, mine)
        except CannotRun as error:
            say(f"    {service.name} does not run: {error}")
            failed.add(service.name)
        else:
            (once if service.name in choice.one_offs else lasting).append(program)
    return once, lasting


def _complete(program: Program) -> None:
    """Run a one-off to its end; raises Problem with what it has printed when it fails."""
    with step(program.service):
        done = subprocess.run(
            program.command,
            env=program.variables(program.name),
            cwd=program.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            check=False,
        )
        lines = done.stdout.splitlines()
        if done.returncode != 0:
            raise Problem(f"{program.service} ended with status {done.returncode}", *lines[-20:])
        for line in lines[-3:]:
            say(f"    {line}")


def _begin(places: Places, lasting: Sequence[Program]) -> None:
    """Start what does not run yet, each after what it waits for, and say what can be used."""
    known = {program.service: program for program in lasting}
    for program in lasting:
        for other in program.waits_for:
            if other in known:
                health.wait(places, known[other])
        for process in program.processes:
            daemon.begin(places, f"{program.group}:{process}")
    daemon.begin(places, "watch")
    for program in lasting:
        health.wait(places, program)
        health.tell(program)


def _tell(places: Places, name: str, signs_in: bool) -> None:
    control = f"{ROOT}/.local/supervisorctl -c {places.conf}"
    say("")
    if signs_in:
        say(f"Sign in as admin; the password: {places.secrets}/admin_password")
    say(f"Look at it:  {control} status")
    say(f"Its logs:    {places.logs}/")
    say(f"Stop it:     make -C {ROOT} local-down STACK={name}")


def _down(places: Places) -> int:
    if daemon.stop(places):
        say(f"    stopped; data, secrets and logs stay in {places.base}")
    else:
        say("    nothing runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
