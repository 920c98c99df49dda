"""Data services: Debian's own servers, run by the scripts of the images that stand for them.

So they have the same data, users, secrets, hooks and backups as in containers, and a stack may
change between both. A server listens on its stack's loopback address, at its usual port.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from moorage.release.native import Mount, Process
from moorage.render.context import Context, service_user
from moorage.render.host.names import stack_address
from moorage.render.host.process import environment_directory
from moorage.render.rendering import RenderedFile
from moorage.render.service import PlacedService

_IMAGE = re.compile(
    r"(?:(?:docker\.io/)?library/)?([a-z]+)(?::(\d+(?:\.\d+)*)?(?:-?[a-z][\w.-]*)?)?"
)
_ENTRYPOINT = "docker-entrypoint.sh"
# What Debian calls the cluster that comes with the package.
_OF_DEBIAN = "main"
_ANYWHERE = "0.0.0.0"  # what an engine takes for a port without an address


@dataclass(frozen=True)
class Server:
    """A server of Debian 13, as the Dockerfile of the image says that it runs.

    `version` is Debian's, `unit` what its instances are called before the stack's name, `account`
    the image's user with its `home`, where its `data` lies. `directories` are the image's own,
    empty but for `files`, which are of files/images by where they lie; `run` is for its socket.
    `listening` gives the words by which it listens on addresses.
    """

    version: str
    packages: tuple[str, ...]
    unit: str
    account: str
    home: str
    data: str
    command: str
    listening: Callable[[list[str]], tuple[str, ...]]
    run: str
    directories: tuple[str, ...]
    files: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    search: str = ""
    stop_signal: str = "SIGTERM"


# By the name of the image, which is also that of its directory in files/images.
SERVERS = {
    "postgres": Server(
        version="17",
        packages=("postgresql-17",),
        unit="postgresql@17-",
        account="postgres",
        home="/var/lib/postgresql",
        data="/var/lib/postgresql/data",
        command="postgres",
        listening=lambda addresses: ("-c", f"listen_addresses={','.join(addresses)}"),
        run="/run/postgresql",
        directories=("/etc/postgresql", "/etc/postgresql/conf.d"),
        files={
            "/etc/postgresql/defaults.conf": "defaults.conf",
            "/etc/postgresql/overrides.conf": "overrides.conf",
        },
        environment={"PGDATA": "/var/lib/postgresql/data"},
        # Before /usr/bin, where a wrapper looks for clusters that Debian knows of.
        search="/usr/lib/postgresql/17/bin:",
        stop_signal="SIGINT",
    ),
    "mariadb": Server(
        version="11.8",
        packages=("mariadb-server-core", "mariadb-client", "mariadb-backup", "openssl"),
        unit="mariadb@",
        account="mysql",
        home="/var/lib/mysql",
        data="/var/lib/mysql",
        command="mariadbd",
        listening=lambda addresses: (f"--bind-address={','.join(addresses)}",),
        run="/run/mysqld",
        directories=("/etc/mysql", "/etc/mysql/conf.d", "/etc/mysql/mariadb.conf.d"),
        files={
            "/etc/mysql/my.cnf": "mariadb.cnf",
            "/etc/mysql/mariadb.conf.d/10-defaults.cnf": "defaults.cnf",
        },
    ),
    "redis": Server(
        version="8",
        packages=("redis-server",),
        unit="redis-server@",
        account="redis",
        home="/data",
        data="/data",
        command="redis-server",
        listening=lambda addresses: ("--bind", *addresses),
        run="/run/redis",
        directories=("/etc/redis", "/etc/redis/conf.d"),
        files={"/etc/redis/redis.conf": "redis.conf"},
    ),
}


@dataclass(frozen=True)
class Data:
    """A data service on a host; `image` is the directory of files/images that stands for it."""

    image: str

    @property
    def packages(self) -> tuple[str, ...]:
        """What it needs of Debian."""
        return SERVERS[self.image].packages

    @property
    def build(self) -> dict[str, Any]:
        """What its environment holds: the image's files, as `bin`."""
        return {"environment": {"files": {"bin": self.image}}}

    def completed(self, ctx: Context, process: Process, ref: str) -> Process:
        """The process with all that the image would bring; `ref` is that of its environment."""
        service, server = ctx.services[process.service], SERVERS[self.image]
        files = f"{environment_directory(ctx, ref)}/bin"
        command = process.command or (server.command,)
        _check(ctx, service, server, command)
        address = stack_address(ctx.stack.name)
        return replace(
            process,
            command=(_ENTRYPOINT, *command, *server.listening(_addresses(service, address))),
            path=f"{files}:{server.search}{process.path}",
            # Where health checks of the image find it.
            environment={
                **server.environment,
                **process.environment,
                "MOORAGE_LISTEN": address,
            },
            mounts=_mounts(ctx, process, server, files),
            stop_signal=process.stop_signal if service.stop_signal else server.stop_signal,
        )


def data_service(ctx: Context, service: PlacedService) -> Data | None:
    """How Debian runs the service of an image; one that it does not have is reported."""
    image = service.image or ""
    if service.entrypoint is not None:
        message = "without a container its server is run by the image's own"
        ctx.wrong(service.name, "entrypoint", message, "leave it out", service.entrypoint)
    if (found := _stands_for(image)) is not None:
        return Data(found)
    there = ", ".join(f"{name}:{server.version}" for name, server in SERVERS.items())
    match = _IMAGE.fullmatch(image)
    if match and match[1] in SERVERS:
        there = f"{match[1]}:{SERVERS[match[1]].version}"
    message = f"without a container it is Debian's server, and Debian 13 has {there}"
    advice = f"write {there.replace(', ', ' or ')}, or choose another topology"
    ctx.wrong(service.name, "image", message, advice, image)
    return None


def unit_name(ctx: Context, service: str) -> str:
    """What the unit of a data service is called; empty for an own one.

    As Debian calls an instance of its server: the first of a stack is postgresql@17-STACK, another
    one postgresql@17-STACK.SERVICE, which no stack's name can be.
    """
    kinds = {s.name: _stands_for(s.image or "") for s in ctx.services.values() if s.is_data}
    kind = kinds.get(service)
    if kind is None:
        return ""
    first = next(name for name, other in kinds.items() if other == kind)
    return f"{SERVERS[kind].unit}{ctx.stack.name}" + ("" if service == first else f".{service}")


def account_files(ctx: Context) -> dict[str, RenderedFile]:
    """The stack's users as its data services see them; formats: passwd(5), group(5).

    The servers and their scripts know each other by the names that users have in the images.
    """
    users = ["root:x:0:0:root:/root:/usr/sbin/nologin"]
    groups = ["root:x:0:"]
    for service in ctx.services.values():
        kind, user = _stands_for(service.image or ""), service_user(service)
        if service.is_data and kind and user:
            server = SERVERS[kind]
            users.append(f"{server.account}:x:{user[0]}:{user[1]}::{server.home}:/usr/sbin/nologin")
            groups.append(f"{server.account}:x:{user[1]}:")
    if len(users) == 1:
        return {}
    texts = {"passwd": users, "group": groups}
    return {
        name: RenderedFile(
            "".join(f"{line}\n" for line in dict.fromkeys(lines)),
            install_as=_accounts_path(ctx, name),
        )
        for name, lines in texts.items()
    }


def _accounts_path(ctx: Context, name: str) -> str:
    return f"{ctx.settings.base_dir}/config/{name}"


def _stands_for(image: str) -> str | None:
    match = _IMAGE.fullmatch(image)
    server = SERVERS.get(match[1]) if match else None
    if match is None or server is None:
        return None
    # Debian says which release of a version there is; mariadb:11 is any 11.
    asked = match[2] or server.version
    return match[1] if f"{server.version}.".startswith(f"{asked}.") else None


def _check(ctx: Context, service: PlacedService, server: Server, command: tuple[str, ...]) -> None:
    if ctx.stack.name == _OF_DEBIAN:
        message = f"{server.unit}{_OF_DEBIAN} is a server that Debian sets up by itself"
        ctx.wrong("", "name", message, "give the stack another name", ctx.stack.name)
    if command[0] != server.command and not command[0].startswith("-"):
        message = "nothing tells it where to listen"
        advice = f"begin it with {server.command}, or leave it out"
        ctx.wrong(service.name, "command", message, advice, command)
    if not any(f"{mount.target}/".startswith(f"{server.home}/") for mount in service.volumes):
        advice = f"mount a volume at {server.data}"
        ctx.wrong(service.name, "volumes", "without a container its data has no place", advice)


def _addresses(service: PlacedService, own: str) -> list[str]:
    """Where it listens: on the stack's address, and where the operator publishes its port."""
    asked = [port.host_ip or _ANYWHERE for port in service.direct_ports if port.published]
    # That one holds all others.
    return [_ANYWHERE] if _ANYWHERE in asked else list(dict.fromkeys([own, *asked]))


def _mounts(ctx: Context, process: Process, server: Server, files: str) -> tuple[Mount, ...]:
    """What the process mounts, and what the image has where it mounts nothing."""
    own = {
        mount.target: mount
        for mount in (
            *(Mount(path, read_only=True, options="mode=0755") for path in server.directories),
            *(Mount(target, f"{files}/{name}", True) for target, name in server.files.items()),
            *(Mount(f"/etc/{n}", _accounts_path(ctx, n), True) for n in ("passwd", "group")),
            Mount(server.run, options="size=1m,mode=1777"),
        )
    }
    given = {mount.target.rstrip("/"): mount for mount in process.mounts}
    return tuple({**own, **given}.values())
