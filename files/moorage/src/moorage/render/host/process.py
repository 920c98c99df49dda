"""A service as a process of the host: what its manager is told, but for what its slot decides."""

from __future__ import annotations

import posixpath
import re
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from moorage.release.native import ENVIRONMENTS, Check, Mount, Process, environment_name
from moorage.render.context import Context
from moorage.render.health import health_check
from moorage.render.host.names import hosts_path
from moorage.render.host.slots import extension, filled
from moorage.render.mounts import User
from moorage.render.restart import restart_kind, supervised_restart
from moorage.render.service import PlacedService
from moorage.render.units import DEFAULT_GRACE

_PORT = re.compile(r":(\d+)")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What an engine leaves a container's root, and nobody else.
_USUAL = frozenset((
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
    "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
))  # fmt: skip
# Of every Debian: their members read what is root's, such as the hashes of passwords.
POWERFUL = {0: "root", 42: "shadow"}
# Directories of every Debian: what is put into one of them leaves the rest of it in sight.
_OF_THE_SYSTEM = frozenset((
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/media", "/mnt", "/opt", "/proc",
    "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib",  # noqa: S108
    "/usr/local", "/usr/local/bin", "/usr/local/lib", "/usr/share", "/var", "/var/cache",
    "/var/lib", "/var/log", "/var/run", "/var/spool", "/var/tmp",  # noqa: S108
))  # fmt: skip


def environment_directory(ctx: Context, ref: str) -> str:
    """Where the host has an environment."""
    return f"{ctx.settings.base_dir}/{ENVIRONMENTS}/{environment_name(ref)}"


def process(
    ctx: Context, service: PlacedService, user: User, ref: str, entry: Mapping[str, Any]
) -> Process:
    """The process of a service, whose `entry` is that of the release's compose.yaml.

    `ref` is the reference of its environment.
    """
    host = extension(service, ctx)
    directory = environment_directory(ctx, ref)
    sources = [f"{directory}/{name}" for name in host.sources]
    command = host.command or entry["command"]
    if not command and not service.is_data:
        advice = "write command:, or x-moorage.host.command"
        ctx.wrong(service.name, "command", "is missing: there is no image that has one", advice)
    python = {"PYTHONPATH": ":".join(sources)} if sources else {}
    uwsgi = {f"UWSGI_{key.upper().replace('-', '_')}": value for key, value in host.uwsgi.items()}
    variables = {**python, **uwsgi, **entry["environment"], **host.environment}
    search = f"{directory}/venv/bin:" if host.requirements else ""
    grace, (kind, _) = service.stop_grace_period, restart_kind(service)
    policy, options = supervised_restart(service), service.options
    journal = ctx.settings.process_manager == "systemd"
    return Process(
        unit="",
        service=service.name,
        command=tuple(command),
        directory=sources[0] if sources else "/",
        path=f"{search}{_SYSTEM_PATH}",
        user=f"{user[0]}:{user[1]}",
        environment=dict(sorted(variables.items())),
        groups=_groups(ctx, service),
        mounts=_mounts(ctx, service, directory, entry["volumes"]),
        check=_check(service),
        restart=kind,
        attempts=policy["restart_limit"],
        window=policy.get("restart_reset_seconds", Process.window),
        delay=policy.get("restart_delay", Process.delay),
        delay_max=policy["restart_delay_max"],
        one_off=service.one_off,
        stop_signal=signal_name(service.stop_signal or "SIGTERM"),
        stop_seconds=DEFAULT_GRACE if grace is None else grace,
        memory=service.limits.memory,
        cpus=service.limits.cpus,
        pids=service.limits.pids,
        oom_score=options.get("oom_score_adj"),
        capabilities=_capabilities(service),
        limits=_limits(options.get("ulimits") or {}),
        # Where its manager writes it; systemd has its journal.
        log_max_bytes=0 if journal else ctx.settings.process_log_max_bytes,
        log_backups=0 if journal else ctx.settings.process_log_backups,
    )


def in_slot(found: Process, unit: str, known: Mapping[str, str], after: Sequence[str]) -> Process:
    """The process as it is in one slot, whose variables have the values that are `known`."""
    check = found.check
    if check is not None:
        # The URL names the service's own port, as a container has it.
        url = _PORT.sub(lambda m: f":{known.get(f'MOORAGE_PORT_{m[1]}', m[1])}", check.url, 1)
        check = replace(check, command=tuple(filled(check.command, known)), url=url)
    return replace(
        found,
        unit=unit,
        command=tuple(filled(found.command, known)),
        environment=filled(found.environment, known),
        check=check,
        after=tuple(after),
    )


def signal_name(text: str) -> str:
    """Its name, also of one that is given by its number."""
    if text.isdecimal():
        with suppress(ValueError):
            return signal.Signals(int(text)).name
    return f"SIG{text.removeprefix('SIG')}"


def _check(service: PlacedService) -> Check | None:
    found = health_check(service)
    if found is None:
        return None
    how = {"url": found["url"]} if found["type"] == "http" else {"command": found["command"]}
    times = ("interval", "timeout", "retries", "start_period", "start_interval")
    times_given = {key: found[key] for key in times}
    command = tuple(how.get("command", ()))
    return Check(
        how.get("url", ""), command, **times_given, restart=found["restart_when_unhealthy"]
    )


def _groups(ctx: Context, service: PlacedService) -> tuple[int, ...]:
    named = [str(group) for group in service.options.get("group_add") or ()]
    for name in named:
        if not name.isdigit():
            advice = "write its number: a name means another group on each host"
            ctx.wrong(service.name, "group_add", "is a name", advice, name)
        elif int(name) in POWERFUL:
            message = f"is {POWERFUL[int(name)]} of the host here"
            ctx.wrong(service.name, "group_add", message, "leave it out", name)
    return tuple(int(name) for name in named if name.isdigit())


def _capabilities(service: PlacedService) -> tuple[str, ...]:
    options = service.options
    drop = {str(name).upper().removeprefix("CAP_") for name in options.get("cap_drop") or ()}
    add = {str(name).upper().removeprefix("CAP_") for name in options.get("cap_add") or ()}
    kept = set() if "ALL" in drop else _USUAL - drop
    return tuple(f"CAP_{name}" for name in sorted(kept | add))


def _limits(given: Mapping[str, Any]) -> dict[str, str]:
    """`ulimits` as systemd writes them: LimitNOFILE=1024:2048."""
    found = {}
    for name, value in sorted(given.items()):
        soft, hard = (value["soft"], value["hard"]) if isinstance(value, Mapping) else (value,) * 2
        words = ["infinity" if int(n) < 0 else str(n) for n in (soft, hard)]
        found[f"Limit{name.upper()}"] = ":".join(dict.fromkeys(words))
    return found


def _tmpfs(service: PlacedService) -> list[Mount]:
    given = service.options.get("tmpfs") or []
    entries = [given] if isinstance(given, str) else given
    parts = (entry.partition(":") for entry in entries)
    return [Mount(target, options=_writable(options)) for target, _, options in parts]


def _writable(options: str) -> str:
    """The engine's empty directories are everybody's unless they say otherwise."""
    return options if re.search(r"(^|,)mode=", options) else f"{options},mode=1777".lstrip(",")


def _mounts(
    ctx: Context, service: PlacedService, directory: str, given: Sequence[Mapping[str, Any]]
) -> tuple[Mount, ...]:
    """What the process sees of the host below /opt, and at the places of its mounts."""
    secrets = f"{ctx.settings.secrets_dir}/"
    found = _tmpfs(service)
    for mount in given:
        if mount["type"] == "tmpfs":
            size = (mount.get("tmpfs") or {}).get("size")
            found.append(Mount(mount["target"], options=_writable(f"size={size}" if size else "")))
            continue
        source = str(mount["source"])
        secret = source.startswith(secrets)
        found.append(Mount(mount["target"], source, bool(mount.get("read_only")), secret))
    parents = {posixpath.dirname(mount.target.rstrip("/")) for mount in found} - _OF_THE_SYSTEM
    # The outermost ones: what is inside them is made there.
    hidden = [
        parent
        for parent in sorted(parents)
        if not any(parent.startswith(f"{other}/") for other in parents)
        and not any(mount.target == parent for mount in found)
    ]
    return (
        *(Mount(parent, read_only=True, options="mode=0755") for parent in ("/opt", *hidden)),
        Mount(directory, directory, read_only=True),
        Mount("/etc/hosts", hosts_path(ctx), read_only=True),
        *found,
    )
