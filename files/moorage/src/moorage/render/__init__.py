"""From the model of a stack to the files of a release, one renderer a topology."""

from __future__ import annotations

from moorage.compose.errors import did_you_mean
from moorage.render.containers.topology import render_containers
from moorage.render.rendering import RenderedFile, Renderer, Rendering
from moorage.render.unified.topology import render_unified
from moorage.settings.stack import Limits, Settings

__all__ = [
    "Limits",
    "RenderedFile",
    "Renderer",
    "Rendering",
    "Settings",
    "render_containers",
    "render_unified",
    "topologies",
    "topology",
]

_RENDERERS: dict[str, Renderer] = {
    "containers": render_containers,
    "unified": render_unified,
}


def topologies() -> tuple[str, ...]:
    """Names of the topologies that can be rendered."""
    return tuple(sorted(_RENDERERS))


def topology(name: str) -> Renderer:
    """The renderer of a topology; ValueError when there is none of that name."""
    try:
        return _RENDERERS[name]
    except KeyError:
        advice = did_you_mean(name, _RENDERERS)
        raise ValueError(f"topology {name!r} cannot be rendered; {advice}") from None
