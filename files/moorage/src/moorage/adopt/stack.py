"""Write a fetched project as a stack: upstream/ as it came, and what Moorage adds beside it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from moorage.adopt.fetch import AdoptError, Fetched, copy
from moorage.adopt.secrets import Found
from moorage.controller.settings import prefix

UPSTREAM = "upstream"
ADDED = "moorage.yml"
# Bounded: what is never closed would be looked through to its end again and again.
_VARIABLE = re.compile(
    r"(?<!\$)\$(?:\{(\w{1,255}+)(?:(:?[-?+])([^{}]{0,999}+))?[^}]{0,999}+\}|([A-Za-z_]\w*))"
)


def name_of(text: str) -> str:
    """Return a name for a stack that a directory or a file suggests; "" where none can be had."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:40]


def write_stack(
    project: Fetched, name: str, files: Iterable[str], target: Path, without: Collection[str]
) -> list[str]:
    """Write the stack's directory; return what of the project was left out, in words.

    Raises AdoptError, with the directory as it was, where one of that name is there already.
    """
    if target.exists():
        raise AdoptError(f"{target} is there already: remove it, or choose another --name")
    try:
        left = copy(project.directory, target / UPSTREAM, without)
        paths = [*(f"{UPSTREAM}/{file}" for file in files), ADDED]
        (target / "compose.yml").write_text(
            f"# From {project.origin}, as it came in {UPSTREAM}/: change nothing there, and fetch\n"
            f"# it anew for a newer one. What differs here stands in {ADDED}.\n"
            f"name: {name}\n"
            "include:\n"
            f"  - path: {json.dumps(paths)}\n"
            f"    project_directory: {UPSTREAM}\n"
            "# Topology unified: what it builds are processes of one image (docs/topologies.md).\n"
            "# x-moorage:\n"
            "#   unified:\n"
            "#     build: {context: ., target: unified}\n"
            '#     user: "10001:10001"\n'
        )
        write_added(target / ADDED, name, [])
    except (OSError, AdoptError) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise error if isinstance(error, AdoptError) else AdoptError(str(error)) from None
    return left


def write_added(path: Path, name: str, found: Sequence[Found]) -> None:
    """Write what is merged over upstream's files, and how secrets would move, as comments."""
    text = f"# Merged over the files of {UPSTREAM}/ as an override file is.\nservices: {{}}\n"
    if found:
        settings, lines = _moved(prefix(name), found)
        text += (
            "\n# Secrets stand in clear text there. Instead of the line above (docs/adopt.md),\n"
            "# with new values, for who has the files has the old ones:\n"
            + "".join(f"# {line}\n" for line in lines)
            + f"\n# And in group_vars/{name}.yml, their values in a file of ansible-vault:\n"
            + "".join(f"# {line}\n" for line in settings)
        )
    path.write_text(text)


def _moved(start: str, found: Sequence[Found]) -> tuple[list[str], list[str]]:
    """Return the settings and the override with which no secret stands in a file, as YAML."""
    services: dict[str, dict[str, Any]] = {}
    files, given = dict[str, Any](), dict[str, str]()
    for secret in found:
        service = services.setdefault(secret.service, {"environment": {}})
        where, variable = service["environment"], secret.variable
        if secret.reads_file and not secret.in_address:
            where[variable] = None
            where[f"{variable}_FILE"] = f"/run/secrets/{secret.name}"
            service.setdefault("secrets", []).append(secret.name)
            files[secret.name] = {"file": f"./secrets/{secret.name}"}
        else:
            word = f"${{{secret.name.upper()}:?}}"
            where[variable] = f"scheme://user:{word}@host" if secret.in_address else word
            given[secret.name.upper()] = secret.name
    settings = {
        f"{start}_secrets": {name: f"{{{{ vault_{name} }}}}" for name in files},
        f"{start}_variables": {word: f"{{{{ vault_{name} }}}}" for word, name in given.items()},
    }
    override = {"services": services, **({"secrets": files} if files else {})}
    # A variable that is taken away is none any more: Compose's own tag says so.
    text = _yaml(override).replace(": null\n", ": !reset null\n")
    return _yaml({k: v for k, v in settings.items() if v}).splitlines(), text.splitlines()


def _yaml(data: Any) -> str:
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000))


def variables(paths: Iterable[Path]) -> dict[str, str]:
    """Return the variables of Compose files by name, each with its default or ""."""
    found: dict[str, str] = {}
    for path in paths:
        for match in _VARIABLE.finditer(path.read_text(encoding="utf-8", errors="replace")):
            default = match[3] or "" if (match[2] or "").endswith("-") else ""
            found.setdefault(match[1] or match[4], default)
    return found


def group_vars(name: str, topology: str, asked: dict[str, str]) -> str:
    """Return the settings of a stack as a file of group_vars."""
    start = prefix(name)
    listed = "".join(f"#  {key}: {json.dumps(value)}\n" for key, value in sorted(asked.items()))
    return (
        "---\n"
        f"# How {name} runs on the hosts of the group `{name}`. All settings: docs/settings.md.\n"
        f"{start}_topology: {topology}\n\n"
        f"# Values for ${{NAME}} in its Compose files; what is not given is as they say.\n"
        f"{start}_variables: {{}}\n{listed}\n"
        "# Names that lead to it on ports 80 and 443; edge_tls says how they get certificates.\n"
        f"{start}_domains: []\n\n"
        "# What is published instead of the Compose files' ports; an empty list: nothing.\n"
        f"{start}_publish: {{}}\n"
    )
