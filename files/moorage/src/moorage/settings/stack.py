"""Settings of one stack: how it is to run on its hosts, and how it gets there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from math import isfinite
from typing import Any, Self

from moorage.settings.edge import Options
from moorage.settings.readers import (
    DOMAIN,
    NOTHING,
    PORT,
    ROUTE_PATH,
    SERVICE,
    URL_PATH,
    USER,
    Unusable,
    address,
    list_of,
    map_of,
    matching,
    number,
    one_of,
    record,
    size,
    size_text,
    whole,
    words,
)
from moorage.settings.table import parse, setting, table_of


@dataclass(frozen=True)
class Limits:
    """Limits of one container: memory in bytes, cpus as a number of cores, pids."""

    memory: int | None = setting(None, lambda value: _unless_none(size(1), value), "memory")
    cpus: float | None = setting(None, lambda value: _unless_none(number(0.001), value), "cores")
    pids: int | None = setting(None, lambda value: _unless_none(whole(1), value), "processes")


def _unless_none(read: Any, value: Any) -> Any:
    return None if value is None else read(value)


def _status(value: Any) -> tuple[int, int]:
    code = whole(100, 599)
    if isinstance(value, (list, tuple)):
        first, last = list_of(code)(value) if len(value) == 2 else (1, 0)
    else:
        first = last = code(value)
    if first > last:
        raise Unusable("must be a status code, or the first and the last one: [200, 399]", value)
    return first, last


@dataclass(frozen=True)
class Target:
    """What the prober asks for; `port` is the container's, None the only one it can be.

    `expect`: the first and the last status code that is well.
    """

    service: str
    path: str
    port: int | None = None
    expect: tuple[int, int] = (200, 399)


@dataclass(frozen=True)
class Route:
    """A path of the stack's domains and the service that answers it.

    `port` is the container's; None stands for the only one that it can be.
    """

    path: str
    service: str
    port: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Write what is set."""
        return {name: value for name, value in asdict(self).items() if value is not None}


_TARGET = record(
    {"service": SERVICE, "path": URL_PATH, "port": PORT, "expect": _status}, ("service", "path")
)
_ROUTE = record({"path": ROUTE_PATH, "service": SERVICE, "port": PORT}, ("path", "service"))


@dataclass(frozen=True)
class ProbeOptions:
    """How a rollout is watched; more than it allows, and the previous release is put back."""

    rate: float = setting(50.0, number(0.1, 10_000), "requests a second, over all targets")
    timeout_seconds: float = setting(2.0, number(0.01), "after which a request has failed")
    method: str = setting(
        "GET",
        one_of("GET", "HEAD", "OPTIONS"),
        "or `HEAD`, `OPTIONS`; nothing that changes anything is sent",
    )
    budget: int = setting(0, whole(), "how many may fail")
    p99_factor: float = setting(
        5.0,
        number(1),
        "too slow is a 99th percentile of more than so many times that of before, and of more "
        "than `p99_floor_seconds`",
    )
    p99_floor_seconds: float = setting(1.0, number(), "below which nothing is too slow")
    before_seconds: float = setting(0.4, number(), 'how long "before" is measured')
    targets: tuple[Target, ...] | None = setting(
        None,
        lambda value: tuple(Target(**entry) for entry in list_of(_TARGET)(value)),
        "`[{service: web, path: /health, port: 5000, expect: [200, 399]}]`; `expect` is one "
        "status code or the first and the last; default: the service's `probe_paths`, else its "
        "`health_url` and `/`",
        shown="by the Compose file",
    )


def _variable(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) or (isinstance(value, (int, float)) and isfinite(value)):
        return str(value)
    raise Unusable("variables must be texts or numbers", value)


def _interpolated(value: Any) -> str:
    # Ansible has turned `yes` and 0o17 into what YAML makes of them: only text and numbers are
    # certain to mean what the operator typed.
    if isinstance(value, bool):
        raise Unusable("must be a text; write the value in quotes", value)
    try:
        return _variable(value)
    except ValueError:
        raise Unusable("must be a text; write the value in quotes", value) from None


def _kind(value: Any) -> str:
    """What YAML has made of a value, in words."""
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "true or false"),
        ((int, float), "a number"),
        (str, "a text"),
        (date, "a date"),
        (Mapping, "a mapping"),
        ((list, tuple), "a list"),
        (type(None), "empty"),
    ]
    return next((word for kind, word in kinds if isinstance(value, kind)), "something else")


def _secret(value: Any) -> str:
    # No value of a secret is shown.
    if not isinstance(value, str):
        message = f"must be a text, and is {_kind(value)}"
        raise Unusable(message, NOTHING, "write the value in quotes")
    if not value.isascii() or "\0" in value:
        raise Unusable("has characters that are not ASCII")
    return value


def _secrets(value: Any) -> tuple[str, ...]:
    """The names alone: values of secrets never come near a plan."""
    if value is not None and not isinstance(value, Mapping):
        raise Unusable(f"must be a mapping of names to texts, and is {_kind(value)}")
    return tuple(sorted(map_of(_secret)(value or {})))


def batch(value: Any) -> int | str:
    """How many hosts are updated at a time: a number, or a percentage of all."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)%", value)):
        if 1 <= int(match[1]) <= 100:
            return value
        raise Unusable("must be a percentage from 1% to 100%", value)
    try:
        return int(whole(1)(value))
    except ValueError:
        raise Unusable("must be a number of hosts or a percentage such as 25%", value) from None


def _domains(value: Any) -> tuple[str, ...]:
    found: tuple[str, ...] = list_of(DOMAIN)(value)
    if len(set(found)) < len(found):
        raise Unusable("names one domain twice", value)
    return found


# A part of an image's reference or of a path, where a Compose file uses it so.
VERSION = matching(r"[A-Za-z0-9_][A-Za-z0-9._+/-]{0,127}|", 'a version in quotes, such as "1.4.0"')
# A slip of the keyboard must not fill a host; each has two ports behind the edge, of ten thousand.
REPLICAS = whole(1, 100)
_NAMES = list_of(matching(r"(?s:.*)", "a name"), "a list of names")


@dataclass(frozen=True)
class Settings:
    """How one stack is to run on its hosts.

    The last ones are worked out: `base_dir`, `run_dir` and `secrets_dir` are /opt/STACK,
    /run/moorage/STACK and BASE/secrets by default; `image_refs` has the final reference of a plain
    image's name or of a build's key; `behind_edge` says whether the host has an edge that owns the
    stack's public ports, and `loopback_ports` those behind it, by the names that
    `Rendering.loopback` lists (without any, the stack is taken to be alone on its host);
    `image_commands` has what Moorage may run in an image of its own, by the image's name.
    """

    topology: str = setting(
        "unified",
        words(),
        "how it runs: `unified`, `containers` or `host`; [which one](topologies.md#which-one)",
    )
    process_manager: str = setting(
        "systemd",
        one_of("systemd", "supervisor", "own"),
        "who runs the processes of a stack without containers: `systemd`, `supervisor` (Debian's) "
        "or `own` (the supervisor that `unified` has)",
    )
    variables: dict[str, str] = setting(
        {},
        map_of(_interpolated, "a mapping of names to values"),
        "values for `${NAME}` in the Compose file, as texts: quote numbers and `yes`",
    )
    environment: dict[str, dict[str, str]] = setting(
        {},
        map_of(map_of(_variable)),
        "variables added to a service's environment: `{scraper: {LOG_LEVEL: debug}}`",
    )
    publish: dict[str, tuple[str, ...]] = setting(
        {},
        map_of(list_of(words(), "a list of texts")),
        "by service, what takes the place of its published ports: "
        '`{mysql: ["192.0.2.10:3306:3306"]}`; an empty list publishes nothing',
    )
    limits: dict[str, Limits] = setting(
        {},
        map_of(table_of(Limits)),
        "by service `memory`, `cpus`, `pids`; `unified` means the unified container: "
        "`{unified: {memory: 1g, cpus: 1.5}}`; without `pids` anywhere it is 4096",
    )
    replicas: dict[str, int] = setting(
        {},
        map_of(REPLICAS),
        "by service, how often it runs on each host, in place of the Compose file's "
        "`deploy.replicas`: `{app: 3, worker: 2}`; "
        "[more of a service](operations.md#more-of-a-service)",
    )
    secrets: tuple[str, ...] = setting(
        (),
        _secrets,
        "values of secrets by name; a secret that is not named here is generated where the "
        "Compose file allows it",
        shown="not set",
    )
    profiles: tuple[str, ...] = setting((), _NAMES, "Compose profiles that are switched on")
    user: str = setting(
        "10001:10001",
        USER,
        "numeric uid:gid of services that name none; it needs no account. Where it is not set, "
        "the stack's name gives a number from 20000 to 59999, on all hosts the same; a stack that "
        "a host had as 10001 (or whose `STACK_user` you take away) is 10001 there. A number that "
        "another stack or an account of the host has is refused. A change takes the data along: "
        "[updates.md](updates.md#directories-that-change-hands)",
        shown="one of its own",
    )
    volume_owners: dict[str, str] = setting(
        {},
        map_of(USER),
        'by volume, whose it is: `{uploads: "1000:1000"}`, in place of what the Compose file and '
        "the images say; [volumes](compose.md#volumes)",
    )
    dns: tuple[str, ...] = setting(
        (), list_of(address), "name servers of every container; none for the engine's"
    )
    log_max_size: str = setting(
        "10m", size_text, "size of one file of each container's own log (json-file)"
    )
    log_max_files: int = setting(3, whole(), "how many files of it are kept")
    # 16 MiB a stream: one talkative process fits on a small disk, and tells of some hours.
    process_log_max_bytes: int = setting(
        4 * 1024**2,
        whole(),
        "size at which the supervisor itself rotates a process's log (each stream of it); 0 "
        "leaves that to logrotate",
    )
    process_log_backups: int = setting(3, whole(), "how many files it keeps then")
    storage_encryption: str = setting(
        "none",
        one_of("none", "gocryptfs"),
        "or `gocryptfs`: what lies in `/opt/STACK/data`, the volumes above all, is encrypted on "
        "the disk; for a stack without data yet. What that keeps from whom, and how a stack with "
        "data comes to it: [security.md](security.md#encryption-at-rest)",
    )
    domains: tuple[str, ...] = setting(
        (),
        _domains,
        "names of the stack on ports 80 and 443 of the edge: `[www.example.com]`, in small letters",
    )
    routes: tuple[Route, ...] | None = setting(
        None,
        lambda value: tuple(Route(**entry) for entry in list_of(_ROUTE)(value)),
        "which service answers which path of the domains: `[{path: /, service: web}, "
        "{path: /api/, service: api, port: 7000}]`; `port` is the container's",
        shown="the Compose file's",
    )
    edge: Options = setting(
        Options(),
        table_of(Options),
        "how the edge treats its visitors; [below](#visitors)",
        shown="`{}`",
    )
    probe: ProbeOptions = setting(
        ProbeOptions(),
        table_of(ProbeOptions),
        "how an update is watched; [below](#updates)",
        shown="`{}`",
    )
    drain_seconds: float = setting(
        10.0,
        number(),
        "how long requests that are under way may take to end before the old container is stopped",
    )
    monitor_seconds: float = setting(
        0.5, number(), "how long the new one is watched before the old one goes"
    )
    hook_timeout_seconds: float = setting(
        600.0,
        number(0.001),
        "what a hook may take that names no time of its own, and a service that has to end before "
        "others start, such as a migration",
    )
    version: str = setting(
        "",
        VERSION,
        "what the release is called, normally by `-e version=`; also `${VERSION}` in the Compose "
        "file",
    )
    batch: int | str = setting(
        1, batch, "how many hosts are updated at a time: a number, or a percentage such as `25%`"
    )
    keep_releases: int = setting(5, whole(1), "releases kept on the host")
    start_timeout_seconds: int = setting(
        300, whole(1), "what the engine may take to start containers"
    )
    gate_timeout_seconds: int = setting(
        120,
        whole(1),
        "within which every service must be healthy; then the previous release is put back",
    )
    image_refs: dict[str, str] = field(default_factory=dict)
    base_dir: str = ""
    run_dir: str = ""
    secrets_dir: str = ""
    behind_edge: bool = False
    loopback_ports: dict[str, int] = field(default_factory=dict)
    image_commands: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: Mapping[str, Any], stack: str, **own: Any) -> Self:
        """Read an operator's settings of a stack; Unusable has all that is wrong.

        `own` are those that Moorage works out.
        """
        found = parse(cls, given, "setting")
        base = own.setdefault("base_dir", f"/opt/{stack}")
        own.setdefault("run_dir", f"/run/moorage/{stack}")
        return replace(found, **{"secrets_dir": f"{base}/secrets"} | own)
