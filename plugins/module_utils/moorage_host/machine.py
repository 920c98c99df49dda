"""Facts of the machine itself: release, memory, disk, init system, clock."""

from __future__ import annotations

import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

# Debian's names for what the kernel reports.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf", "i686": "i386"}

MIB = 1024 * 1024


def parse_os_release(text: str) -> dict[str, str]:
    """The fields of /etc/os-release; format: os-release(5)."""
    fields = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and not name.startswith("#"):
            fields[name.strip()] = value.strip().strip("\"'")
    return fields


def parse_memory_mb(text: str) -> int:
    """MemTotal of /proc/meminfo in MiB."""
    for line in text.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return 0


def memory_limit_mb(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The limit that a container was given, in MiB; None when there is none."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        value = read(cgroup / name).strip()
        # Version 1 writes "no limit" as the largest page-aligned number.
        if value.isdigit() and int(value) < 1 << 60:
            return int(value) // MIB
    return None


def disk(path: str) -> dict[str, Any]:
    """Free and whole size in MiB of the file system that holds a path, existing or not."""
    place = Path(path)
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    return {
        "path": path,
        "free_mb": usage.free // MIB,
        "total_mb": usage.total // MIB,
        "device": os.stat(place).st_dev,
    }


def container_kind() -> str:
    """The kind of container this host is, "" on a machine; as systemd-detect-virt(1) finds it."""
    kind = read(Path("/run/systemd/container")).strip()
    if kind:
        return kind
    if Path("/.dockerenv").exists():
        return "docker"
    return "podman" if Path("/run/.containerenv").exists() else ""


def facts(native_architecture: str, controller_time: float | None) -> dict[str, Any]:
    """All of the above in one mapping, by the names that the survey's documentation gives."""
    release = parse_os_release(read(Path("/etc/os-release")))
    machine = os.uname().machine
    kind = container_kind()
    memory = parse_memory_mb(read(Path("/proc/meminfo")))
    limit = memory_limit_mb()
    return {
        "os_id": release.get("ID", "unknown"),
        "os_version": release.get("VERSION_ID", ""),
        "os_name": release.get("PRETTY_NAME", release.get("NAME", "unknown")),
        "architecture": native_architecture or _ARCHITECTURES.get(machine, machine),
        "kernel": os.uname().release,
        "python": platform.python_version(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mb": memory if limit is None else min(memory, limit),
        "container": bool(kind),
        "container_kind": kind,
        # What sd_booted(3) looks at.
        "systemd": Path("/run/systemd/system").is_dir(),
        "root": os.geteuid() == 0,
        "clock_skew_seconds": (
            None if controller_time is None else round(time.time() - controller_time, 1)
        ),
    }


def read(path: Path) -> str:
    """A small file's text; "" when it is not there or not ours to read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
