"""The release's compose.yaml around its services."""

from __future__ import annotations

from typing import Any

from moorage.render.context import Context
from moorage.render.yamlout import dump_yaml, escaped

_HEADER = (
    "Rendered by Moorage from compose.yml of the stack {name}, topology {topology}.\n"
    "Changes made here are lost at the next deploy: change compose.yml or group_vars instead."
)


def compose_file(ctx: Context, services: dict[str, Any]) -> str:
    """The text of compose.yaml: services and the networks that they are in."""
    name = ctx.stack.name
    networks = {key: network.to_dict() for key, network in ctx.stack.networks.items()}
    used = {key for service in services.values() for key in service.get("networks", {})}
    document = {
        "name": name,
        "services": services,
        "networks": {key: value for key, value in sorted(networks.items()) if key in used},
    }
    filled = {key: value for key, value in document.items() if value}
    return dump_yaml(escaped(filled), _HEADER.format(name=name, topology=ctx.settings.topology))
