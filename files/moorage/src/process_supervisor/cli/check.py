"""The command check-config."""

from __future__ import annotations

import json
import os
import re
import sys

from process_supervisor.common import openfiles
from process_supervisor.config.files import load
from process_supervisor.config.reader import ConfigError, meant
from process_supervisor.service import trust
from process_supervisor.service.spawn import Identity, SpawnError, program_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from process_supervisor.config.settings import Config, ProcessConfig

EXIT_CONFIG = 78
# What a message has that texts of a body name.
MESSAGE = (
    "summary", "reason", "state", "kind", "process", "host", "since", "at", "count", "repeated",
    "version",
)  # fmt: skip
NAME = re.compile(r"\$(?:\$|([_a-zA-Z][_a-zA-Z0-9]*)|\{([_a-zA-Z][_a-zA-Z0-9]*)\})")


def check_config(paths: list[str], show: bool) -> int:
    """Print what is wrong with configuration files, or what they configure; return the status.

    What may be right on another machine, such as a user that is not here, is told alone.
    """
    try:
        config = load(*paths)
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return EXIT_CONFIG
    for warning in warnings(config):
        print(f"warning: {warning}", file=sys.stderr)
    if show:
        print(json.dumps(config.as_dict(), indent=2))
    else:
        print(f"{', '.join(config.files)}: {len(config.processes)} processes: "
              + ", ".join(config.processes))  # fmt: skip
    return 0


def warnings(config: Config) -> Iterator[str]:
    """Yield what would not work, or not be safe, on this machine."""
    if short := openfiles.shortage(config.processes.values()):
        yield short
    for plugin in config.plugins.values():
        yield from missing_user(f"plug-in {plugin.name}", plugin.user)
        path, colon, name = plugin.target.rpartition(":")
        if colon and path.endswith(".py"):
            yield from missing_class(f"plug-in {plugin.name}", path, name)
    for channel in config.alerts.channels.values():
        for name in sorted(names_in(channel.settings.get("body"))):
            if name not in MESSAGE:
                what = f"there is no ${name}{meant(name, MESSAGE)}"
                known = ", ".join(f"${key}" for key in MESSAGE)
                yield f"channel {channel.name}: body: {what} (there are: {known})"
    for process in config.processes.values():
        where = f"process {process.name}"
        yield from missing_user(where, process.user)
        for key in ("working_dir", "environment_file"):
            path = getattr(process, key)
            if path and not os.path.exists(path):
                yield f"{where}: {key}: there is no {path}"
        yield from missing_program(where, process)
    if os.geteuid() == 0:
        yield from trust.exposed(config)


def names_in(body: object) -> set[str]:
    """Return the `$names` that a body of a webhook has, as string.Template finds them."""
    if isinstance(body, str):
        return {found[1] or found[2] for found in NAME.finditer(body) if found[1] or found[2]}
    if isinstance(body, dict):
        body = list(body.values())
    return set().union(*map(names_in, body)) if isinstance(body, list) else set()


def missing_user(where: str, user: str | None) -> Iterator[str]:
    """Yield that there is no such user or group."""
    try:
        if user:
            Identity(user)
    except SpawnError as error:
        yield f"{where}: user: {error}"


def missing_program(where: str, process: ProcessConfig) -> Iterator[str]:
    """Yield that there is no such program, unless its environment_file may say where."""
    name = process.command[0]
    path = process.environment.get("PATH") or os.environ.get("PATH", os.defpath)
    if "/" not in name and process.environment_file:
        return
    try:
        found = os.path.join(process.working_dir or ".", program_of(name, {"PATH": path}))
    except FileNotFoundError:
        yield f"{where}: command: there is no {name} in {path}"
        return
    if not os.path.exists(found):
        yield f"{where}: command: there is no {found}"


def missing_class(where: str, path: str, name: str) -> Iterator[str]:
    """Yield that a file has no such class; it is read, not run."""
    import ast

    try:
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
    except (OSError, ValueError, SyntaxError, RecursionError) as error:
        yield f"{where}: class: cannot read {path}: {error}"
        return
    names = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    # Another name may be a variable, or imported.
    if name not in names and not any(
        name in (getattr(node, "id", None), getattr(node, "asname", None), getattr(node, "name", 0))
        for node in ast.walk(tree)
    ):
        yield f"{where}: class: {path} has no class {name}{meant(name, names)}"
