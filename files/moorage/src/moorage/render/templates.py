"""Files that a release brings to the host's own directories: templates of the role `stack`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from moorage.render.rendering import RenderedFile

# The controller works from a checkout, where roles lie beside what they ship.
_NONE: Mapping[str, Callable[..., str]] = MappingProxyType({})
_TEMPLATES = Path(__file__).resolve().parents[5] / "roles" / "stack" / "templates"


def installed_file(name: str, **values: object) -> RenderedFile:
    """Render a template; ``values`` name the ``stack`` at least.

    A template lies at the path that the file has on a host, where STACK and TOPOLOGY stand for the
    values of these names. Raises jinja2.TemplateError for one that lacks a value.
    """
    content = template(name, values)
    for word in ("stack", "topology"):
        name = name.replace(word.upper(), str(values.get(word, "")))
    return RenderedFile(content, install_as=f"/{name}")


def template(
    name: str, values: Mapping[str, object], filters: Mapping[str, Callable[..., str]] = _NONE
) -> str:
    """Return a template's text, in which ``filters`` of its own may be used."""
    environment = _environment()
    environment.filters.update(filters)
    return environment.get_template(f"{name}.j2").render(values)


@cache
def _environment() -> Environment:
    # Blocks leave no empty lines, as in Ansible.
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=False,  # noqa: S701 - text for programs, not for browsers
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        auto_reload=False,
    )
