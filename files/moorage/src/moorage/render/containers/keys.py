"""What becomes of Compose keys in this topology."""

from __future__ import annotations

from moorage.render.key_table import AS_REPLICAS, ROLLOUT, container_column, mapped

SERVICE = container_column(
    {
        "build": mapped("built on the host, services with the same build share the image"),
        "container_name": mapped("STACK-SERVICE; more replicas are STACK-SERVICE-2, -3 …"),
        "depends_on": mapped(
            "the order of a rollout; with restart: true the two are replaced together"
        ),
        "deploy.replicas": mapped(
            "containers STACK-SERVICE, STACK-SERVICE-2 …; not with a direct port, an address or "
            "singleton"
        ),
        "deploy.rollback_config": ROLLOUT,
        "deploy.update_config": ROLLOUT,
        "environment": mapped("MOORAGE_CONTROL_SOCKET becomes the gateway's"),
        "image": mapped("by images_map; a service with build runs what is built"),
        "ports": mapped("published by the edge, or directly; see below"),
        "profiles": mapped(
            "services whose profile is not enabled are created, and started on demand"
        ),
        "pull_policy": mapped("never where the image is built"),
        "scale": AS_REPLICAS,
        "user": mapped("own services that name none run as STACK_user; others as their image says"),
    }
)
