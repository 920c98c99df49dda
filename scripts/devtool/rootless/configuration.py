"""Supervisor's configuration, from the template supervisord.conf.j2."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from devtool import shell
from devtool.paths import ROOT
from devtool.rootless.places import Places
from devtool.rootless.programs import Program
from devtool.ui import Problem

_HERE = Path(__file__).resolve().parent
# configparser, as Supervisor sets it up, takes the rest of the line for a comment.
_COMMENT = re.compile(r"\s[;#]|[\r\n]")
_NUMBER = "%(program_name)s_%(process_num)02d"


def render(places: Places, stack: str, programs: Sequence[Program]) -> str:
    """Return the configuration; raises Problem for a value that it cannot hold."""
    jinja = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=False,  # noqa: S701 - text for a program, not for a browser
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {"ini": _ini, "command": _command, "environment": _environment}
    env = shell.environment()
    return jinja.get_template("supervisord.conf.j2").render(
        places=places,
        stack=stack,
        programs=programs,
        user="root" if os.getuid() == 0 else "",
        watch=(sys.executable, "-m", "devtool.rootless.watch", str(places.watched)),
        watch_environment={
            # What builds a program in Go.
            **{key: env[key] for key in ("PATH", "GOTOOLCHAIN", "GOCACHE")},
            "PYTHONPATH": str(ROOT / "scripts"),
            "PYTHONUNBUFFERED": "1",
        },
    )


def watched(places: Places, programs: Sequence[Program]) -> str:
    """Return what the watcher reads: whose code lies where, and how a change is taken in."""
    entries = [
        {
            "processes": [f"{program.group}:{process}" for process in program.processes],
            "sources": [str(path) for path in program.sources],
            "builds": program.builds,
            "reload": None if program.reload is None else str(program.reload),
        }
        for program in programs
    ]
    return json.dumps({"socket": str(places.socket), "programs": entries}, indent=1) + "\n"


def _ini(value: object, expanded: bool = False) -> str:
    text = str(value)
    if match := _COMMENT.search(text):
        where = text[: match.start()][-40:]
        raise Problem(f"Supervisor's configuration cannot hold what comes after {where!r}")
    return text if expanded else text.replace("%", "%%")


def _command(words: Sequence[str]) -> str:
    return _ini(shlex.join(words))


def _environment(variables: Mapping[str, str]) -> str:
    return ",".join(f"{name}={_quoted(name, value)}" for name, value in sorted(variables.items()))


def _quoted(name: str, value: str) -> str:
    """One value, as Supervisor reads it (dict_of_key_value_pairs): nothing can be escaped."""
    mark = next((mark for mark in "\"'" if mark not in value), None)
    if mark is None or value != value.strip("\"'"):
        raise Problem(f"Supervisor's configuration cannot hold the quotes of {name}: {value!r}")
    return f"{mark}{_ini(value, expanded=value == _NUMBER)}{mark}"
