"""What becomes of Compose keys in this topology."""

from __future__ import annotations

from moorage.render.key_table import (
    AS_REPLICAS,
    BINDS,
    BY_IMAGES_MAP,
    CONFIG_FILES,
    LOG_FILES,
    READ,
    SECRET_FILES,
    column,
    container_column,
    honoured,
    ignored,
    mapped,
    refused,
)

_ALIKE = mapped("of the unified container; its services must agree")
_SUMMED = mapped("summed into the unified container's limit")
_POLICY = ignored("the container is exchanged as a whole")

# An own service: a process of the unified container.
PROCESS = column(
    refused("a process has no container of its own"),
    {
        "annotations": ignored("processes have none"),
        "build": mapped("all own services come from x-moorage.unified.build"),
        "cap_add": refused("capabilities would be every process's"),
        "cap_drop": _ALIKE,
        "command": honoured("required: the image's own CMD is not known"),
        "configs": CONFIG_FILES,
        "container_name": refused("the container is STACK-unified"),
        "cpus": _SUMMED,
        "depends_on": mapped(
            "process on process: start order; on a container: the unified container waits"
        ),
        "deploy.replicas": mapped("processes NAME, NAME-2 …; not with a port or singleton"),
        "deploy.resources": mapped(
            "limits are summed into the unified container's, plus 32M for the supervisor; "
            "reservations have no effect, with a note"
        ),
        "deploy.restart_policy": mapped(
            "autorestart, restart_delay, restart_limit, restart_reset_seconds"
        ),
        "deploy.rollback_config": _POLICY,
        "deploy.update_config": _POLICY,
        "dns": _ALIKE,
        "dns_opt": _ALIKE,
        "dns_search": _ALIKE,
        "entrypoint": honoured("put before command"),
        "environment": mapped(
            "variables without a value are left out; MOORAGE_CONTROL_SOCKET becomes the "
            "supervisor's and, beside data services, the gateway's"
        ),
        "expose": mapped("ports of the process, for the check of shared ports"),
        "extra_hosts": mapped("of the unified container, beside its services' names at 127.0.0.1"),
        "group_add": _ALIKE,
        "healthcheck": mapped(
            "check of the supervisor: command, or http for a plain curl -f of 127.0.0.1"
        ),
        "image": ignored("the unified image takes its place"),
        "init": honoured("the supervisor's own init is PID 1"),
        "labels": mapped("labels of the process in supervisor.json"),
        "logging": LOG_FILES,
        "mem_limit": _SUMMED,
        "mem_reservation": ignored("processes share the unified container's memory"),
        "networks": mapped(
            "of the unified container; its services must agree on networks and addresses"
        ),
        "oom_score_adj": _ALIKE,
        "pids_limit": _SUMMED,
        "platform": _ALIKE,
        "ports": mapped("published by the edge; two processes on one port are refused"),
        "profiles": READ,
        "pull_policy": ignored("the image is built"),
        "read_only": _ALIKE,
        "restart": mapped("no: never; on-failure[:N]: on failure, at most N; else always"),
        "scale": AS_REPLICAS,
        "secrets": SECRET_FILES,
        "security_opt": _ALIKE,
        "shm_size": _ALIKE,
        "stop_grace_period": honoured(
            "the unified container waits for the slowest chain of its processes"
        ),
        "sysctls": _ALIKE,
        "tmpfs": mapped("of the unified container: all processes see it"),
        "ulimits": _ALIKE,
        "user": honoured("must be the unified container's user"),
        "volumes": BINDS,
        "working_dir": honoured("default /app"),
    },
)

# A data service: a container beside it.
CONTAINER = container_column(
    {
        "build": refused("a service with build is a process"),
        "container_name": mapped("STACK-SERVICE"),
        "depends_on": mapped("the order of a rollout; waiting for a process is refused"),
        "deploy.replicas": refused("data services run once"),
        "deploy.rollback_config": _POLICY,
        "deploy.update_config": _POLICY,
        "image": BY_IMAGES_MAP,
        "profiles": READ,
        "scale": refused("data services run once"),
        "user": honoured("a number, or the image's own"),
    }
)
