"""The release's compose.yaml around its services."""

from __future__ import annotations

import json
from typing import Any

from moorage.release.names import COMPOSE, COMPOSE_JSON
from moorage.render.addresses import check_addresses
from moorage.render.context import Context
from moorage.render.rendering import PRIVATE, RenderedFile
from moorage.render.yamlout import dump_yaml, escaped

_HEADER = (
    "Rendered by Moorage from compose.yml of the stack {name}, topology {topology}.\n"
    "Changes made here are lost at the next deploy: change compose.yml or group_vars instead."
)


def compose_files(ctx: Context, services: dict[str, Any]) -> dict[str, RenderedFile]:
    """compose.yaml, with services and the networks that they are in, for the engine and people.

    The same as compose.json for programs on a host, which may have no parser of YAML.
    """
    name = ctx.stack.name
    networks = {key: network.to_dict() for key, network in ctx.stack.networks.items()}
    used = {key for service in services.values() for key in service.get("networks", {})}
    networks = {key: value for key, value in sorted(networks.items()) if key in used}
    check_addresses(ctx, networks, services)
    document = {"name": name, "services": services, "networks": networks}
    # Root's alone: people write passwords into `environment`.
    filled = {key: value for key, value in document.items() if value}
    plain = escaped(filled)
    header = _HEADER.format(name=name, topology=ctx.settings.topology)
    return {
        COMPOSE: RenderedFile(dump_yaml(plain, header), PRIVATE),
        COMPOSE_JSON: RenderedFile(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", PRIVATE),
    }
