"""What is intended to become of Compose keys in the topology that is not there yet."""

from __future__ import annotations

from moorage.render.key_table import (
    AS_REPLICAS,
    BINDS,
    BY_IMAGES_MAP,
    CONTAINER_LOGS,
    OF_ONE_CONTAINER,
    READ,
    column,
    honoured,
    ignored,
    mapped,
    refused,
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

COLUMNS = {"swarm (planned)": SWARM}
