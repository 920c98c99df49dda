"""From services to what Supervisor runs: command, environment, order, and how to ask for health."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from devtool import shell
from devtool.rootless import environments, secretfiles
from devtool.rootless.choice import extension
from devtool.rootless.places import Places, mapped, reached, rewritten
from devtool.rootless.ports import LOOPBACK, filled
from devtool.ui import Problem, step
from moorage.compose import Service, Stack

_HEALTHY = "service_healthy"
# The engine's, where the file says nothing.
_GRACE, _TIMEOUT = 10.0, 30.0
_AUTORESTART = {"no": "false", "on-failure": "unexpected"}
_PORT = re.compile(r":(\d+)")
Ports = Mapping[str, Mapping[int, int]]


class CannotRun(Exception):
    """A service lacks something on this machine; the message says what."""


@dataclass(frozen=True)
class Check:
    """How a process is asked whether it is well: by a URL, else by a command. Times in seconds."""

    url: str
    command: tuple[str, ...]
    timeout: float
    start_period: float


@dataclass(frozen=True)
class Program:
    """A service as a program of Supervisor's; its processes have numbers where it is `numbered`.

    `waits_for` are services that have to be healthy first. `reload` is a file: touched, the code of
    `sources` is taken in. `builds` make the program anew from them. `search` are directories of
    programs that were made for it. `address` is where a browser reaches it.
    """

    service: str
    name: str
    group: str
    count: int
    numbered: bool
    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    autorestart: str
    stop_signal: str
    stop_seconds: int
    check: Check | None
    waits_for: tuple[str, ...]
    sources: tuple[Path, ...]
    search: tuple[Path, ...]
    builds: tuple[tuple[str, ...], ...]
    reload: Path | None
    address: str

    @property
    def processes(self) -> list[str]:
        """The names of its processes."""
        if not self.numbered:
            return [self.name]
        return [f"{self.name}_{number:02d}" for number in range(self.count)]

    def variables(self, process: str) -> dict[str, str]:
        """What one of its processes has in its environment."""
        return {**self.environment, "PROCESS_SUPERVISOR_NAME": process}


def make(places: Places, stack: Stack, service: Service, ports: Ports) -> Program:
    """Return the program of a service, with everything made that it is run with.

    `ports` are those of this machine, by service and port of the container. Raises CannotRun, and
    Problem where an environment cannot be made.
    """
    host, mine = extension(stack, service), ports[service.name]
    name = f"{stack.name}_{service.name}"
    paths = mapped(places, stack, service)
    addresses = [(other, *pair) for other, found in ports.items() for pair in found.items()]

    def here(text: str) -> str:
        return reached(rewritten(filled(text, mine), paths), addresses)

    if lacking := secretfiles.ensure(places, stack, service):
        raise CannotRun(lacking)
    sources = _sources(stack, service)
    builds = _built(places, sources)
    search = [places.base / "bin"] if builds else []
    if host.requirements:
        search.append(environments.python(places, Path(stack.directory, host.requirements)))
    environment = _environment(places, stack, service, search, sources, here)
    reload = _reload_file(places, name) if host.local.reload else None
    if host.local.reload:
        environment[host.local.reload] = str(reload)
    words = host.command or (*(service.entrypoint or ()), *(service.command or ()))
    restart = (service.restart or "no").partition(":")[0]
    grace = service.stop_grace_period
    return Program(
        service=service.name,
        name=name,
        group=stack.name,
        count=service.replicas,
        numbered=service.replicas > 1 or "replicas" in (service.options.get("deploy") or {}),
        command=_found([here(word) for word in words], environment["PATH"]),
        directory=next(iter(sources.values()), places.data),
        environment=environment,
        autorestart=_AUTORESTART.get(restart, "true"),
        stop_signal=_signal(service.stop_signal),
        stop_seconds=round(_GRACE if grace is None else grace),
        check=_check(service, mine, here),
        waits_for=tuple(
            other
            for other, dependency in service.depends_on.items()
            if dependency.condition == _HEALTHY and other in ports
        ),
        sources=tuple(sources.values()),
        search=tuple(search),
        builds=tuple(builds),
        reload=reload,
        address=" ".join(
            f"http://{LOOPBACK}:{mine[p.target]}" for p in service.ports if p.target in mine
        ),
    )


def _sources(stack: Stack, service: Service) -> dict[str, Path]:
    named = extension(stack, service).sources
    found = {name: Path(stack.directory, path).resolve() for name, path in named.items()}
    for path in found.values():
        if not path.is_dir():
            raise CannotRun(f"its sources are not there: no directory {path}")
    return found


def _built(places: Places, sources: Mapping[str, Path]) -> list[tuple[str, ...]]:
    """Build the sources that are written in Go, as programs of their names."""
    builds = []
    for name, source in sources.items():
        if not (source / "go.mod").is_file():
            continue
        target = places.base / "bin" / name
        try:
            argv = environments.go_build(source, target)
            if target.exists():
                shell.logged("go-build", argv)
            else:
                with step(f"Building {name}"):
                    shell.logged("go-build", argv)
        except Problem as problem:
            raise CannotRun(" ".join((problem.message, *problem.hints))) from None
        builds.append(argv)
    return builds


def _environment(
    places: Places,
    stack: Stack,
    service: Service,
    search: list[Path],
    sources: Mapping[str, Path],
    here: Callable[[str], str],
) -> dict[str, str]:
    host = extension(stack, service)
    own = {name: value for name, value in service.environment.items() if value is not None}
    uwsgi = {f"UWSGI_{k.upper().replace('-', '_')}": value for k, value in host.uwsgi.items()}
    given = {**uwsgi, **own, **host.environment, **host.local.environment}
    return {
        "PATH": ":".join([*map(str, search), os.environ.get("PATH", os.defpath)]),
        "TMPDIR": str(places.temporary),
        **({"PYTHONPATH": ":".join(map(str, sources.values()))} if sources else {}),
        **{name: here(value) for name, value in given.items()},
    }


def _reload_file(places: Places, name: str) -> Path:
    path = places.base / "reload" / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    return path


def _found(command: list[str], search: str) -> tuple[str, ...]:
    program = shutil.which(command[0], path=search)
    if program is None:
        raise CannotRun(f"there is no program {command[0]} on this machine")
    return (program, *command[1:])


def _signal(name: str | None) -> str:
    known = (name or "TERM").removeprefix("SIG")
    return signal.Signals[f"SIG{known}"].name.removeprefix("SIG")


def _check(service: Service, mine: Mapping[int, int], here: Callable[[str], str]) -> Check | None:
    found = service.healthcheck
    if found is None or not found.active or not found.test:
        return None
    kind, *words = found.test
    command = ["/bin/sh", "-c", *words] if kind == "CMD-SHELL" else words
    # The URL names the service's own port, as a container has it.
    url = _PORT.sub(lambda m: f":{mine.get(int(m[1]), m[1])}", service.moorage.health_url or "")
    return Check(
        url,
        tuple(map(here, command)),
        _TIMEOUT if found.timeout is None else found.timeout,
        found.start_period or 0.0,
    )
