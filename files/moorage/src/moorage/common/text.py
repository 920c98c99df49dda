"""Text that others wrote, for a terminal or a page: signs that would act are shown instead."""

from __future__ import annotations

from typing import TextIO

from process_supervisor.common.visible import visible

__all__ = ["say", "visible"]


def say(text: str, file: TextIO | None = None) -> None:
    """Print a text, made visible, at once."""
    print(visible(text), file=file, flush=True)
