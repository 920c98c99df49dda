"""Defaults, names and variables: what a description says without writing it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moorage.compose.extension import EXTENSION
from moorage.compose.files import Files
from moorage.compose.source import Sheet

SECTIONS = ("networks", "volumes", "secrets", "configs")
_NAMESPACES = ("network_mode", "ipc", "pid", "uts", "cgroup")


def project_name(given: str | None, directory: Path) -> str:
    """The stack's name: the given one or its directory's, in the letters Compose allows."""
    text = (given or directory.name).lower()
    return re.sub(r"[^a-z0-9_-]", "", text).lstrip("_-")


def resolve_service(
    name: str, service: dict[str, Any], files: Files, sheet: Sheet, variables: Mapping[str, str]
) -> dict[str, Any]:
    """A service with its variables filled in and its defaults written out."""
    result = {key: value for key, value in service.items() if key not in ("develop", "attach")}
    result["environment"] = _environment(name, result, files, sheet, variables)
    result.pop("env_file", None)
    result["labels"] = _labels(name, result, files, sheet, variables)
    result.pop("label_file", None)
    if "build" in result:
        result["build"] = resolve_build(result["build"], sheet.file.parent, variables)
    if not result.get("networks"):
        result["networks"] = {} if "network_mode" in result else {"default": None}
    if result.get("pull_policy") == "if_not_present":
        result["pull_policy"] = "missing"
    _depend_implicitly(result)
    if "scale" in result and "deploy" in result:
        result["deploy"] = {"replicas": result["scale"], **result["deploy"]}
    for key in ("mem_limit", "mem_reservation", "memswap_limit", "shm_size", "cpus", "pids_limit"):
        if result.get(key) in ("0", 0):
            del result[key]  # 0 means unset to the engine, and Compose drops it
    return _without_empty(result)


def _without_empty(service: dict[str, Any]) -> dict[str, Any]:
    kept = ("command", "entrypoint")
    return {
        key: value
        for key, value in service.items()
        if value not in (None, {}, [], "") or (key in kept and value == [])
    }


def resolve_build(
    build: dict[str, Any], base: Path, variables: Mapping[str, str]
) -> dict[str, Any]:
    """A build with its defaults; arguments without a value are taken from the variables."""
    result = {"context": str(base), **build}
    if "dockerfile_inline" not in result:
        result.setdefault("dockerfile", "Dockerfile")
    args = {
        key: variables.get(key) if value is None else value
        for key, value in result.get("args", {}).items()
    }
    result["args"] = {key: value for key, value in args.items() if value is not None}
    return {key: value for key, value in result.items() if value not in (None, {}, [])}


def _environment(
    name: str, service: dict[str, Any], files: Files, sheet: Sheet, variables: Mapping[str, str]
) -> dict[str, str | None]:
    result: dict[str, str | None] = {}
    for index, entry in enumerate(service.get("env_file", [])):
        file = Path(entry["path"])
        if not entry["required"] and not file.exists():
            continue
        seen = {key: value for key, value in result.items() if value is not None}
        path = ("services", name, "env_file", index)
        # As Compose has it: an earlier file of the service before what the caller has.
        outer = {**variables, **seen}
        result |= files.dotenv(file, outer, sheet, path)
    for key, value in service.get("environment", {}).items():
        result[key] = variables.get(key) if value is None else value
    return result


def _labels(
    name: str, service: dict[str, Any], files: Files, sheet: Sheet, variables: Mapping[str, str]
) -> dict[str, str]:
    result: dict[str, str] = {}
    for index, entry in enumerate(service.get("label_file", [])):
        result |= files.dotenv(
            Path(entry), variables, sheet, ("services", name, "label_file", index)
        )
    return {**result, **service.get("labels", {})}


def _depend_implicitly(service: dict[str, Any]) -> None:
    """Links, shared namespaces and `volumes_from` need the other service running."""
    implied: dict[str, bool] = {}
    for link in service.get("links", []):
        implied.setdefault(link.partition(":")[0], True)
    for key in _NAMESPACES:
        kind, _, other = str(service.get(key, "")).partition(":")
        if kind == "service":
            implied.setdefault(other, True)
    for source in service.get("volumes_from", []):
        if not source.startswith("container:"):
            implied.setdefault(source.partition(":")[0], False)
    if implied:
        entries = {
            other: {
                "condition": "service_started",
                "required": True,
                **({"restart": True} if restart else {}),
            }
            for other, restart in implied.items()
        }
        service["depends_on"] = {**entries, **service.get("depends_on", {})}


def resolve_resources(data: dict[str, Any], name: str, base: Path) -> None:
    """Give networks, volumes, secrets and configs their names, in place."""
    data.setdefault("networks", {}).setdefault("default", {})
    for section in SECTIONS:
        for key, entry in data.setdefault(section, {}).items():
            default = key if entry.get("external") else f"{name}_{key}"
            if isinstance(entry.get("external"), dict):
                entry = {**entry, "name": entry["external"].get("name", key), "external": True}
            entry = {"name": default, **entry}
            options = entry.get("driver_opts", {})
            if section == "volumes" and options.get("o") == "bind" and "device" in options:
                entry["driver_opts"] = {**options, "device": str(base / options["device"])}
            data[section][key] = entry


def enabled(services: Mapping[str, Any], profiles: set[str]) -> dict[str, Any]:
    """The services without a profile or with one that is asked for."""
    every = "*" in profiles
    return {
        name: service
        for name, service in services.items()
        if every or not service.get("profiles") or profiles & set(service["profiles"])
    }


def without_unused(data: dict[str, Any]) -> dict[str, Any]:
    """The description without what none of its services uses."""
    services = data["services"].values()
    used: dict[str, set[str]] = {section: set() for section in SECTIONS}
    for service in services:
        used["networks"] |= set(service.get("networks", {}))
        for mount in service.get("volumes", []):
            if mount["type"] == "volume" and "source" in mount:
                used["volumes"].add(mount["source"])
        for grant in [*service.get("secrets", []), *service.get("build", {}).get("secrets", [])]:
            used["secrets"].add(grant["source"])
        used["configs"] |= {grant["source"] for grant in service.get("configs", [])}
    unified = data.get(EXTENSION, {}).get("unified", {}).get("build", {})
    used["secrets"] |= {grant["source"] for grant in unified.get("secrets", [])}
    kept = {
        section: {key: value for key, value in data[section].items() if key in used[section]}
        for section in SECTIONS
    }
    return {**data, **kept}
