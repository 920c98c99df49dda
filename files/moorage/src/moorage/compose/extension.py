"""The keys of `x-moorage`: what Compose lacks, and the one place where they are defined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from moorage.compose.parts import Build
from moorage.settings.stack import Route

EXTENSION = "x-moorage"
DEFAULT_SECRET_LENGTH = 40
# Shorter generated secrets are refused: they are read by programs, never typed.
MIN_SECRET_LENGTH = 32


def _set(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}


@dataclass(frozen=True)
class ServiceBackup:
    """`backup` of a service: its data is dumped, or its files are good enough, or it has none."""

    how: Literal["dump", "files", "none"]
    dump: tuple[str, ...] = ()
    restore: tuple[str, ...] = ()
    restore_tables: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | Literal[False]) -> Self:
        """Read the validated form."""
        if data is False:
            return cls("none")
        if "dump" not in data:
            return cls("files")
        return cls("dump", **{key: tuple(argv) for key, argv in data.items()})

    def to_dict(self) -> dict[str, Any] | Literal[False]:
        """Write it as it is written in the file."""
        if self.how == "dump":
            commands = {"dump": self.dump, "restore": self.restore}
            commands |= {"restore_tables": self.restore_tables} if self.restore_tables else {}
            return {key: list(argv) for key, argv in commands.items()}
        return {"files": True} if self.how == "files" else False


@dataclass(frozen=True)
class LocalExtension:
    """`host.local`: what is other on a developer's machine, where no data service runs.

    Of a stack: `without` are the data services that it can do without there, and `variables` those
    of the Compose file that have another default. `environment` goes before all else that a service
    gets. `reload`, of a service, is the variable that names it a file: when that is touched, it
    takes in changed code by itself, without being started anew.
    """

    without: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    reload: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the validated form."""
        return cls(**{**data, "without": tuple(data.get("without", ()))})

    def over(self, usual: LocalExtension) -> LocalExtension:
        """Return the stack's `usual` one with what this one says."""
        environment = {**usual.environment, **self.environment}
        return LocalExtension(usual.without, usual.variables, environment, self.reload)

    def to_dict(self) -> dict[str, Any]:
        """Write what is set."""
        data = {
            "without": list(self.without),
            "variables": dict(self.variables),
            "environment": dict(self.environment),
            "reload": self.reload,
        }
        return {key: value for key, value in data.items() if value}


@dataclass(frozen=True)
class HostExtension:
    """`host`: what a service needs where it runs without a container; of a stack, all of them.

    `packages` are Debian's. `sources` are directories beside the Compose file that come into the
    release, by the names that they have there, and are Python's path in that order; `requirements`
    is what pip installs for them, with hashes. `command` and `environment` take the place of the
    service's own, or are added to it. `uwsgi` are options of uWSGI, which reads them as variables.
    """

    packages: tuple[str, ...] = ()
    requirements: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    uwsgi: Mapping[str, str] = field(default_factory=dict)
    local: LocalExtension = LocalExtension()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the validated form."""
        command = data.get("command")
        made = {
            "packages": tuple(data.get("packages", ())),
            "command": None if command is None else tuple(command),
            "local": LocalExtension.from_dict(data.get("local", {})),
        }
        return cls(**{**data, **made})

    def over(self, usual: HostExtension) -> HostExtension:
        """Return this one where it says something, and the stack's `usual` one elsewhere."""
        return HostExtension(
            tuple(dict.fromkeys((*usual.packages, *self.packages))),
            self.requirements or usual.requirements,
            self.sources or usual.sources,
            self.command,
            {**usual.environment, **self.environment},
            {**usual.uwsgi, **self.uwsgi},
            self.local.over(usual.local),
        )

    def to_dict(self) -> dict[str, Any]:
        """Write what is set."""
        data = {
            "packages": list(self.packages),
            "requirements": self.requirements,
            "sources": dict(self.sources),
            "command": None if self.command is None else list(self.command),
            "environment": dict(self.environment),
            "uwsgi": dict(self.uwsgi),
            "local": self.local.to_dict(),
        }
        return {key: value for key, value in data.items() if value}


@dataclass(frozen=True)
class ServiceExtension:
    """`x-moorage` of a service.

    `singleton`: two instances must never run at the same time, so a rollout stops the old one
    first. `on_demand`: it is there although no profile asks for it, in `unified` too, and a person
    starts it. `restart_*`: the supervisor's restart policy (times in seconds). `unhealthy`: what
    happens to a process that fails its health check. `user`: takes the place of `user`.
    `health_url`: a URL on this machine whose answer says the same as the `healthcheck` test; the
    supervisor asks it itself, which costs no process. `edge`: whether its published TCP ports are
    reached through the edge; None: those of own services are, those of ready images are not.
    `probe_paths`: what a rollout asks it for all the while; None leaves the choice to the renderer.
    `backup`: how its data is saved; None: as its image says. `host`: what it needs to run without a
    container.
    """

    singleton: bool = False
    on_demand: bool = False
    restart_limit: int | None = None
    restart_window: float | None = None
    restart_delay: float | None = None
    restart_delay_max: float | None = None
    unhealthy: Literal["restart", "ignore"] = "restart"
    user: str | None = None
    health_url: str | None = None
    edge: bool | None = None
    probe_paths: tuple[str, ...] | None = None
    backup: ServiceBackup | None = None
    host: HostExtension = HostExtension()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the validated form."""
        paths, backup = data.get("probe_paths"), data.get("backup")
        made = {
            "probe_paths": None if paths is None else tuple(paths),
            "backup": None if backup is None else ServiceBackup.from_dict(backup),
            "host": HostExtension.from_dict(data.get("host", {})),
        }
        return cls(**{**data, **made})

    def to_dict(self) -> dict[str, Any]:
        """Write what differs from the defaults."""
        return _set(
            {
                "singleton": self.singleton or None,
                "on_demand": self.on_demand or None,
                "restart_limit": self.restart_limit,
                "restart_window": self.restart_window,
                "restart_delay": self.restart_delay,
                "restart_delay_max": self.restart_delay_max,
                "unhealthy": None if self.unhealthy == "restart" else self.unhealthy,
                "user": self.user,
                "health_url": self.health_url,
                "edge": self.edge,
                "probe_paths": None if self.probe_paths is None else list(self.probe_paths),
                "backup": None if self.backup is None else self.backup.to_dict(),
                "host": self.host.to_dict() or None,
            }
        )


@dataclass(frozen=True)
class UnifiedExtension:
    """`x-moorage.unified`: the container that holds all of the stack's own services."""

    build: Build | None = None
    user: str | None = None
    data_dir: str = "/app/data"
    log_dir: str = "/app/logs"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the validated form."""
        build = data.get("build")
        rest = {key: value for key, value in data.items() if key != "build"}
        return cls(build=None if build is None else Build.from_dict(build), **rest)

    def to_dict(self) -> dict[str, Any]:
        """Write it in full, so that a change of a default shows as a change."""
        build = None if self.build is None else self.build.to_dict()
        data = {"build": build, "user": self.user}
        return {**_set(data), "data_dir": self.data_dir, "log_dir": self.log_dir}


@dataclass(frozen=True)
class Hook:
    """A command that a rollout runs in the running container of a service.

    With `save_as` its standard output becomes a file of that name among the stack's backups.
    `timeout_seconds` None: the stack's setting.
    """

    name: str
    service: str
    command: tuple[str, ...]
    save_as: str | None = None
    timeout_seconds: float | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the validated form."""
        return cls(**{**data, "command": tuple(data["command"])})

    def to_dict(self) -> dict[str, Any]:
        """Write what is set."""
        return _set(
            {
                "name": self.name,
                "service": self.service,
                "command": list(self.command),
                "save_as": self.save_as,
                "timeout_seconds": self.timeout_seconds,
            }
        )


@dataclass(frozen=True)
class Hooks:
    """What a rollout runs before anything is changed, and after all of it went well."""

    before: tuple[Hook, ...] = ()
    after: tuple[Hook, ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the validated form."""
        return cls(*(tuple(Hook.from_dict(h) for h in data.get(k, [])) for k in HOOK_MOMENTS))

    def to_dict(self) -> dict[str, Any]:
        """Write the moments that have any."""
        found = {key: [hook.to_dict() for hook in getattr(self, key)] for key in HOOK_MOMENTS}
        return {key: hooks for key, hooks in found.items() if hooks}


HOOK_MOMENTS = ("before", "after")


@dataclass(frozen=True)
class Migrations:
    """The one-off service that migrates, and the command that says what it would do."""

    service: str
    plan: tuple[str, ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the validated form."""
        return cls(data["service"], tuple(data["plan"]))

    def to_dict(self) -> dict[str, Any]:
        """Write it as plain data."""
        return {"service": self.service, "plan": list(self.plan)}


@dataclass(frozen=True)
class StackExtension:
    """`x-moorage` at the top of the file."""

    unified: UnifiedExtension | None = None
    host: HostExtension = HostExtension()
    routes: tuple[Route, ...] = ()
    hooks: Hooks = field(default_factory=Hooks)
    migrations: Migrations | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the validated form."""
        unified, migrations = data.get("unified"), data.get("migrations")
        return cls(
            None if unified is None else UnifiedExtension.from_dict(unified),
            HostExtension.from_dict(data.get("host", {})),
            tuple(Route(**route) for route in data.get("routes", [])),
            Hooks.from_dict(data.get("hooks", {})),
            None if migrations is None else Migrations.from_dict(migrations),
        )

    def to_dict(self) -> dict[str, Any]:
        """Write what is set."""
        data = {
            "unified": None if self.unified is None else self.unified.to_dict(),
            "host": self.host.to_dict(),
            "routes": [route.to_dict() for route in self.routes],
            "hooks": self.hooks.to_dict(),
            "migrations": None if self.migrations is None else self.migrations.to_dict(),
        }
        return {key: value for key, value in data.items() if value}


@dataclass(frozen=True)
class SecretExtension:
    """`x-moorage` of a secret: generated at the first deploy, or allowed to be absent."""

    generate: int | None = None
    optional: bool = False

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the validated form."""
        generate = data.get("generate")
        length = None if generate is None else generate.get("length", DEFAULT_SECRET_LENGTH)
        return cls(length, data.get("optional", False))

    def to_dict(self) -> dict[str, Any]:
        """Write what is set."""
        generate = None if self.generate is None else {"length": self.generate}
        return _set({"generate": generate, "optional": self.optional or None})


@dataclass(frozen=True)
class VolumeExtension:
    """`x-moorage` of a volume: owner ("uid:gid") and mode of its directory on the host."""

    owner: str | None = None
    mode: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the validated form."""
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        """Write what is set."""
        return _set({"owner": self.owner, "mode": self.mode})
