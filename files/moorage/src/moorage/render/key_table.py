"""What becomes of each Compose key in each topology: the table behind errors and docs/compose.md.

`process` and `container` are the two places of a service in the topology unified: a process of
the unified container (services with `build`) or a container beside it (services of a ready
image). `containers` is any service in the topology of that name. The other topologies are
planned; their columns say what is intended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["honoured", "mapped", "refused", "ignored"]


@dataclass(frozen=True)
class Entry:
    """One cell: the verdict, and how or why in a few words."""

    verdict: Verdict
    how: str = ""


@dataclass(frozen=True)
class Row:
    """The fate of one key of a service."""

    process: Entry
    container: Entry
    containers: Entry
    host: Entry
    swarm: Entry

    def entry(self, column: str) -> Entry:
        """The cell of a column."""
        cell: Entry = getattr(self, column)
        return cell


def _honoured(how: str = "") -> Entry:
    return Entry("honoured", how)


def _mapped(how: str) -> Entry:
    return Entry("mapped", how)


def _refused(why: str) -> Entry:
    return Entry("refused", why)


def _ignored(why: str) -> Entry:
    return Entry("ignored", why)


_YES = _honoured()
_READ = _mapped("applied when the file is read")
_ALIKE = _mapped("of the unified container; its services must agree")
_NO_CONTAINER = _refused("a process has no container of its own")
_SWARM = _ignored("Swarm only")
_ONE_HOST = _ignored("there is one host")
_REPLICATED = _refused("only mode: replicated")
_POLICY = _ignored("the container is exchanged as a whole")
_ROLLOUT = _mapped("of the rollout; see below")
_NATIVE = _refused("there is no container")
_DESK = _ignored("for a developer's desk")
_SWARM_NO = _refused("Swarm has no such option")


def _row(
    process: Entry,
    container: Entry = _YES,
    containers: Entry = _YES,
    host: Entry = _NATIVE,
    swarm: Entry = _YES,
) -> Row:
    return Row(process, container, containers, host, swarm)


def _same(entry: Entry) -> Row:
    return Row(entry, entry, entry, entry, entry)


_OWN = _row(_NO_CONTAINER, swarm=_SWARM_NO)
_NAMED = _mapped("STACK-SERVICE")
_NAMED_EACH = _mapped("STACK-SERVICE; replicas are STACK-SERVICE-1, -2 …")
_BINDS = _mapped("named volumes are /opt/STACK/data/VOLUME; the engine's socket is refused")
_RESTART = _mapped("restart; max_attempts after failures only, delay and window without effect")
_SECRET_FILES = _mapped("files of /opt/STACK/secrets/for/UID, read-only")
_CONFIG_FILES = _mapped("files of /opt/STACK/config/files, read-only")
_LOGS = _mapped("json-file with limits, unless the file says more")

TABLE: dict[str, Row] = {
    "annotations": _row(_ignored("processes have none")),
    "attach": _same(_DESK),
    "blkio_config": _OWN,
    "build": _row(
        _mapped("all own services come from x-moorage.unified.build"),
        _refused("a service with build is a process"),
        _mapped("built on the host, services with the same build share the image"),
        _mapped("a virtual environment or binary"),
        _mapped("built, then pushed or distributed"),
    ),
    "cap_add": _row(_refused("capabilities would be every process's")),
    "cap_drop": _row(_ALIKE, host=_mapped("systemd: CapabilityBoundingSet")),
    "cgroup": _OWN,
    "cgroup_parent": _OWN,
    "command": _row(_honoured("required: the image's own CMD is not known"), host=_YES),
    "configs": _row(_CONFIG_FILES, _CONFIG_FILES, _CONFIG_FILES, _CONFIG_FILES, _YES),
    "container_name": _row(
        _refused("the container is STACK-unified"), _NAMED, _NAMED_EACH, swarm=_SWARM_NO
    ),
    "cpu_count": _OWN,
    "cpu_percent": _OWN,
    "cpu_period": _OWN,
    "cpu_quota": _OWN,
    "cpu_rt_period": _OWN,
    "cpu_rt_runtime": _OWN,
    "cpu_shares": _OWN,
    "cpus": _row(_mapped("summed into the unified container's limit"), host=_mapped("CPUQuota")),
    "cpuset": _OWN,
    "credential_spec": _OWN,
    "depends_on": _row(
        _mapped("process on process: start order; on a container: the unified container waits"),
        _mapped("the order of a rollout; waiting for a process is refused"),
        _mapped("the order of a rollout; with restart: true the two are replaced together"),
        host=_mapped("start order of the process manager"),
        swarm=_ignored("Swarm starts all at once; services wait themselves"),
    ),
    "deploy": _row(
        _mapped("see the rows deploy.*"),
        _mapped("see the rows deploy.*"),
        _mapped("see the rows deploy.*"),
        _mapped("see the rows deploy.*"),
        _YES,
    ),
    "deploy.endpoint_mode": _row(_SWARM, _SWARM, _SWARM, _SWARM),
    "deploy.labels": _row(_SWARM, _SWARM, _SWARM, _SWARM),
    "deploy.mode": _row(_REPLICATED, _REPLICATED, _REPLICATED, _REPLICATED),
    "deploy.placement": _row(_ONE_HOST, _ONE_HOST, _ONE_HOST, _ONE_HOST),
    "deploy.replicas": _row(
        _mapped("processes NAME-1, NAME-2 …; not with a port or singleton"),
        _refused("data services run once"),
        _mapped("containers STACK-SERVICE-1 …; not with a direct port, an address or singleton"),
        _mapped("as many processes"),
    ),
    "deploy.resources": _row(
        _mapped("limits are summed into the unified container's, plus 32M for the supervisor"),
        host=_mapped("MemoryMax, CPUQuota, TasksMax"),
    ),
    "deploy.restart_policy": _row(
        _mapped("autorestart, restart_delay, restart_limit, restart_window"),
        _RESTART,
        _RESTART,
        _mapped("of the process manager"),
    ),
    "deploy.rollback_config": _row(_POLICY, _POLICY, _ROLLOUT, _ROLLOUT),
    "deploy.update_config": _row(_POLICY, _POLICY, _ROLLOUT, _ROLLOUT),
    "develop": _same(_DESK),
    "device_cgroup_rules": _OWN,
    "devices": _OWN,
    "dns": _row(_ALIKE),
    "dns_opt": _row(_ALIKE),
    "dns_search": _row(_ALIKE),
    "domainname": _OWN,
    "entrypoint": _row(_honoured("put before command"), host=_YES),
    "env_file": _same(_READ),
    "environment": _row(
        _mapped(
            "variables without a value are left out; MOORAGE_CONTROL_SOCKET becomes the "
            "supervisor's and, beside data services, the gateway's"
        ),
        _YES,
        _mapped("MOORAGE_CONTROL_SOCKET becomes the gateway's"),
        _YES,
    ),
    "expose": _row(_mapped("ports of the process, for the check of shared ports"), host=_YES),
    "extends": _same(_READ),
    "external_links": _OWN,
    "extra_hosts": _row(
        _mapped("of the unified container, beside its services' names at 127.0.0.1"),
        host=_mapped("/etc/hosts"),
    ),
    "group_add": _row(_ALIKE, host=_mapped("SupplementaryGroups")),
    "healthcheck": _row(
        _mapped("check of the supervisor: command, or http for a plain curl -f of 127.0.0.1"),
        host=_mapped("check of the gate and the panel"),
    ),
    "hostname": _OWN,
    "image": _row(
        _ignored("the unified image takes its place"),
        _mapped("by images_map"),
        _mapped("by images_map; a service with build runs what is built"),
        _mapped("a package of Debian"),
        _mapped("by images_map"),
    ),
    "init": _row(_honoured("the supervisor's own init is PID 1"), host=_ignored("systemd is")),
    "ipc": _OWN,
    "isolation": _OWN,
    "labels": _row(
        _mapped("labels of the process in supervisor.json"),
        _mapped("beside those of Moorage, moorage.…"),
        _mapped("beside those of Moorage, moorage.…"),
        _ignored("no place"),
    ),
    "links": _OWN,
    "logging": _row(
        _ignored("each process writes to files under /opt/STACK/logs"),
        _LOGS,
        _LOGS,
        _ignored("each process writes to files under /opt/STACK/logs"),
        _LOGS,
    ),
    "mac_address": _OWN,
    "mem_limit": _row(
        _mapped("summed into the unified container's limit"), host=_mapped("MemoryMax")
    ),
    "mem_reservation": _OWN,
    "mem_swappiness": _OWN,
    "memswap_limit": _OWN,
    "network_mode": _OWN,
    "networks": _row(
        _mapped("of the unified container; its services must agree on networks and addresses"),
        host=_ignored("the host's own network"),
    ),
    "oom_kill_disable": _OWN,
    "oom_score_adj": _row(_ALIKE, host=_mapped("OOMScoreAdjust")),
    "pid": _OWN,
    "pids_limit": _row(
        _mapped("summed into the unified container's limit"), host=_mapped("TasksMax")
    ),
    "platform": _row(_ALIKE),
    "ports": _row(
        _mapped("published by the edge; two processes on one port are refused"),
        containers=_mapped("published by the edge, or directly; see below"),
        host=_mapped("the address to listen on"),
        swarm=_mapped("mode: host behind the edge"),
    ),
    "privileged": _OWN,
    "profiles": _row(
        _READ,
        _READ,
        _mapped("services whose profile is not enabled are created, and started on demand"),
        _READ,
        _READ,
    ),
    "pull_policy": _row(
        _ignored("the image is built"),
        _YES,
        _mapped("never where the image is built"),
        _ignored("no image"),
    ),
    "read_only": _row(_ALIKE, host=_mapped("ProtectSystem=strict")),
    "restart": _row(
        _mapped("no: never; on-failure[:N]: on failure, at most N; else always"),
        host=_mapped("of the process manager"),
        swarm=_mapped("deploy.restart_policy"),
    ),
    "runtime": _OWN,
    "scale": _row(
        _mapped("as deploy.replicas"),
        _refused("data services run once"),
        _mapped("as deploy.replicas"),
        _mapped("as deploy.replicas"),
        _mapped("as deploy.replicas"),
    ),
    "secrets": _row(_SECRET_FILES, _SECRET_FILES, _SECRET_FILES, _SECRET_FILES, _YES),
    "security_opt": _row(_ALIKE, host=_mapped("NoNewPrivileges")),
    "shm_size": _row(_ALIKE),
    "stdin_open": _OWN,
    "stop_grace_period": _row(
        _honoured("the unified container waits for the slowest chain of its processes"), host=_YES
    ),
    "stop_signal": _row(_honoured(), host=_YES),
    "storage_opt": _OWN,
    "sysctls": _row(_ALIKE),
    "tmpfs": _row(
        _mapped("of the unified container: all processes see it"), host=_mapped("PrivateTmp")
    ),
    "tty": _OWN,
    "ulimits": _row(_ALIKE, host=_mapped("Limit…=")),
    "user": _row(
        _honoured("must be the unified container's user"),
        _honoured("numeric where it owns volumes or reads secrets"),
        _mapped("own services that name none run as STACK_user; numeric where it owns volumes"),
        host=_mapped("a system user"),
    ),
    "userns_mode": _OWN,
    "uts": _OWN,
    "volumes": _row(
        _BINDS,
        _BINDS,
        _BINDS,
        _mapped("directories of /opt/STACK/data"),
        _BINDS,
    ),
    "volumes_from": _OWN,
    "working_dir": _row(_honoured("default /app"), host=_YES),
    "x-moorage": _same(_mapped("see below")),
}
