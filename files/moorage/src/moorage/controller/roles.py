"""Settings of the roles: their defaults, types and meanings stand in the roles' own files.

What a type does not say, such as that a number is a port, is added here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

try:
    # Ten times as fast, and there wherever PyYAML was not built by hand.
    from yaml import CSafeLoader as Loader
except ImportError:
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

from moorage.settings.edge import Settings as Edge
from moorage.settings.readers import (
    MOST,
    Reader,
    Unusable,
    address,
    flag,
    list_of,
    map_of,
    matching,
    network,
    one_of,
    record,
    size_text,
    whole,
    words,
)
from moorage.settings.table import Setting, settings_of

# Those that provision a host, in their order.
ROLES = (
    "host", "docker", "native", "runtime", "storage", "logrotate", "images", "edge", "backup",
)  # fmt: skip
# What it brings goes with releases: a change of it is nothing to provision.
RELEASE_ROLE = "stack"
# Filled in from the plan by the playbook itself.
FROM_PLAN = frozenset({
    "docker_wanted", "images_wanted", "native_masked_units", "native_packages",
    "storage_directories", "storage_encrypted",
})  # fmt: skip
_NAME = words()


def _repository(value: Any) -> str:
    found = str(_NAME(value))
    if re.search(r"//[^/@]*:[^/@]*@", found):
        raise Unusable(
            "holds a password, which logs would show",
            advice="backup_environment is for that: RESTIC_REST_USERNAME, RESTIC_REST_PASSWORD",
        )
    if not found.startswith("/") and ":" not in found:
        raise Unusable(
            "must be an absolute path, or a repository such as sftp:host:/backups", value
        )
    return found


def _credential(value: Any) -> str:
    # No value is shown: it may be a password.
    if not isinstance(value, str) or not value.isprintable():
        raise Unusable("must be a text of one line", advice="write the value in quotes")
    return value


def _environment(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise Unusable("must be a mapping of names to texts")
    name = matching(r"[A-Za-z_][A-Za-z0-9_]*", "the name of a variable")
    return map_of(_credential, name=name)(value)


_READERS: dict[str, Reader] = {
    **{f"edge_{name}": entry.read for name, entry in settings_of(Edge).items()},
    "backup_environment": _environment,
    "backup_prove_schedule": _NAME,
    "backup_prove_without_application": list_of(_NAME, "a list of stacks"),
    "backup_repository": _repository,
    "backup_schedule": _NAME,
    "docker_log_max_size": size_text,
    "docker_log_max_files": whole(1),
    "docker_address_pools": list_of(
        record({"base": network, "size": whole(1, 128)}, ("base", "size")),
        "a list of pools: base, an address range, and size",
    ),
    "docker_dns_servers": list_of(address),
    "host_users": map_of(whole(1, 2**32 - 2), "a mapping of names to numbers"),
    "host_time_servers": list_of(_NAME),
    "host_unattended_upgrades_reboot_time": matching(
        r"([01]?[0-9]|2[0-3]):[0-5][0-9]|now", "a time of day such as 04:30, in quotes"
    ),
    "images_map": map_of(_NAME, "a mapping of names to directories or images"),
    "images_mirrors": map_of(list_of(_NAME), "a mapping of registries to lists of mirrors"),
    "images_pull_retries": whole(0, 100),
    "images_pull_timeout_seconds": whole(1, 604_800),
    "logrotate_days": whole(0, 10_000),
    "native_kept_units": list_of(matching(r"\S+\.service", "a unit such as postgresql.service")),
}
# Settings of before, and what to do instead.
RETIRED = {
    "runtime_dir": "remove it: Moorage's package has one place on all hosts",
    "runtime_command": "remove it: the command has one place on all hosts",
    "runtime_keys_dir": "remove it: a host's keys have one place",
    "storage_runtime_directories": "remove it: each release brings its directories below /run",
    "logrotate_stacks": "remove it: each release brings the rotation of its logs",
    "logrotate_reopen_command": "remove it: each release brings the rotation of its logs",
}


@cache
def settings_of_role(root: Path, role: str) -> Mapping[str, Setting]:
    """Return what an operator may set of a role of the checkout at ``root``, by name."""
    directory = root / "roles" / role
    defaults = _yaml(directory / "defaults" / "main.yml")
    return {
        name: Setting(
            name, defaults[name], _READERS.get(name) or _by_type(option), option["description"]
        )
        for name, option in _options(directory).items()
        if name in defaults
    }


@cache
def own_names(root: Path, role: str) -> frozenset[str]:
    """Return the variables of a role that are no operator's: what a play or the role sets."""
    directory = root / "roles" / role
    return frozenset({*_options(directory), *_yaml(directory / "vars" / "main.yml")})


def _options(directory: Path) -> dict[str, Any]:
    # Stacks are also read in a checkout that has no roles.
    specs = _yaml(directory / "meta" / "argument_specs.yml").get("argument_specs", {})
    return {name: option for spec in specs.values() for name, option in spec["options"].items()}


def _yaml(path: Path) -> dict[str, Any]:
    return (yaml.load(path.read_bytes(), Loader) if path.is_file() else None) or {}


def _anything(value: Any) -> Any:
    return value


def _by_type(option: Mapping[str, Any]) -> Reader:
    """The reader of an option of an argument spec."""
    if "choices" in option:
        return one_of(*option["choices"])
    match option["type"]:
        case "bool":
            return flag
        case "int":
            return whole(0, MOST)
        case "dict":
            return map_of(_anything)
        case "list" if "options" in option:
            inner = option["options"]
            needed = [name for name, part in inner.items() if part.get("required")]
            return list_of(record({n: _by_type(part) for n, part in inner.items()}, needed))
        case "list":
            return list_of(_by_type({"type": option["elements"]}))
        case _:
            return words(empty=True)
