"""Every key of a Compose file with its shape: the one place where keys are known.

Source: Compose Specification as Docker Compose 2.26 implements it, the version on the hosts.
"""

from __future__ import annotations

from typing import Any

from moorage.compose import shapes as s
from moorage.compose import shorthand
from moorage.compose.command import command
from moorage.compose.extension import EXTENSION
from moorage.compose.extension_schema import (
    SECRET_EXTENSION,
    SERVICE_EXTENSION,
    STACK_EXTENSION_KEYS,
    VOLUME_EXTENSION,
)
from moorage.compose.schema_build import BUILD
from moorage.compose.schema_deploy import DEPLOY, REPLICAS, devices
from moorage.compose.shapes import INVALID, Place
from moorage.images.names import EVERY

# Not what stands for a directory and the one above: names become parts of paths.
NAME = r"(?!\.{1,2}$)[a-zA-Z0-9._-]+"
_NAME_IN_WORDS = "a name"
_RESTART = r"|no|always|unless-stopped|on-failure(:\d+)?"
_SIGNAL = r"(SIG)?[A-Z][A-Z0-9+-]*|\d+"


def _depends_on(value: Any, place: Place) -> Any:
    if isinstance(value, list):
        names = s.listed(s.text, unique=True)(value, place)
        return {name: {"condition": "service_started", "required": True} for name in names}
    checked = _DEPENDENCIES(value, place)
    if checked is INVALID:
        return INVALID
    return {
        name: {"required": True, **entry} for name, entry in checked.items() if "condition" in entry
    }


_DEPENDENCIES = s.mapped(
    s.record(
        {
            "condition": s.choice(
                "service_started", "service_healthy", "service_completed_successfully"
            ),
            "required": s.boolean,
            "restart": s.boolean,
        },
        ("condition",),
    ),
    NAME,
    _NAME_IN_WORDS,
)


def _test(value: Any, place: Place) -> Any:
    if isinstance(value, str):
        return ["CMD-SHELL", value]
    checked = s.listed(s.text)(value, place)
    if checked is INVALID:
        return INVALID
    if checked and checked[0] not in ("CMD", "CMD-SHELL", "NONE"):
        advice = "begin the list with CMD, CMD-SHELL or NONE"
        return place.wrong("does not say how the test is run", value, advice)
    if len(checked) < 2 and checked != ["NONE"]:
        return place.wrong("has no command to run", value, 'add the command, or write ["NONE"]')
    return checked


_HEALTHCHECK = s.record(
    {
        "test": _test,
        "interval": s.duration,
        "timeout": s.duration,
        "retries": s.whole(0),
        "start_period": s.duration,
        "start_interval": s.duration,
        "disable": s.boolean,
    }
)


def _env_files(value: Any, place: Place) -> Any:
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list):
        return place.wrong("is no path", value, "write a path or a list of paths")
    result = []
    for index, entry in enumerate(entries):
        here = place.at(index)
        checked = _ENV_FILE({"path": entry} if isinstance(entry, str) else entry, here)
        if checked is not INVALID and "path" in checked:
            result.append({"required": True, **checked})
    return result


_ENV_FILE = s.record({"path": shorthand.path, "required": s.boolean}, ("path",), extensions=False)


def _networks(value: Any, place: Place) -> Any:
    if isinstance(value, list):
        return dict.fromkeys(s.listed(s.text, unique=True)(value, place))
    return s.mapped(s.nullable(_NETWORK_OF_SERVICE), NAME, _NAME_IN_WORDS)(value, place)


_NETWORK_OF_SERVICE = s.record(
    {
        "aliases": s.listed(s.text, unique=True),
        "ipv4_address": s.text,
        "ipv6_address": s.text,
        "link_local_ips": s.listed(s.text, unique=True),
        "mac_address": s.text,
        "driver_opts": s.mapped(s.scalar_text),
        "priority": s.integer,
        "gw_priority": s.integer,
    }
)


def _extends(value: Any, place: Place) -> Any:
    entry = {"service": value} if isinstance(value, str) else value
    keys = {"service": s.text, "file": shorthand.path}
    return s.record(keys, ("service",), extensions=False)(entry, place)


_TEXTS = s.listed(s.text, once=True)
_RATES = s.listed(s.record({"path": s.text, "rate": s.size}, ("path", "rate")))
_BLKIO = s.record(
    {
        "weight": s.whole(0, 1000),
        "weight_device": s.listed(
            s.record({"path": s.text, "weight": s.whole(0, 1000)}, ("path", "weight"))
        ),
        "device_read_bps": _RATES,
        "device_write_bps": _RATES,
        "device_read_iops": _RATES,
        "device_write_iops": _RATES,
    }
)


def _gpus(value: Any, place: Place) -> Any:
    """Graphics processors: all of them, or a list of devices."""
    if value == "all":
        return [{"count": -1}]
    return devices()(value, place)


_LIFE_HOOKS = s.listed(
    s.record(
        {
            "command": command,
            "user": s.text,
            "privileged": s.boolean,
            "working_dir": s.text,
            "environment": s.pairs(None),
        },
        ("command",),
    )
)

SERVICE_KEYS: dict[str, s.Shape] = {
    "annotations": s.pairs(""),
    "attach": s.boolean,
    "blkio_config": _BLKIO,
    "build": BUILD,
    "cap_add": _TEXTS,
    "cap_drop": _TEXTS,
    "cgroup": s.choice("host", "private"),
    "cgroup_parent": s.text,
    "command": command,
    "configs": s.listed(shorthand.grant(None)),
    "container_name": s.matching(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", "a container's name"),
    "cpu_count": s.integer,
    "cpu_percent": s.number,
    "cpu_period": s.integer,
    "cpu_quota": s.integer,
    "cpu_rt_period": s.integer,
    "cpu_rt_runtime": s.integer,
    "cpu_shares": s.integer,
    "cpus": s.amount,
    "cpuset": s.text,
    "credential_spec": s.mapped(s.text),
    "depends_on": _depends_on,
    "deploy": s.nullable(DEPLOY, {}),
    "develop": s.anything,
    "device_cgroup_rules": _TEXTS,
    "devices": s.listed(shorthand.device),
    "dns": s.one_or_more(s.text, once=True),
    "dns_opt": _TEXTS,
    "dns_search": s.one_or_more(s.text, once=True),
    "domainname": s.text,
    "entrypoint": command,
    "env_file": _env_files,
    "environment": s.pairs(None),
    "expose": s.listed(s.scalar_text, once=True),
    "extends": _extends,
    "external_links": _TEXTS,
    "extra_hosts": shorthand.extra_hosts,
    "gpus": _gpus,
    "group_add": s.listed(s.scalar_text, once=True),
    "healthcheck": _HEALTHCHECK,
    "hostname": s.text,
    "image": s.text,
    "init": s.boolean,
    "ipc": s.text,
    "isolation": s.text,
    "label_file": s.one_or_more(shorthand.path),
    "labels": s.pairs(""),
    "links": _TEXTS,
    "logging": s.record({"driver": s.text, "options": s.mapped(s.nullable(s.scalar_text, ""))}),
    "mac_address": s.text,
    "mem_limit": s.size,
    "mem_reservation": s.size,
    "mem_swappiness": s.size,
    "memswap_limit": s.size,
    "network_mode": s.text,
    "networks": _networks,
    "oom_kill_disable": s.boolean,
    "oom_score_adj": s.whole(-1000, 1000),
    "pid": s.nullable(s.text),
    "pids_limit": s.whole(-1),
    "platform": s.text,
    "ports": shorthand.port_list,
    "post_start": _LIFE_HOOKS,
    "pre_stop": _LIFE_HOOKS,
    "privileged": s.boolean,
    "profiles": _TEXTS,
    "pull_policy": s.matching(
        rf"always|never|build|if_not_present|missing|daily|weekly|{EVERY.pattern}",
        "always, missing, never, build, daily, weekly or every_ and a time, such as every_12h",
    ),
    "read_only": s.boolean,
    "restart": s.matching(_RESTART, "no, always, unless-stopped or on-failure[:times]"),
    "runtime": s.text,
    "scale": REPLICAS,
    "secrets": s.listed(shorthand.grant("/run/secrets")),
    "security_opt": _TEXTS,
    "shm_size": s.size,
    "stdin_open": s.boolean,
    "stop_grace_period": s.duration,
    "stop_signal": s.matching(_SIGNAL, "a signal's name or number, such as SIGTERM"),
    "storage_opt": s.mapped(s.scalar_text),
    "sysctls": s.pairs(""),
    "tmpfs": s.one_or_more(s.text),
    "tty": s.boolean,
    "ulimits": s.mapped(shorthand.ulimit),
    "user": s.text,
    "userns_mode": s.text,
    "uts": s.text,
    "volumes": s.listed(shorthand.mount),
    "volumes_from": _TEXTS,
    "working_dir": s.text,
    EXTENSION: SERVICE_EXTENSION,
}


def _external(value: Any, place: Place) -> Any:
    """true or false, or the older form with the name in it."""
    if isinstance(value, dict):
        return s.record({"name": s.text}, ("name",))(value, place)
    return s.boolean(value, place)


_RESOURCE: dict[str, s.Shape] = {"name": s.text, "external": _external, "labels": s.pairs("")}
_DRIVER: dict[str, s.Shape] = {"driver": s.text, "driver_opts": s.mapped(s.scalar_text)}
_NETWORK = s.record(
    {
        **_RESOURCE,
        **_DRIVER,
        "ipam": s.record(
            {
                "driver": s.text,
                "config": s.listed(
                    s.record(
                        {
                            "subnet": s.text,
                            "ip_range": s.text,
                            "gateway": s.text,
                            "aux_addresses": s.mapped(s.text),
                        }
                    )
                ),
                "options": s.mapped(s.text),
            }
        ),
        "internal": s.boolean,
        "enable_ipv4": s.boolean,
        "enable_ipv6": s.boolean,
        "attachable": s.boolean,
    }
)
_VOLUME = s.record({**_RESOURCE, **_DRIVER, EXTENSION: VOLUME_EXTENSION})
_FILE: dict[str, s.Shape] = {"file": shorthand.path, "environment": s.text}
_TEMPLATE: dict[str, s.Shape] = {"template_driver": s.text}
_SECRET = s.record({**_RESOURCE, **_DRIVER, **_FILE, **_TEMPLATE, EXTENSION: SECRET_EXTENSION})
_CONFIG = s.record({**_RESOURCE, **_FILE, **_TEMPLATE, "content": s.text})


def _include(value: Any, place: Place) -> Any:
    entry = value if isinstance(value, dict) else {"path": value}
    paths = s.one_or_more(shorthand.path)
    keys = {"path": paths, "env_file": paths, "project_directory": shorthand.path}
    return s.record(keys, ("path",), extensions=False)(entry, place)


TOP_KEYS: dict[str, s.Shape] = {
    "version": s.text,
    "name": s.text,
    "include": s.listed(_include),
    "services": s.mapped(s.record(SERVICE_KEYS), NAME, _NAME_IN_WORDS),
    "networks": s.mapped(s.nullable(_NETWORK, {}), NAME, _NAME_IN_WORDS),
    "volumes": s.mapped(s.nullable(_VOLUME, {}), NAME, _NAME_IN_WORDS),
    "secrets": s.mapped(_SECRET, NAME, _NAME_IN_WORDS),
    "configs": s.mapped(_CONFIG, NAME, _NAME_IN_WORDS),
    EXTENSION: s.record(STACK_EXTENSION_KEYS, extensions=False),
}

FILE = s.record(TOP_KEYS)
