"""What each process manager is given: files of the release, by templates of the role `stack`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from moorage.release.manifest import DEFAULT_PIDS, Unit, data_of
from moorage.release.names import LIBRARY, SLOTS
from moorage.release.native import (
    GIVEN_UP,
    SUPERVISOR_PROGRAMS,
    SUPERVISOR_UNIT,
    Process,
    unit_file,
)
from moorage.render.context import Context
from moorage.render.host import escapes
from moorage.render.host.names import numbered, program
from moorage.render.host.slots import movable
from moorage.render.rendering import RenderedFile
from moorage.render.templates import installed_file, template

# A month is for ever.
_LONGEST_STOP = 30 * 86400.0
# Of systemd itself: a stack's own would take the place of one.
_TARGETS = frozenset((
    "basic", "bluetooth", "cryptsetup", "default", "emergency", "exit", "factory-reset",
    "final", "first-boot-complete", "getty", "graphical", "halt", "hibernate", "hybrid-sleep",
    "initrd", "integritysetup", "kexec", "local-fs", "machines", "multi-user", "network",
    "network-online", "nss-lookup", "nss-user-lookup", "paths", "poweroff", "printer",
    "reboot", "remote-cryptsetup", "remote-fs", "remote-veritysetup", "rescue", "rpcbind",
    "shutdown", "sigpwr", "sleep", "slices", "smartcard", "sockets", "soft-reboot", "sound",
    "ssh-access", "storage-target-mode", "suspend", "swap", "sysinit", "system-update",
    "time-set", "time-sync", "timers", "tpm2", "umount", "usb-gadget", "user", "veritysetup",
))  # fmt: skip


# What a manager needs of Debian.
PACKAGES: Mapping[str, tuple[str, ...]] = {"supervisor": ("supervisor",)}
# Programs of a service that says how many of it there are, so that it may grow: a group that has
# another program than before starts anew as a whole.
_ROOM = 8


@dataclass(frozen=True)
class Program:
    """A program of Supervisor's: its name, its log's, and the process of one like it."""

    name: str
    log: str
    process: Process

    @property
    def exit_codes(self) -> str:
        """After which it is not started again."""
        return f"0,{GIVEN_UP}" if self.process.restart in ("no", "on-failure") else f"{GIVEN_UP}"

    @property
    def grace(self) -> int:
        """Whole seconds, as Supervisor counts."""
        return math.ceil(self.process.stop_seconds)


def manager_files(
    ctx: Context, running: Mapping[str, Process], keys: Iterable[Unit]
) -> dict[str, RenderedFile]:
    """The files by which the stack's manager runs each key of the release."""
    name = ctx.stack.name
    if name in _TARGETS:
        advice = "give the stack another name"
        ctx.wrong("", "name", f"systemd has a {name}.target of its own", advice, name)
    escapes.refuse(ctx, running.values())
    units = {
        unit_file(key): RenderedFile(unit_text(ctx, process))
        for key, process in running.items()
        if process.manager == "systemd"
    }
    target = installed_file("etc/systemd/system/STACK.target", stack=name)
    found = {**units, "stack.target": target}
    if ctx.settings.process_manager == "supervisor":
        found |= _supervisor(ctx, running, list(keys))
    if ctx.settings.process_manager == "own":
        found |= _own(ctx, running.values())
    return found


def unit_text(ctx: Context, process: Process) -> str:
    """The unit of a process, as systemd has it."""
    values = {
        "stack": ctx.stack.name,
        "base_dir": ctx.settings.base_dir,
        "process": process,
        "default_pids": DEFAULT_PIDS,
    }
    return template("host/systemd/process.service", values, escapes.FILTERS)


def as_managed(ctx: Context, process: Process) -> list[Any]:
    """All that a running process is to be made anew for: also another unit of the same."""
    unit = unit_text(ctx, process) if process.manager == "systemd" else ""
    return [data_of(process), unit]


def _own(ctx: Context, running: Iterable[Process]) -> dict[str, RenderedFile]:
    """The unit of our supervisor; what that is told, the host puts together."""
    longest = sum(p.stop_seconds for p in running if p.manager == "own")
    values = {
        "stack": ctx.stack.name,
        "base_dir": ctx.settings.base_dir,
        "library": LIBRARY,
        "logs": f"/var/log/moorage/processes/{ctx.stack.name}",
        "after": [p.unit for p in running if p.manager == "systemd"],
        # One after the other at the longest; and what it takes to end by itself.
        "stop_seconds": min(longest, _LONGEST_STOP) + 30.0,
    }
    text = template("host/moorage-supervisor.service", values, escapes.FILTERS)
    return {SUPERVISOR_UNIT: RenderedFile(text)}


def _supervisor(
    ctx: Context, running: Mapping[str, Process], units: Iterable[Unit]
) -> dict[str, RenderedFile]:
    """What Supervisor is told: nothing of it is a release's."""
    own = [unit for unit in units if running[min(unit.keys.values())].manager == "supervisor"]
    programs: dict[str, Program] = {}
    for unit in own:
        process = running[min(unit.keys.values())]
        for name, log in _programs(ctx, unit):
            other = programs[name].process.service if name in programs else unit.service
            if other != unit.service:
                message = f"its program would be called {name}, as one of {other} is"
                ctx.wrong(
                    "", f"services.{unit.service}", message, "give one of the two another name"
                )
            programs.setdefault(name, Program(name, log, process))
    name = ctx.stack.name
    values = {
        "stack": name,
        "programs": list(programs.values()),
        "processes": f"{ctx.settings.base_dir}/processes",
        "library": LIBRARY,
        "after": sorted(p.unit for p in running.values() if p.manager == "systemd"),
    }
    files = {
        SUPERVISOR_PROGRAMS: RenderedFile(
            template("host/supervisor/STACK.conf", values),
            install_as=f"/etc/supervisor/conf.d/{name}.conf",
        )
    }
    if values["after"]:
        files["supervisor-after.conf"] = RenderedFile(
            template("host/supervisor/after.conf", values),
            install_as=f"/etc/systemd/system/supervisor.service.d/{name}.conf",
        )
    return files


def _programs(ctx: Context, unit: Unit) -> Iterator[tuple[str, str]]:
    """The names of a unit's programs and of their logs, with those that it may get."""
    service = ctx.services[unit.service]
    grows = numbered(service) and movable(service, ctx) and not service.moorage.singleton
    room = max(service.replicas, _ROOM) if grows else 0
    for replica in range(1, room + 1) if unit.replica == 1 and room else [unit.replica]:
        log = program(ctx, service, replica)
        for slot in unit.keys:
            yield program(ctx, service, replica, "" if slot == SLOTS[0] else slot), log
