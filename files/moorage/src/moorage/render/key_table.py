"""What becomes of a Compose key: the columns behind errors and docs/compose.md.

A topology has a column for each kind of service that it knows; here is what they are made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from moorage.compose.schema import SERVICE_KEYS
from moorage.compose.schema_deploy import DEPLOY_KEYS

Verdict = Literal["honoured", "mapped", "refused", "ignored"]
KEYS = sorted([*SERVICE_KEYS, *(f"deploy.{key}" for key in DEPLOY_KEYS)])


@dataclass(frozen=True)
class Entry:
    """One cell: the verdict, and how or why in a few words."""

    verdict: Verdict
    how: str = ""


Column = Mapping[str, Entry]


def honoured(how: str = "") -> Entry:
    """Taken as it is."""
    return Entry("honoured", how)


def mapped(how: str) -> Entry:
    """Taken in another form."""
    return Entry("mapped", how)


def refused(why: str) -> Entry:
    """An error."""
    return Entry("refused", why)


def ignored(why: str) -> Entry:
    """Without effect, and noted."""
    return Entry("ignored", why)


def column(usual: Entry, entries: Column) -> dict[str, Entry]:
    """A column with all keys: as usual, but for what all topologies do alike and for `entries`.

    Raises ValueError for a key that Compose does not have.
    """
    unknown = entries.keys() - set(KEYS)
    if unknown:
        raise ValueError(f"no keys of Compose: {', '.join(sorted(unknown))}")
    return {**dict.fromkeys(KEYS, usual), **_ALIKE, **entries}


READ = mapped("applied when the file is read")
LOG_FILES = ignored("each process writes to files under /opt/STACK/logs")
SECRET_FILES = mapped("files of /opt/STACK/secrets/for/UID, read-only")
CONFIG_FILES = mapped("files of /opt/STACK/config/files, read-only")
BINDS = mapped("named volumes are /opt/STACK/data/VOLUME; the engine's socket is refused")
ROLLOUT = mapped("of the rollout; see below")
AS_REPLICAS = mapped("as deploy.replicas")
BY_IMAGES_MAP = mapped("by images_map")
CONTAINER_LOGS = mapped("json-file with limits, unless the file says more")
_DESK = ignored("for a developer's desk")
_SWARM = ignored("Swarm only")
_NOT_BY_COMPOSE = ignored("Debian 13's Compose reads it and runs nothing; x-moorage has hooks")
_ALIKE = {
    "attach": _DESK,
    "deploy": mapped("see the rows deploy.*"),
    "deploy.endpoint_mode": _SWARM,
    "deploy.labels": _SWARM,
    "deploy.mode": refused("only mode: replicated"),
    "deploy.placement": ignored("there is one host"),
    "develop": _DESK,
    "env_file": READ,
    "label_file": READ,
    "post_start": _NOT_BY_COMPOSE,
    "pre_stop": _NOT_BY_COMPOSE,
    "extends": READ,
    "stop_signal": honoured(),
    "x-moorage": mapped("see below"),
}
# What is asked of a container that an engine makes of this service alone.
OF_ONE_CONTAINER = (
    "blkio_config", "cgroup", "cgroup_parent", "cpu_count", "cpu_percent", "cpu_period",
    "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpuset", "credential_spec",
    "device_cgroup_rules", "devices", "domainname", "external_links", "gpus", "hostname", "ipc",
    "isolation", "links", "mac_address", "mem_reservation", "mem_swappiness", "memswap_limit",
    "network_mode", "oom_kill_disable", "pid", "privileged", "runtime", "stdin_open",
    "storage_opt", "tty", "userns_mode", "uts", "volumes_from",
)  # fmt: skip


def container_column(entries: Column) -> dict[str, Entry]:
    """The column of a service that has a container of its own, made by Docker Compose."""
    return column(honoured(), {**_CONTAINER, **entries})


_CONTAINER = {
    "configs": CONFIG_FILES,
    "deploy.resources": mapped(
        "limits, and reservations of memory (a soft limit); those of processors have no effect, "
        "with a note"
    ),
    "deploy.restart_policy": mapped(
        "restart; max_attempts after failures only, delay and window without effect"
    ),
    "gpus": mapped("deploy.resources.reservations.devices"),
    "labels": mapped("beside those of Moorage, moorage.…"),
    "logging": CONTAINER_LOGS,
    "secrets": SECRET_FILES,
    "volumes": BINDS,
}
