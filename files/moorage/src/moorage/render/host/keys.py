"""What becomes of Compose keys in this topology."""

from __future__ import annotations

from moorage.render.key_table import (
    AS_REPLICAS,
    BINDS,
    CONFIG_FILES,
    ROLLOUT,
    SECRET_FILES,
    column,
    honoured,
    ignored,
    mapped,
    refused,
)

_NETWORK = ignored("processes share the host's network")

PROCESS = column(
    refused("there is no container"),
    {
        "annotations": ignored("processes have none"),
        "build": mapped("an environment: x-moorage.host says what is in it"),
        "cap_add": ignored("processes have no capabilities"),
        "cap_drop": mapped("CapabilityBoundingSet"),
        "command": honoured("x-moorage.host.command takes its place"),
        "configs": CONFIG_FILES,
        "container_name": ignored("units are STACK-SERVICE@NUMBER"),
        "cpus": mapped("CPUQuota"),
        "depends_on": mapped("the order of a rollout, and of a boot"),
        "deploy.replicas": mapped("as many processes; with a port only behind the edge"),
        "deploy.resources": mapped(
            "limits: MemoryMax, CPUQuota, TasksMax; reservations have no effect, with a note"
        ),
        "deploy.restart_policy": mapped("Restart, RestartSec, StartLimitBurst"),
        "deploy.rollback_config": ROLLOUT,
        "deploy.update_config": ROLLOUT,
        "dns": _NETWORK,
        "dns_opt": _NETWORK,
        "dns_search": _NETWORK,
        "entrypoint": honoured("put before command"),
        "environment": mapped("variables without a value are left out"),
        "expose": mapped("ports of the process"),
        "extra_hosts": mapped("in the /etc/hosts of the stack's processes"),
        "group_add": mapped("SupplementaryGroups, by number"),
        "healthcheck": mapped("checked by the stack's watcher"),
        "hostname": ignored("it is the host's"),
        "image": mapped("postgres, mariadb and redis are Debian's servers; see above"),
        "init": honoured("systemd is"),
        "labels": ignored("units have none"),
        "logging": ignored("output goes to the journal"),
        "mem_limit": mapped("MemoryMax"),
        "networks": _NETWORK,
        "oom_score_adj": mapped("OOMScoreAdjust"),
        "pids_limit": mapped("TasksMax"),
        "platform": ignored("it is the host's"),
        "ports": mapped("behind the edge, or the port that the process listens on; see below"),
        "profiles": mapped("services whose profile is not enabled are made, and started on demand"),
        "pull_policy": ignored("nothing is pulled"),
        "read_only": honoured("always: ProtectSystem=strict"),
        "restart": mapped("no, on-failure, always: Restart"),
        "scale": AS_REPLICAS,
        "secrets": SECRET_FILES,
        "security_opt": ignored("NoNewPrivileges always"),
        "shm_size": ignored("each process has its own, without a limit of its size"),
        "stop_grace_period": mapped("TimeoutStopSec"),
        "stop_signal": mapped("KillSignal"),
        "tmpfs": mapped("TemporaryFileSystem"),
        "ulimits": mapped("LimitNOFILE and so on"),
        "user": mapped("own services that name none run as STACK_user; never root"),
        "volumes": BINDS,
        "working_dir": ignored("the first of x-moorage.host.sources"),
    },
)

_SUPERVISOR = {
    **PROCESS,
    "cap_drop": mapped("all are dropped"),
    "container_name": ignored("programs are STACK_SERVICE and STACK_SERVICE_NUMBER"),
    "cpus": mapped("CPUQuota of the program's scope"),
    "deploy.resources": mapped(
        "limits: MemoryMax, CPUQuota, TasksMax of the program's scope; reservations have no "
        "effect, with a note"
    ),
    "deploy.restart_policy": mapped("autorestart; the launcher pauses, and gives up"),
    "group_add": mapped("by number"),
    "logging": ignored("output goes to /var/log/supervisor"),
    "mem_limit": mapped("MemoryMax of the program's scope"),
    "oom_score_adj": mapped("by the launcher"),
    "pids_limit": mapped("TasksMax of the program's scope"),
    "read_only": honoured("always: the launcher mounts all but volumes read-only"),
    "restart": mapped("no, on-failure, always: autorestart and exitcodes"),
    "security_opt": ignored("no new privileges always"),
    "stop_grace_period": mapped("stopwaitsecs, in whole seconds"),
    "stop_signal": mapped("stopsignal"),
    "tmpfs": mapped("mounted by the launcher"),
    "ulimits": mapped("by the launcher"),
}

_OWN = {
    **_SUPERVISOR,
    "container_name": ignored("processes are STACK-SERVICE-NUMBER"),
    "deploy.restart_policy": mapped(
        "autorestart, restart_delay, restart_limit, restart_reset_seconds"
    ),
    "healthcheck": mapped("checked by the supervisor"),
    "logging": ignored("output goes to /var/log/moorage/processes"),
    "restart": mapped("no, on-failure, always: autorestart"),
    "stop_grace_period": mapped("stop_grace"),
    "stop_signal": mapped("stop_signal"),
}

# By the manager of the stack's own services; data services are units of systemd with all of them.
COLUMNS = {"systemd": PROCESS, "supervisor": _SUPERVISOR, "own": _OWN}
