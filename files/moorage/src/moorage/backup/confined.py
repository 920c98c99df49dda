"""What a throw-away instance has of the service that it is like: nothing by which it gets out.

A key that is not named here is left away. A service that could not run without what would let it
out is not started at all.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moorage.release.names import SERVICE_LABEL, SLOT_LABEL, STACK_LABEL

NETWORK = "default"
_KEPT = (
    "image", "command", "entrypoint", "environment", "user", "working_dir", "read_only", "tmpfs",
    "cap_add", "shm_size", "ulimits", "init", "healthcheck", "mem_limit",
    "memswap_limit", "pids_limit", "cpus", "deploy", "stop_signal",
    "group_add", "pull_policy", "hostname", "tty", "stdin_open",
)  # fmt: skip
# Of the host, or of instances that run.
_SHARED = (
    "cgroup", "cgroup_parent", "device_cgroup_rules", "devices", "gpus", "ipc", "network_mode",
    "pid", "privileged", "runtime", "userns_mode", "uts", "volumes_from",
)  # fmt: skip
# By none of them does anybody leave an instance, or see what passes on a network.
_HARMLESS = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "IPC_LOCK", "KILL",
    "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT", "SYS_NICE",
}  # fmt: skip
# Names of processes in the same instance.
_OWN_HOSTS = ("=127.0.0.1", ":127.0.0.1")
# Visitors come first: a sixteenth of what others get who want the processors as well, and the
# first to go where memory ends.
_CPU_SHARES, _FIRST_TO_GO = 64, 1000


def out_of_bounds(described: Mapping[str, Any]) -> str:
    """Say what a service has that no throw-away instance may have, "" where that is nothing."""
    for key in _SHARED:
        if described.get(key) and (key, described[key]) != ("network_mode", "none"):
            return key
    added = (str(name).upper().removeprefix("CAP_") for name in described.get("cap_add") or ())
    return next((f"cap_add: {name}" for name in added if name not in _HARMLESS), "")


def confined(
    described: Mapping[str, Any],
    *,
    stack: str,
    service: str,
    name: str,
    slot: str,
    stop_seconds: float,
    names: Sequence[str],
    volumes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the description of a throw-away instance.

    Others of its stack find it by ``names``; without any it has no network.
    """
    safe = [o for o in described.get("security_opt") or () if o.startswith("no-new-privileges")]
    network: dict[str, Any] = {"network_mode": "none"}
    if names and described.get("network_mode") != "none":
        # No name server: older engines ask the host's for instances that reach nobody themselves.
        network = {"networks": {NETWORK: {"aliases": list(names)}}, "dns": ["127.0.0.1"]}
    # An address by IPv6 that nobody has given would lead to the host's own in the same network.
    sysctls = {
        key: value
        for key, value in (described.get("sysctls") or {}).items()
        if not key.replace("/", ".").startswith("net.ipv6.")
    }
    return {
        **{key: described[key] for key in _KEPT if key in described},
        **network,
        "sysctls": sysctls,
        "cap_drop": [*(described.get("cap_drop") or ()), "NET_RAW"],
        "security_opt": safe,
        "extra_hosts": [h for h in described.get("extra_hosts") or () if h.endswith(_OWN_HOSTS)],
        "volumes": list(volumes),
        "container_name": name,
        "stop_grace_period": f"{stop_seconds:g}s",
        "restart": "no",
        "cpu_shares": _CPU_SHARES,
        "oom_score_adj": _FIRST_TO_GO,
        "logging": {"driver": "json-file", "options": {"max-size": "1m", "max-file": "1"}},
        "labels": {
            STACK_LABEL: stack,
            SERVICE_LABEL: service,
            **({SLOT_LABEL: slot} if slot else {}),
        },
    }


def closed_network(stack: str) -> dict[str, Any]:
    """Return the network of a throw-away stack: no way out, and the host has no address in it."""
    return {
        "name": f"{stack}_{NETWORK}",
        "internal": True,
        "enable_ipv6": False,
        "driver_opts": {"com.docker.network.bridge.inhibit_ipv4": "true"},
    }


def mount_of(
    mount: Mapping[str, Any], moved: Callable[[Path], Path | None], aside: Path
) -> tuple[dict[str, Any], str]:
    """Return a mount of a throw-away instance, and the path of the host that it has not got.

    ``moved`` gives the copy of a path of the stack, None for one of somebody else's. Of those it
    gets plain files that it may only read, and an empty directory ``aside`` for all others.
    """
    if mount.get("type") == "tmpfs":
        return dict(mount), ""
    source = Path(os.path.normpath(str(mount.get("source") or "")))
    own = moved(source)
    path, lacking = own or source, ""
    if own is None and not (mount.get("read_only") and _is_file(source)):
        path, lacking = aside, str(source)
    return {
        "type": "bind",
        "source": str(path),
        "target": mount["target"],
        "read_only": bool(mount.get("read_only")),
        "bind": {"create_host_path": False},
    }, lacking


def _is_file(path: Path) -> bool:
    try:
        return path.is_absolute() and stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
