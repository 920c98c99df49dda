"""The keys of `x-moorage`: what Compose lacks, and the one place where they are defined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from moorage.compose.parts import Build

EXTENSION = "x-moorage"
DEFAULT_SECRET_LENGTH = 40
# Shorter generated secrets are refused: they are read by programs, never typed.
MIN_SECRET_LENGTH = 32


def _set(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}


@dataclass(frozen=True)
class ServiceExtension:
    """`x-moorage` of a service.

    `singleton`: two instances must never run at the same time, so a rollout stops the old
    one first. `restart_*`: the supervisor's restart policy (times in seconds). `unhealthy`:
    what happens to a process that fails its health check. `user`: takes the place of `user`.
    `health_url`: a URL on this machine whose answer says the same as the `healthcheck` test; the
    supervisor asks it itself, which costs no process.
    """

    singleton: bool = False
    restart_limit: int | None = None
    restart_window: float | None = None
    restart_delay: float | None = None
    restart_delay_max: float | None = None
    unhealthy: Literal["restart", "ignore"] = "restart"
    user: str | None = None
    health_url: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the validated form."""
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        """Write what differs from the defaults."""
        return _set(
            {
                "singleton": self.singleton or None,
                "restart_limit": self.restart_limit,
                "restart_window": self.restart_window,
                "restart_delay": self.restart_delay,
                "restart_delay_max": self.restart_delay_max,
                "unhealthy": None if self.unhealthy == "restart" else self.unhealthy,
                "user": self.user,
                "health_url": self.health_url,
            }
        )


@dataclass(frozen=True)
class UnifiedExtension:
    """`x-moorage.unified`: the container that holds all of the stack's own services."""

    build: Build | None = None
    user: str | None = None
    data_dir: str = "/app/data"
    log_dir: str = "/app/logs"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the validated form."""
        build = data.get("build")
        rest = {key: value for key, value in data.items() if key != "build"}
        return cls(build=None if build is None else Build.from_dict(build), **rest)

    def to_dict(self) -> dict[str, Any]:
        """Write it in full, so that a change of a default shows as a change."""
        build = None if self.build is None else self.build.to_dict()
        data = {"build": build, "user": self.user}
        return {**_set(data), "data_dir": self.data_dir, "log_dir": self.log_dir}


@dataclass(frozen=True)
class StackExtension:
    """`x-moorage` at the top of the file."""

    unified: UnifiedExtension | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the validated form."""
        unified = data.get("unified")
        return cls(None if unified is None else UnifiedExtension.from_dict(unified))

    def to_dict(self) -> dict[str, Any]:
        """Write what is set."""
        return {} if self.unified is None else {"unified": self.unified.to_dict()}


@dataclass(frozen=True)
class SecretExtension:
    """`x-moorage` of a secret: generated at the first deploy, or allowed to be absent."""

    generate: int | None = None
    optional: bool = False

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the validated form."""
        generate = data.get("generate")
        length = None if generate is None else generate.get("length", DEFAULT_SECRET_LENGTH)
        return cls(length, data.get("optional", False))

    def to_dict(self) -> dict[str, Any]:
        """Write what is set."""
        generate = None if self.generate is None else {"length": self.generate}
        return _set({"generate": generate, "optional": self.optional or None})


@dataclass(frozen=True)
class VolumeExtension:
    """`x-moorage` of a volume: owner ("uid:gid") and mode of its directory on the host."""

    owner: str | None = None
    mode: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the validated form."""
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        """Write what is set."""
        return _set({"owner": self.owner, "mode": self.mode})
