"""What root runs and others may write: who can write it is root at the next start."""

from __future__ import annotations

import contextlib
import os
import re
import stat

from process_supervisor.service.spawn import program_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from process_supervisor.config.settings import Config, ProcessConfig

MOST_TOLD = 10
MOST_LINKS = 40
INTERPRETER = re.compile(r"(python|pypy|sh|bash|dash|node|ruby|perl|php)[\d.]*")


def exposed(config: Config) -> list[str]:
    """Say which files that root reads or runs others may write, or a directory on their way.

    Looked at are the configuration with the directories that it includes, environment files, the
    directories of logs, plug-ins, and of what runs as root program, script and PATH as far as the
    program. What is not there is passed over.
    """
    looked: dict[str, str] = {}
    found: dict[str, str] = {}
    # A thousand processes may have one program.
    once: dict[str, str] = {}
    for path, what in used(config):
        once.setdefault(path, what)
    for path, what in once.items():
        for place in on_the_way(path):
            if place not in looked:
                looked[place] = writers(place)
            if looked[place]:
                found.setdefault(place, f"{place} {looked[place]}, and root uses it: {what}")
    return list(found.values())


def told(config: Config) -> list[str]:
    """Return the same, but not more than is read."""
    found = exposed(config)
    more = len(found) - MOST_TOLD
    return [*found[:MOST_TOLD], *([f"and {more} more"] if more > 0 else [])]


def used(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the files that root reads as its orders, or runs, and what for."""
    for path in (*config.files, *config.included):
        yield path, "configuration"
    if config.log_file:
        yield os.path.dirname(config.log_file), "its log"
    for plugin in config.plugins.values():
        path, colon, _ = plugin.target.rpartition(":")
        if colon and path.startswith("/") and is_root(plugin.user):
            yield path, f"plug-in {plugin.name}"
    programs: dict[tuple[str, str], str] = {}
    for process in config.processes.values():
        if process.environment_file:
            yield process.environment_file, f"environment_file of {process.name}"
        for log in (process.stdout_logfile, process.stderr_logfile):
            if log:
                yield os.path.dirname(log), f"log of {process.name}"
        if is_root(process.user):
            yield from run_by(process, programs)


def run_by(
    process: ProcessConfig, programs: dict[tuple[str, str], str]
) -> Iterator[tuple[str, str]]:
    """Yield a process's program, and the script that it is given where it is one that runs them."""
    name, directory = process.command[0], process.working_dir or "."
    path = process.environment.get("PATH") or os.environ.get("PATH", os.defpath)
    if (name, path) not in programs:
        try:
            programs[name, path] = program_of(name, {"PATH": path})
        except OSError:
            programs[name, path] = ""
    if programs[name, path] and "/" not in name:
        # Who may write to an earlier one gets in first.
        for place in os.get_exec_path({"PATH": path}):
            if place == os.path.dirname(programs[name, path]):
                break
            yield os.path.join(directory, place), f"PATH of {process.name}"
    if programs[name, path]:
        yield os.path.join(directory, programs[name, path]), f"program of {process.name}"
    words = process.command[1:] if INTERPRETER.fullmatch(os.path.basename(name)) else ()
    script = next((word for word in words if not word.startswith("-")), "")
    place = os.path.join(directory, script)
    if script and os.path.isfile(place):
        yield place, f"script of {process.name}"


def is_root(user: str | None) -> bool:
    """Whether a `user` means root, where the supervisor is root itself."""
    name = "root" if user is None else user.partition(":")[0]
    return name == "root" or (name.isdecimal() and int(name) == 0)


def on_the_way(path: str) -> Iterator[str]:
    """Yield a file and all directories above it, also where links lead, each in its turn."""
    waiting, seen = [os.path.realpath(path), os.path.abspath(path)], 0
    while waiting and (seen := seen + 1) <= MOST_LINKS:
        whole = place = waiting.pop()
        while place != "/":
            yield place
            with contextlib.suppress(OSError):  # most are no links
                above, rest = os.path.dirname(place), os.path.relpath(whole, place)
                target = os.path.join(os.path.realpath(above), os.readlink(place), rest)
                waiting.append(os.path.normpath(target))
            place = os.path.dirname(place)


def writers(path: str) -> str:
    """Say who else than root may write a place, nothing where nobody may."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    if found.st_uid != 0:
        return f"belongs to uid {found.st_uid}"
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return ""  # as in /tmp: who may write there may not replace what is another's
    if found.st_mode & stat.S_IWOTH:
        return "may be written by everybody"
    if found.st_mode & stat.S_IWGRP and found.st_gid != 0:
        return f"may be written by gid {found.st_gid}"
    return ""
