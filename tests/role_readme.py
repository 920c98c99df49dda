"""Writes the table of variables into each role's README, from its argument spec and defaults.

    python tests/role_readme.py            write all tables
    python tests/role_readme.py --check    only say which are out of date (exit code 1)

The table stands between two marks, everything else in a README is written by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- variables: written by tests/role_readme.py -->"
END = "<!-- end of variables -->"

# Longer defaults are for the file itself, whose comments explain them.
LONGEST_DEFAULT = 60


class MarkError(Exception):
    """A README has no place for the table."""


def roles() -> list[Path]:
    """Return all role directories."""
    return sorted(path.parent for path in (ROOT / "roles").glob("*/tasks"))


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds, an empty mapping when there is none."""
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {} if path.exists() else {}


def options(role: Path) -> dict[str, dict[str, Any]]:
    """Return the options of all entry points in a role's argument spec."""
    specs = read_yaml(role / "meta/argument_specs.yml").get("argument_specs", {})
    return {name: opt for spec in specs.values() for name, opt in spec.get("options", {}).items()}


def table(role: Path) -> str:
    """Return the table of a role's variables in Markdown."""
    defaults = read_yaml(role / "defaults/main.yml")
    lines = ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, option in options(role).items():
        shown = default(defaults[name]) if name in defaults else "required"
        lines.append(f"| `{name}` | {kind(option)} | {shown} | {meaning(option)} |")
    return "\n".join(lines) if lines[2:] else "None."


def kind(option: dict[str, Any]) -> str:
    """Return an option's type, with that of its elements."""
    plain = option.get("type", "str")
    return f"{plain} of {option['elements']}" if "elements" in option else plain


def default(value: Any) -> str:
    """Return a default as code, or where to find it when it is long or computed."""
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    if text == "":
        return "empty"
    if len(text) > LONGEST_DEFAULT or "{{" in text:
        return "[see there](defaults/main.yml)"
    return f"`{text}`"


def meaning(option: dict[str, Any]) -> str:
    """Return an option's description and choices in one cell."""
    said = option["description"]
    text = " ".join(said if isinstance(said, list) else [said])
    if "choices" in option:
        text += " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."
    return " ".join(text.split()).replace("|", "\\|")


def renewed(role: Path) -> str:
    """Return a role's README with the table as it should be."""
    text = (role / "README.md").read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise MarkError(f"{role.name}/README.md needs both marks once:\n{BEGIN}\n{END}")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{table(role)}\n{END}{after}"


def main() -> int:
    """Write the tables, or say which are out of date."""
    stale = 0
    for role in roles():
        readme = role / "README.md"
        text = renewed(role)
        if text == readme.read_text(encoding="utf-8"):
            continue
        stale += 1
        if "--check" in sys.argv:
            print(f"{readme.relative_to(ROOT)} is out of date: python tests/role_readme.py")
        else:
            readme.write_text(text, encoding="utf-8")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
