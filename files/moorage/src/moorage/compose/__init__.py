"""Compose files: parsing, validation and the model of a stack."""

from moorage.compose.errors import ComposeError, Problem
from moorage.compose.load import load_stack, started_only
from moorage.compose.model import (
    Build,
    Config,
    Dependency,
    Grant,
    Healthcheck,
    Mount,
    Network,
    Port,
    Secret,
    Service,
    Stack,
    Volume,
)

__all__ = [
    "Build",
    "ComposeError",
    "Config",
    "Dependency",
    "Grant",
    "Healthcheck",
    "Mount",
    "Network",
    "Port",
    "Problem",
    "Secret",
    "Service",
    "Stack",
    "Volume",
    "load_stack",
    "started_only",
]
