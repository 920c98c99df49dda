"""The Docker engine on this host, over its socket: only questions, never a change.

Asking takes a few milliseconds, starting the docker client forty.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ansible.module_utils.moorage_host import names
from ansible.module_utils.moorage_host.unixhttp import ConnectionFailed, ask, request_bytes

SOCKET = Path("/run/docker.sock")
PID_FILE = Path("/run/docker.pid")
_SECONDS = 10.0
_ANSWER_BYTES = 64 << 20


def is_running(pid_file: Path = PID_FILE) -> bool:
    """Whether an engine runs.

    Its process is looked for first: connecting to the socket of a stopped engine would start it,
    because systemd listens there.
    """
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == "dockerd"
    except (OSError, ValueError):
        return False


def get(path: str, socket_path: Path = SOCKET) -> Any:
    """One answer of the engine's API; OSError when it does not answer, or with an error."""
    request = request_bytes("GET", path, version="1.0")
    try:
        answer = ask(str(socket_path), request, timeout=_SECONDS, limit=_ANSWER_BYTES)
        if answer.status != 200:
            raise OSError(f"the Docker engine answers {answer.status} to {path}")
        return answer.json()
    except ConnectionFailed as error:
        raise OSError(f"the Docker engine does not answer: {error}") from error


def containers(socket_path: Path = SOCKET) -> list[dict[str, Any]]:
    """All containers, running or not."""
    return [summary(entry) for entry in get("/containers/json?all=1", socket_path)]


def summary(entry: dict[str, Any]) -> dict[str, Any]:
    """What a run needs to know of one entry of /containers/json."""
    labels = entry.get("Labels") or {}
    status = str(entry.get("Status", ""))
    return {
        "id": entry["Id"][:12],
        "name": entry["Names"][0].lstrip("/") if entry.get("Names") else "",
        "image": entry.get("Image", ""),
        "state": entry.get("State", ""),
        "health": parse_health(status),
        "exit_code": parse_exit_code(status),
        # Images carry the stack's label too, and a stranger's container inherits it from them.
        "stack": labels.get(names.STACK_LABEL, "") if names.SERVICE_LABEL in labels else "",
        "service": labels.get(names.SERVICE_LABEL, ""),
        "ports": [
            {
                "address": port.get("IP") or "0.0.0.0",
                "port": port["PublicPort"],
                "protocol": port.get("Type", "tcp"),
            }
            for port in entry.get("Ports") or []
            if port.get("PublicPort")
        ],
    }


def networks(socket_path: Path = SOCKET) -> list[dict[str, Any]]:
    """All networks: name, Compose project (empty without), subnets and the device of each."""
    return [
        {
            "name": entry["Name"],
            "project": (entry.get("Labels") or {}).get("com.docker.compose.project", ""),
            "subnets": [
                config["Subnet"]
                for config in (entry.get("IPAM") or {}).get("Config") or []
                if config.get("Subnet")
            ],
            "device": (entry.get("Options") or {}).get("com.docker.network.bridge.name")
            or f"br-{entry['Id'][:12]}",
        }
        for entry in get("/networks", socket_path)
    ]


def published(found: list[dict[str, Any]]) -> list[tuple[str, str, int, str]]:
    """Published ports of running containers: container, address, port, protocol."""
    return [
        (entry["name"], port["address"], port["port"], port["protocol"])
        for entry in found
        if entry["state"] == "running"
        for port in entry["ports"]
    ]


def parse_health(status: str) -> str:
    """The health in "Up 3 minutes (healthy)"; "none" without a health check."""
    match = re.search(r"\((healthy|unhealthy|health: starting)\)", status)
    if not match:
        return "none"
    return "starting" if match.group(1).startswith("health:") else match.group(1)


def parse_exit_code(status: str) -> Any:
    """The code in "Exited (137) 2 hours ago"; None while the container runs."""
    match = re.match(r"Exited \((-?\d+)\)", status)
    return int(match.group(1)) if match else None
