"""What the engine says of a container, in the control API's words. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from moorage.control.contract import ExitStatus, Health, ServiceStatus, State
from moorage.control.journal import exit_status
from moorage.control.membership import Member

# The engine starts these again unless somebody has stopped them.
_LASTING = ("always", "unless-stopped")


def container_status(
    member: Member,
    raw: Mapping[str, Any],
    *,
    now: float,
    last_exit: ExitStatus | None = None,
    cpu_percent: float | None = None,
    memory_bytes: int | None = None,
) -> ServiceStatus:
    """Return a container's status from what `inspect` says of it.

    `last_exit` is the end that was seen last: of a running container the engine tells none.
    """
    found = raw["State"]
    state, reason = _state(raw)
    pid = int(found.get("Pid") or 0) or None
    started = timestamp_ns(found.get("StartedAt", ""))
    started_at = started / 1e9 if started and pid else None
    health = (found.get("Health") or {}).get("Status") or "none"
    return ServiceStatus(
        name=member.name,
        state=state,
        health=Health(health) if pid else Health.NONE,
        wanted="down" if state is State.STOPPED else "up",
        pid=pid,
        started_at=started_at,
        uptime=round(max(0.0, now - started_at), 3) if started_at else 0.0,
        restarts=int(raw.get("RestartCount") or 0),
        exit=last_exit if pid else _exit(found) or last_exit,
        reason=reason,
        cpu_percent=cpu_percent,
        memory_bytes=memory_bytes,
        ports=member.ports,
        image=raw["Config"]["Image"],
    )


def absent_status(member: Member, reason: str) -> ServiceStatus:
    """Return the status of a service that has no container."""
    return ServiceStatus(
        name=member.name, state=State.STOPPED, wanted="down", reason=reason, ports=member.ports
    )


def timestamp_ns(text: str) -> int | None:
    """Return a time of the engine in nanoseconds since 1970, None for its "never"."""
    # fromisoformat of Python 3.11 takes no nanoseconds.
    head, _, tail = text.removesuffix("Z").partition(".")
    try:
        seconds = int(datetime.fromisoformat(f"{head}+00:00").timestamp())
    except ValueError:
        return None
    return seconds * 10**9 + int((tail or "0").ljust(9, "0")[:9]) if seconds > 0 else None


def _exit(found: Mapping[str, Any]) -> ExitStatus | None:
    ended = timestamp_ns(found.get("FinishedAt", ""))
    return exit_status(int(found.get("ExitCode", 0)), ended / 1e9) if ended else None


def _state(raw: Mapping[str, Any]) -> tuple[State, str | None]:
    found = raw["State"]
    match found["Status"]:
        case "running":
            return State.RUNNING, None
        case "restarting":
            return State.BACKOFF, _why(found)
        case "removing":
            return State.STOPPING, "its container is being removed"
        case "paused":
            return State.STOPPED, "its container is paused"
        case "dead":
            return State.FATAL, "the engine could not remove its container"
        case "created":
            failed = str(found.get("Error") or "")
            return (State.FATAL, failed) if failed else (State.STOPPED, None)
    return _ended(raw)


def _ended(raw: Mapping[str, Any]) -> tuple[State, str | None]:
    found = raw["State"]
    code = int(found.get("ExitCode", 0))
    policy = raw["HostConfig"].get("RestartPolicy") or {}
    name, most = policy.get("Name") or "no", int(policy.get("MaximumRetryCount") or 0)
    if found.get("Error"):
        return State.FATAL, str(found["Error"])
    if name in _LASTING:
        return State.STOPPED, None
    if name == "on-failure" and code:
        if most and int(raw.get("RestartCount") or 0) >= most:
            return State.FATAL, f"{_why(found)}, {most} times in a row"
        # It would be started again had nobody stopped it.
        return State.STOPPED, None
    return State.EXITED, _why(found) if code else None


def _why(found: Mapping[str, Any]) -> str:
    if found.get("OOMKilled"):
        return "it was killed: its memory limit was reached"
    return f"it ended with exit code {found.get('ExitCode', 0)}"
