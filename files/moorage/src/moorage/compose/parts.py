"""The parts of a service that have a structure of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from moorage.compose.units import format_duration, parse_duration


class Relative(str):
    """An absolute path that was written as one from the file's directory, or from a home."""

    __slots__ = ()


def strings(value: Iterable[str] | None) -> tuple[str, ...] | None:
    """A list of words as a tuple; None, which means "as the image says", stays None."""
    return None if value is None else tuple(value)


def _set(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}


def _seconds(value: Any) -> float | None:
    return None if value is None else parse_duration(value)


def _duration(value: float | None) -> str | None:
    return None if value is None else format_duration(value)


@dataclass(frozen=True)
class Build:
    """How an image is built; paths are absolute, `options` holds the remaining keys."""

    context: str | None = None
    dockerfile: str | None = None
    target: str | None = None
    args: dict[str, str | None] = field(default_factory=dict)
    additional_contexts: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the canonical form."""
        rest = dict(data)
        return cls(
            context=rest.pop("context", None),
            dockerfile=rest.pop("dockerfile", None),
            target=rest.pop("target", None),
            args=dict(rest.pop("args", {})),
            additional_contexts=dict(rest.pop("additional_contexts", {})),
            options=rest,
        )

    def to_dict(self) -> dict[str, Any]:
        """Write the canonical form."""
        data = {
            "context": self.context,
            "dockerfile": self.dockerfile,
            "target": self.target,
            "args": dict(self.args) or None,
            "additional_contexts": dict(self.additional_contexts) or None,
        }
        return {**_set(data), **self.options}


@dataclass(frozen=True)
class Healthcheck:
    """A health check; `test` begins with CMD, CMD-SHELL or NONE. Times are seconds."""

    test: tuple[str, ...] | None = None
    interval: float | None = None
    timeout: float | None = None
    retries: int | None = None
    start_period: float | None = None
    start_interval: float | None = None
    disable: bool = False

    @property
    def active(self) -> bool:
        """Whether a test of this description is to be run."""
        return not self.disable and bool(self.test) and self.test != ("NONE",)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the canonical form."""
        return cls(
            test=strings(data.get("test")),
            interval=_seconds(data.get("interval")),
            timeout=_seconds(data.get("timeout")),
            retries=data.get("retries"),
            start_period=_seconds(data.get("start_period")),
            start_interval=_seconds(data.get("start_interval")),
            disable=bool(data.get("disable", False)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Write the canonical form."""
        return _set(
            {
                "test": None if self.test is None else list(self.test),
                "interval": _duration(self.interval),
                "timeout": _duration(self.timeout),
                "retries": self.retries,
                "start_period": _duration(self.start_period),
                "start_interval": _duration(self.start_interval),
                "disable": self.disable or None,
            }
        )


@dataclass(frozen=True)
class Dependency:
    """What a service waits for before it starts."""

    condition: str = "service_started"
    required: bool = True
    restart: bool = False

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the canonical form."""
        return cls(data["condition"], data.get("required", True), data.get("restart", False))

    def to_dict(self) -> dict[str, Any]:
        """Write the canonical form."""
        restart = {"restart": True} if self.restart else {}
        return {"condition": self.condition, "required": self.required, **restart}


@dataclass(frozen=True)
class Port:
    """A container port and where it is published; `published` may be a range or empty."""

    target: int
    published: str | None = None
    host_ip: str | None = None
    protocol: str = "tcp"
    mode: str = "ingress"
    name: str | None = None
    app_protocol: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the canonical form."""
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        """Write the canonical form."""
        return _set(
            {
                "name": self.name,
                "mode": self.mode,
                "host_ip": self.host_ip,
                "target": self.target,
                "published": self.published,
                "protocol": self.protocol,
                "app_protocol": self.app_protocol,
            }
        )


@dataclass(frozen=True)
class Mount:
    """A mount of a volume, a host path (absolute) or a tmpfs."""

    type: str
    target: str
    source: str | None = None
    read_only: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the canonical form."""
        rest = dict(data)
        kind, target = rest.pop("type"), rest.pop("target", "")
        return cls(kind, target, rest.pop("source", None), rest.pop("read_only", False), rest)

    def to_dict(self) -> dict[str, Any]:
        """Write the canonical form."""
        data: dict[str, Any] = {"type": self.type, "source": self.source, "target": self.target}
        read_only = {"read_only": True} if self.read_only else {}
        return {**_set(data), **read_only, **self.options}


@dataclass(frozen=True)
class Grant:
    """A secret or config given to a service; `mode` is a number, `target` a path."""

    source: str
    target: str | None = None
    uid: str | None = None
    gid: str | None = None
    mode: int | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the canonical form."""
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        """Write the canonical form."""
        return _set(
            {
                "source": self.source,
                "target": self.target,
                "uid": self.uid,
                "gid": self.gid,
                "mode": self.mode,
            }
        )
