"""Writes the tables of documents from what the code goes by.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; all else is written by hand.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from devtool.paths import ROOT
from devtool.ui import say
from moorage.controller.roles import FROM_PLAN, ROLES, settings_of_role
from moorage.render import docs as compose
from moorage.settings import edge, host, run, stack
from moorage.settings.table import Setting, settings_of
from process_supervisor import ProcessConfig, embedded
from process_supervisor.client import Client
from process_supervisor.service.states import TRANSITIONS

SETTINGS = ROOT / "docs/settings.md"
LIBRARY = ROOT / "docs/supervisor-python.md"
# Longer defaults are for a role's own file, whose comments explain them.
_LONGEST_DEFAULT = 60


def write() -> int:
    """Write what the code says into documents and the roles' READMEs."""
    path = ROOT / "docs/compose.md"
    path.write_text(compose.rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
    SETTINGS.write_text(settings_document(SETTINGS.read_text(encoding="utf-8")), encoding="utf-8")
    LIBRARY.write_text(library_document(LIBRARY.read_text(encoding="utf-8")), encoding="utf-8")
    subprocess.run([sys.executable, ROOT / "tests/role_readme.py"], check=True)
    say(f"written: docs/compose.md, docs/settings.md, docs/{LIBRARY.name}, roles/*/README.md")
    return 0


def settings_document(document: str) -> str:
    """Return docs/settings.md with its tables as they should be."""
    return compose.filled(document, tables())


def tables() -> dict[str, str]:
    """Return all tables of docs/settings.md by their names."""
    found = {
        "stack": _table("variable", _lines(stack.Settings, "STACK_")),
        "visitors": _table("key", _lines(edge.Options)),
        "probe": _table("key", _lines(stack.ProbeOptions)),
        "run": _options(),
        "host": _table("variable", _lines(host.Host, host.PREFIX)),
    }
    for role in ROLES:
        own = settings_of_role(ROOT, role).items()
        lines = [(name, entry, role) for name, entry in own if name not in FROM_PLAN]
        found |= {f"{role}_role": _table("variable", lines)} if lines else {}
    return found


def library_document(document: str) -> str:
    """Return docs/supervisor-python.md with what the library says of itself."""
    known = (embedded.ProcessSupervisor, ProcessConfig, Client)
    parts = {cls.__name__: "\n".join(_members(cls)) for cls in known}
    parts["get_supervisor"] = _member("get_supervisor", embedded.get_supervisor)
    return compose.filled(document, {**parts, "states": _diagram()})


def _members(cls: Any) -> Iterator[str]:
    """Yield what is said of a class, and of each thing in it that is for everybody."""
    yield _member(cls.__name__, cls)
    for name, found in vars(cls).items():
        shown = found.fget if isinstance(found, property) else found
        if name.startswith("_") or not inspect.isfunction(shown):
            continue
        yield _member(f".{name}", shown, not isinstance(found, property))


def _member(name: str, found: Any, called: bool = True) -> str:
    signature = re.sub(r"'([^']*)'", r"\1", str(inspect.signature(found))) if called else ""
    signature = signature.replace("(self, ", "(").replace("(self)", "()")
    said = " ".join(inspect.cleandoc(found.__doc__ or "").split())
    return f"- `{name}{signature}`\n  {said}\n"


def _diagram() -> str:
    steps = (f"    {old} --> {new}" for old, into in TRANSITIONS.items() for new in sorted(into))
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> STOPPED", *steps, "```", ""])


def _lines(cls: Any, prefix: str = "") -> list[tuple[str, Setting, str]]:
    return [(prefix + name, entry, "") for name, entry in settings_of(cls).items()]


def _table(head: str, lines: Iterable[tuple[str, Setting, str]]) -> str:
    rows = [f"| {head} | default | meaning |", "| --- | --- | --- |"]
    for name, entry, role in lines:
        meaning = " ".join(entry.meaning.split()).replace("|", "\\|")
        rows.append(f"| `{name}` | {default(entry, role)} | {meaning} |")
    return "\n".join(rows) + "\n"


def default(entry: Setting, role: str = "") -> str:
    """Return a default as a cell has it."""
    if entry.shown:
        return entry.shown
    value = list(entry.default) if isinstance(entry.default, tuple) else entry.default
    if isinstance(value, float):
        value = f"{value:.12g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if role and ("{{" in text or len(text) > _LONGEST_DEFAULT):
        return f"[see there](../roles/{role}/defaults/main.yml)"
    return f"`{text}`" if text else "empty"


def _options() -> str:
    takes = dict(playbooks())
    rows = ["| option | default | taken by | meaning |", "| --- | --- | --- | --- |"]
    for name, entry in settings_of(run.Options).items():
        plays = ", ".join(play for play, options in takes.items() if name in options)
        rows.append(f"| `{name}` | {default(entry)} | {plays} | {entry.meaning} |")
    return "\n".join(rows) + "\n"


def playbooks() -> Iterator[tuple[str, dict[str, bool]]]:
    """Yield each playbook's name and the options that it takes, and whether it needs them."""
    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        (play,) = yaml.safe_load(path.read_text(encoding="utf-8"))
        declared = play["vars"]["moorage_options"]
        needed = dict.fromkeys(declared.get("required", []), True)
        yield path.stem, {**dict.fromkeys(declared.get("optional", []), False), **needed}


def rows(document: str) -> dict[str, dict[str, list[str]]]:
    """Return the cells of all tables of a document by table and by the name in the first cell."""
    found: dict[str, dict[str, list[str]]] = {}
    for section in compose.SECTION.finditer(document):
        cells = [
            re.split(r" (?<!\\)\| ", line.strip("| "))
            for line in section[0].splitlines()
            if line.startswith("| `")
        ]
        found[section[2]] = {cell[0].strip("`"): cell[1:] for cell in cells}
    return found
