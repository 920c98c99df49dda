"""The operator's settings for one stack, strictly parsed from plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any, Self

from moorage.compose.errors import ComposeError, Problem, did_you_mean, shown
from moorage.compose.extension import Route
from moorage.compose.units import parse_bytes
from moorage.render.traffic_settings import READERS as TRAFFIC_READERS
from moorage.render.traffic_settings import EdgeOptions, ProbeOptions
from moorage.render.values import matching, number, whole

_USER = r"\d+:\d+"
_ABSOLUTE = r"/[^\0]*"
# What the engine can count.
_MOST_BYTES = 2**63


@dataclass(frozen=True)
class Limits:
    """Limits of one container: memory in bytes, cpus as a number of cores, pids."""

    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None


@dataclass(frozen=True)
class Settings:
    """How one stack is to run on its hosts.

    - `user`: numeric "uid:gid" of services that name none.
    - `publish`: for a service, what takes the place of its published ports ([] = none).
    - `environment`: variables added to a service's own, by service.
    - `limits`: by service; the key `unified` means the unified container.
    - `image_refs`: final reference of a plain image's name or of a build's key.
    - `base_dir`, `run_dir`, `secrets_dir`: default /opt/STACK, /run/moorage/STACK and
      BASE/secrets.
    - `dns`: name servers for every container (default: the engine's).
    - `log_max_size`, `log_max_files`: of each container's json-file log.
    - `process_log_max_bytes`, `process_log_backups`: of each process's log files; 0 bytes
      leaves rotation to logrotate.
    - `domains`, `routes`, `edge`: where visitors come in; `routes` None: the description's.
    - `probe`, `drain_seconds`, `monitor_seconds`, `hook_timeout_seconds`: of a rollout.
    - `version`: what the release is called, "" when nobody named it.
    - `behind_edge`: whether the host has an edge that owns the stack's public ports.
    - `loopback_ports`: by the names that `Rendering.loopback` lists; without any, the stack is
      taken to be alone on its host.
    """

    topology: str = "unified"
    user: str = "10001:10001"
    publish: dict[str, tuple[str, ...]] = field(default_factory=dict)
    environment: dict[str, dict[str, str]] = field(default_factory=dict)
    limits: dict[str, Limits] = field(default_factory=dict)
    image_refs: dict[str, str] = field(default_factory=dict)
    base_dir: str = ""
    run_dir: str = ""
    secrets_dir: str = ""
    dns: tuple[str, ...] = ()
    log_max_size: str = "10m"
    log_max_files: int = 3
    # 16 MiB a stream: one talkative process fits on a small disk, and tells of some hours.
    process_log_max_bytes: int = 4 * 1024**2
    process_log_backups: int = 3
    domains: tuple[str, ...] = ()
    routes: tuple[Route, ...] | None = None
    edge: EdgeOptions = field(default_factory=EdgeOptions)
    probe: ProbeOptions = field(default_factory=ProbeOptions)
    drain_seconds: float = 10.0
    monitor_seconds: float = 0.5
    hook_timeout_seconds: float = 600.0
    version: str = ""
    behind_edge: bool = False
    loopback_ports: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: Mapping[str, Any], *, stack: str | None = None) -> Self:
        """Read settings; ComposeError lists every unknown key and unusable value.

        `stack` is the stack's name, for the default directories.
        """
        problems: list[Problem] = []
        known = {item.name for item in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in data.items():
            if key not in known:
                advice = did_you_mean(str(key), known)
                problems.append(Problem(f"settings.{key}", "unknown setting", advice))
                continue
            try:
                values[key] = _READERS[key](value)
            except ValueError as error:
                problems.append(Problem(f"settings.{key}", str(error), value=shown(value)))
        if problems:
            raise ComposeError(problems)
        return cls(**_with_directories(values, stack))


def _with_directories(values: dict[str, Any], stack: str | None) -> dict[str, Any]:
    result = dict(values)
    if stack is not None:
        result.setdefault("base_dir", f"/opt/{stack}")
        result.setdefault("run_dir", f"/run/moorage/{stack}")
    if result.get("base_dir"):
        result.setdefault("secrets_dir", f"{result['base_dir']}/secrets")
    return result


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text that is not empty")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _size_text(value: Any) -> str:
    _size(value)
    return str(value)


def _size(value: Any) -> int:
    try:
        found = parse_bytes(value)
    except ValueError:
        found = 0
    if not 0 < found < _MOST_BYTES:
        raise ValueError("must be a size such as 10m")
    return found


def _list(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ValueError("must be a list of texts")
    return tuple(value)


def _map(read: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    def read_map(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError("must be a mapping")
        return {str(key): read(item) for key, item in value.items()}

    return read_map


def _variable(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) or (isinstance(value, (int, float)) and isfinite(value)):
        return str(value)
    raise ValueError("variables must be texts or numbers")


def _limits(value: Any) -> Limits:
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping with memory, cpus and pids")
    unknown = [str(key) for key in value if key not in ("memory", "cpus", "pids")]
    if unknown:
        advice = did_you_mean(unknown[0], ("memory", "cpus", "pids"))
        raise ValueError(f"unknown limit {unknown[0]!r}; {advice}")
    found: dict[str, Any] = {}
    for key, read in _LIMITS.items():
        if value.get(key) is not None:
            try:
                found[key] = read(value[key])
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
    return Limits(**found)


_LIMITS: dict[str, Callable[[Any], Any]] = {
    "memory": _size,
    "cpus": number(0.001),
    "pids": whole(1),
}


_READERS: dict[str, Callable[[Any], Any]] = {
    "topology": _text,
    "user": matching(_USER, 'a numeric "uid:gid"'),
    "publish": _map(_list),
    "environment": _map(_map(_variable)),
    "limits": _map(_limits),
    "image_refs": _map(_text),
    "base_dir": matching(_ABSOLUTE, "an absolute path"),
    "run_dir": matching(_ABSOLUTE, "an absolute path"),
    "secrets_dir": matching(_ABSOLUTE, "an absolute path"),
    "dns": _list,
    "log_max_size": _size_text,
    "log_max_files": whole(),
    "process_log_max_bytes": whole(),
    "process_log_backups": whole(),
    "behind_edge": _flag,
    "loopback_ports": _map(whole()),
    **TRAFFIC_READERS,
}
