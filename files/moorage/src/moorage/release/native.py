"""What a release says of processes that run without a container: processes.json, key by key.

A key is that of the release's compose.json, which has labels, ports and mounts of the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# Its directory on a host, below the stack's.
ENVIRONMENTS = "environments"
_UNITS = "systemd/"
# What references of environments begin with, as those of images name their registry.
PREFIX = "environment/"
# What has a meaning between double quotes.
_SHELL_SIGNS = re.compile(r'["$`\\]')
# How the launcher exits for a process that has ended too often: EX_CONFIG of sysexits.h.
GIVEN_UP = 78
# Of a release's directory.
PROCESSES, HOSTS, SUPERVISOR_PROGRAMS = "processes.json", "hosts", "supervisor.conf"
# The unit of our supervisor, where it manages the processes.
SUPERVISOR_UNIT = "supervisor.service"


@dataclass(frozen=True)
class Check:
    """How an instance is asked whether it is well: a URL, or a command that runs beside it.

    Times are in seconds, as the engine means them: failures within ``start_period`` do not count,
    and until the first success it is asked every ``start_interval``.
    """

    url: str = ""
    command: tuple[str, ...] = ()
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0
    start_interval: float = 5.0
    restart: bool = True


@dataclass(frozen=True)
class Mount:
    """What lies at ``target`` for the process alone: a path of the host, or an empty directory.

    ``options`` are those of an empty one, such as size=64m,mode=1777. A ``secret`` is read by root
    and handed on.
    """

    target: str
    source: str = ""
    read_only: bool = False
    secret: bool = False
    options: str = ""


@dataclass(frozen=True)
class Process:
    """One entry of the release as its manager runs it.

    ``manager`` runs it, as its ``unit`` (of systemd without .service). ``command`` is looked up
    in ``path``. ``user`` is uid:gid. ``restart`` is a word of Compose; with ``attempts`` so many
    at most without a run of ``window``. Times are in seconds: ``delay`` and ``delay_max`` between
    restarts, ``stop_seconds`` to end. ``memory`` is in bytes, ``cpus`` in cores. ``after`` are
    units that start before it at a boot. ``log_max_bytes`` is for a manager that rotates its log:
    0 for never.
    """

    unit: str
    service: str
    command: tuple[str, ...]
    directory: str
    path: str
    user: str
    manager: str = "systemd"
    environment: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[int, ...] = ()
    mounts: tuple[Mount, ...] = ()
    check: Check | None = None
    restart: str = "no"
    attempts: int | None = None
    window: float = 60.0
    delay: float = 0.1
    delay_max: float = 60.0
    one_off: bool = False
    stop_signal: str = "SIGTERM"
    stop_seconds: float = 10.0
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    oom_score: int | None = None
    capabilities: tuple[str, ...] = ()
    limits: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    log_max_bytes: int = 0
    log_backups: int = 0


def environment_name(ref: str) -> str:
    """Return its directory's name: that of moorage/chatbot-host:12ab is chatbot-host-12ab."""
    return ref.rpartition("/")[2].replace(":", "-")


def environment_text(process: Process) -> str:
    """Return the variables of a process, one way for systemd.exec(5) and a POSIX shell."""
    given = {"PATH": process.path, **process.environment}
    words = {name: _SHELL_SIGNS.sub(r"\\\g<0>", value) for name, value in given.items()}
    return "".join(f'{name}="{word}"\n' for name, word in words.items())


def is_environment(ref: str) -> bool:
    """Tell whether a reference is an environment's, and not an image's."""
    return ref.startswith(PREFIX)


def unit_file(key: str) -> str:
    """Return what the systemd unit of a key is called in a release."""
    return f"{_UNITS}{key}.service"


def is_unit_file(name: str) -> bool:
    """Tell whether a file of a release is such a unit."""
    return name.startswith(_UNITS)
