"""The unified topology: own services as processes of one container, data services beside it."""

from __future__ import annotations

from moorage.compose.model import Stack
from moorage.render.rendering import Rendering
from moorage.render.settings import Settings


def render_unified(stack: Stack, settings: Settings) -> Rendering:
    """Render a stack for the unified topology; see `Renderer`."""
    raise NotImplementedError
