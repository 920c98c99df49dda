"""What is intended to become of Compose keys in the topologies that are not there yet."""

from __future__ import annotations

from moorage.render.key_table import (
    AS_REPLICAS,
    BINDS,
    BY_IMAGES_MAP,
    CONFIG_FILES,
    CONTAINER_LOGS,
    LOG_FILES,
    OF_ONE_CONTAINER,
    READ,
    ROLLOUT,
    SECRET_FILES,
    column,
    honoured,
    ignored,
    mapped,
    refused,
)

HOST = column(
    refused("there is no container"),
    {
        "build": mapped("a virtual environment or binary"),
        "cap_drop": mapped("systemd: CapabilityBoundingSet"),
        "command": honoured(),
        "configs": CONFIG_FILES,
        "cpus": mapped("CPUQuota"),
        "depends_on": mapped("start order of the process manager"),
        "deploy.replicas": mapped("as many processes"),
        "deploy.resources": mapped("MemoryMax, CPUQuota, TasksMax"),
        "deploy.restart_policy": mapped("of the process manager"),
        "deploy.rollback_config": ROLLOUT,
        "deploy.update_config": ROLLOUT,
        "entrypoint": honoured(),
        "environment": honoured(),
        "expose": honoured(),
        "extra_hosts": mapped("/etc/hosts"),
        "group_add": mapped("SupplementaryGroups"),
        "healthcheck": mapped("check of the gate and the panel"),
        "image": mapped("a package of Debian"),
        "init": ignored("systemd is"),
        "labels": ignored("no place"),
        "logging": LOG_FILES,
        "mem_limit": mapped("MemoryMax"),
        "networks": ignored("the host's own network"),
        "oom_score_adj": mapped("OOMScoreAdjust"),
        "pids_limit": mapped("TasksMax"),
        "ports": mapped("the address to listen on"),
        "profiles": READ,
        "pull_policy": ignored("no image"),
        "read_only": mapped("ProtectSystem=strict"),
        "restart": mapped("of the process manager"),
        "scale": AS_REPLICAS,
        "secrets": SECRET_FILES,
        "security_opt": mapped("NoNewPrivileges"),
        "stop_grace_period": honoured(),
        "tmpfs": mapped("PrivateTmp"),
        "ulimits": mapped("Limit…="),
        "user": mapped("a system user"),
        "volumes": mapped("directories of /opt/STACK/data"),
        "working_dir": honoured(),
    },
)

SWARM = column(
    honoured(),
    {
        **dict.fromkeys(("container_name", *OF_ONE_CONTAINER), refused("Swarm has no such option")),
        "build": mapped("built, then pushed or distributed"),
        "depends_on": ignored("Swarm starts all at once; services wait themselves"),
        **dict.fromkeys(
            (
                "deploy",
                "deploy.endpoint_mode",
                "deploy.labels",
                "deploy.mode",
                "deploy.placement",
            ),
            honoured(),
        ),
        "image": BY_IMAGES_MAP,
        "logging": CONTAINER_LOGS,
        "ports": mapped("mode: host behind the edge"),
        "profiles": READ,
        "restart": mapped("deploy.restart_policy"),
        "scale": AS_REPLICAS,
        "volumes": BINDS,
    },
)

COLUMNS = {"host (planned)": HOST, "swarm (planned)": SWARM}
