"""YAML that people can read and that no parser takes for anything else."""

from __future__ import annotations

from typing import Any

import yaml

from moorage.compose.source import plain_scalar


class _Dumper(yaml.SafeDumper):
    """Block style; a text is quoted when one of the two YAML versions would see a number in it."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None
    if "\n" in value and not any(line.endswith((" ", "\t")) for line in value.split("\n")):
        style = "|"
    elif value and plain_scalar(value) != value:
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def dump_yaml(data: Any, header: str) -> str:
    """Plain data as YAML, in the order given, below comment lines."""
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    body: str = yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=4096, indent=2
    )
    return f"{comment}\n{body}"


def escaped(value: Any) -> Any:
    """Plain data whose dollars Compose will not take for variables."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [escaped(item) for item in value]
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    return value
