"""Values in systemd's unit files; format: systemd.syntax(7), systemd.service(5).

Where Compose has a text, a unit has words with quotes, specifiers (%) and variables ($).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from moorage.release.native import Mount, Process
from moorage.render.context import Context

# What systemd takes for itself before the name of a program: after a + it would run as root.
_PREFIXES = tuple("@-:+!|")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LIMITS = frozenset((
    "AS", "CORE", "CPU", "DATA", "FSIZE", "LOCKS", "MEMLOCK", "MSGQUEUE", "NICE", "NOFILE", "NPROC",
    "RSS", "RTPRIO", "RTTIME", "SIGPENDING", "STACK",
))  # fmt: skip
_CAPABILITY = re.compile(r"CAP_[A-Z_]+")
_SIGNS = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "%": "%%"}


def unit_word(text: str) -> str:
    """One word in quotes, whatever is in it."""
    return '"' + "".join(_SIGNS.get(sign, sign) for sign in text) + '"'


def exec_word(text: str) -> str:
    """One word of a command line, in which nothing is a variable."""
    return unit_word(text).replace("$", "$$")


def unit_text(text: str) -> str:
    """A value that is not split into words."""
    return text.replace("%", "%%")


def seconds(value: float) -> str:
    """A time span."""
    return f"{value:.3f}".rstrip("0").rstrip(".") + "s"


def options(mount: Mount) -> str:
    """The mount options of an empty directory."""
    words = ["ro"] if mount.read_only else []
    return ",".join([*words, *filter(None, [mount.options])])


def credential(mount: Mount) -> str:
    """What systemd calls a secret of the process."""
    return posixpath.basename(mount.source)


FILTERS: Mapping[str, Callable[..., str]] = {
    "unit_word": unit_word,
    "exec_word": exec_word,
    "unit_text": unit_text,
    "seconds": seconds,
    "options": options,
    "credential": credential,
    "unit_name": lambda unit: f"{unit}.service",
    "prefix": lambda text, sign: f"{sign}{text}",
}


def refuse(ctx: Context, processes: Iterable[Process]) -> None:
    """Report what no unit file can hold."""
    data = f"{ctx.settings.base_dir}/data/"
    for process in processes:
        if process.manager == "systemd":
            _refuse_of_systemd(ctx, process, data)
        for name in process.limits:
            if name.removeprefix("Limit") not in _LIMITS:
                advice = f"write one of {', '.join(sorted(_LIMITS)).lower()}"
                ctx.wrong(
                    process.service, "ulimits", "is no limit of Linux", advice, name[5:].lower()
                )
        for name in process.environment:
            if not _VARIABLE.fullmatch(name):
                advice = "write letters, digits and underscores"
                message = "is no name of a variable to systemd and shells, which leave it out"
                ctx.wrong(process.service, f"environment.{name}", message, advice)
        for where, text in _texts(process):
            if any(ord(sign) < 32 and sign not in "\n\t\r" for sign in text):
                advice = "write it without control characters"
                # Without the text: it may be a password, and problems end up in logs.
                ctx.wrong(process.service, where, "has a control character", advice)
        for mount in process.mounts:
            if any(
                sign in f"{mount.source}{mount.target}{mount.options}" for sign in ": \n\t\"'\\"
            ):
                advice = "use another path"
                message = "has a sign that stands for something else in a unit"
                ctx.wrong(process.service, "volumes", message, advice, mount.target)


def _refuse_of_systemd(ctx: Context, process: Process, data: str) -> None:
    program = process.command[0] if process.command else ""
    if program.startswith(_PREFIXES):
        advice = "name the program by its path"
        message = "begins with a sign that systemd takes for itself"
        ctx.wrong(process.service, "command", message, advice, program)
    for name in process.capabilities:
        if not _CAPABILITY.fullmatch(name):
            ctx.wrong(process.service, "cap_add", "is no capability", "write NET_ADMIN", name)
    for mount in process.mounts:
        for other in process.mounts:
            inside = mount.target.startswith(f"{other.target.rstrip('/')}/")
            if inside and other.source and (not other.read_only or other.source.startswith(data)):
                message = (
                    f"lies in the volume at {other.target}, where a link could be in its place"
                )
                advice = "mount it outside of that volume"
                ctx.wrong(process.service, "volumes", message, advice, mount.target)


def _texts(process: Process) -> Iterable[tuple[str, str]]:
    yield from (("command", word) for word in process.command)
    values: Mapping[str, Any] = process.environment
    yield from (("environment", str(value)) for value in values.values())
