"""What a stack's processes are called, and what they call each other."""

from __future__ import annotations

from zlib import crc32

from moorage.release.manifest import Unit
from moorage.release.names import SLOTS, in_slot
from moorage.render.context import Context
from moorage.render.rendering import RenderedFile
from moorage.render.service import PlacedService

# Each stack has an address of its own in 127.64.0.0/10: two of a host may have a database each.
_FIRST, _SIZE = 127 << 24 | 64 << 16, 64 << 16


def stack_address(stack: str) -> str:
    """The loopback address of a stack: services that are reached by name listen there."""
    number = _FIRST + crc32(stack.encode()) % _SIZE
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def process_unit(ctx: Context, unit: Unit, slot: str) -> str:
    """What the process of a replica in a slot is called by its manager.

    The systemd unit, without .service: chatbot-task@3b; Supervisor's program: chatbot_task_02_b;
    our supervisor's process, without the stack: chatbot-task-3b.
    """
    if ctx.settings.process_manager == "supervisor":
        service = ctx.services[unit.service]
        return program(ctx, service, unit.replica, "" if slot == SLOTS[0] else slot)
    # Of a scope systemd takes no @.
    sign = "-" if ctx.settings.process_manager == "own" else "@"
    return f"{ctx.stack.name}-{unit.service}{sign}{unit.replica}{slot}"


def program(ctx: Context, service: PlacedService, replica: int, slot: str = "") -> str:
    """Supervisor's program of a replica; the first of a service that tells no number has none.

    "" is the first slot.
    """
    number = f"_{replica - 1:02}" if numbered(service) or replica > 1 else ""
    return in_slot(f"{ctx.stack.name}_{service.name}{number}", slot, "_")


def numbered(service: PlacedService) -> bool:
    """Whether a service says how many of it there are, whatever the operator says."""
    deploy = service.options.get("deploy") or {}
    return "replicas" in deploy or "scale" in service.options


def hosts_path(ctx: Context) -> str:
    """Where the host has the file that the stack's processes see as /etc/hosts."""
    return f"{ctx.settings.base_dir}/config/hosts"


def hosts_file(ctx: Context) -> RenderedFile:
    """The names of all services at the stack's address; format: hosts(5)."""
    address = stack_address(ctx.stack.name)
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{address} {name}" for name in ctx.services]
    for service in ctx.services.values():
        for entry in service.options.get("extra_hosts", []):
            name, _, target = entry.partition("=")
            lines.append(f"{'127.0.0.1' if target == 'host-gateway' else target} {name}")
    content = "".join(f"{line}\n" for line in dict.fromkeys(lines))
    return RenderedFile(content, install_as=hosts_path(ctx))
