"""Command lines in what a process of the host sees, beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from moorage.common.files import write_atomically
from moorage.deploy.runtimes.base import AS_IT_IS, Surroundings
from moorage.release.layout import Layout
from moorage.release.native import Process, environment_text

# What such a command line begins with.
ENTER = "/bin/sh"
# Arguments are read by everybody, so the variables come by a file of root's: opened before, and
# read by who has become the user. Root's own programs have none of them: some are instructions
# to load a library.
_OPENED = 'exec 3<"$0" && exec "$@"'
_READ = 'set -a; eval "$(cat <&3)"; exec "$@" 3<&-'


def write_variables(layout: Layout, process: Process) -> None:
    """Write the file of a process's environment, root's alone: people write passwords there."""
    layout.processes.mkdir(mode=0o700, exist_ok=True)
    write_atomically(layout.variables(process.unit), environment_text(process), 0o600)


def variables_of(layout: Layout, process: Process) -> Path:
    """Return the file of a process's environment; one that was lost is made anew."""
    file = layout.variables(process.unit)
    if not file.exists():
        write_variables(layout, process)
    return file


def entered(
    process: Process,
    pid: int,
    command: Sequence[str],
    variables: Path,
    beside: Surroundings = AS_IT_IS,
) -> list[str]:
    """Return the command line that runs ``command`` as a process's user, in what it sees.

    ``pid`` is the main one of the process, ``variables`` the file of its environment.
    """
    uid, _, gid = process.user.partition(":")
    # Not what the process has: servers write over it, and take out of it what is theirs alone.
    more = ["/usr/bin/env", *(f"{key}={value}" for key, value in beside.environment.items())]
    return [
        ENTER, "-c", _OPENED, str(variables),
        "/usr/bin/setpriv", "--no-new-privs", "--inh-caps=-all", "--",
        "/usr/bin/nsenter", f"--target={pid}", "--mount",
        f"--wdns={beside.directory or process.directory}",
        f"--setuid={uid}", f"--setgid={gid}", "--",
        "/usr/bin/env", "--ignore-environment", "/bin/sh", "-c", _READ, "sh",
        *(more if beside.environment else ()), *command,
    ]  # fmt: skip
