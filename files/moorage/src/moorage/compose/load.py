"""From a stack's directory to its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from moorage.compose.model import Stack


def load_stack(
    directory: Path | str,
    *,
    environment: Mapping[str, str] | None = None,
    profiles: Sequence[str] = (),
) -> Stack:
    """Load and validate the Compose file of `directory`.

    `environment` are the variables of the caller for interpolation (default: none but those
    of `.env`); `profiles` enables services that belong to one. Raises ComposeError with all
    problems found.
    """
    raise NotImplementedError
