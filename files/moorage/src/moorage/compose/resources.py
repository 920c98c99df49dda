"""What the services of a stack share: networks, volumes, secrets and configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moorage.compose.extension import EXTENSION, SecretExtension, VolumeExtension

# Not part of Compose: what the file of a config held when the description was read.
BODY = "x-body"


def without(data: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """A mapping without some of its keys."""
    return {key: value for key, value in data.items() if key not in keys}


@dataclass(frozen=True)
class Network:
    """A network; `options` are its canonical keys besides name and external."""

    key: str
    name: str
    external: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, key: str, data: Mapping[str, Any]) -> Network:
        """Read a network from its canonical form."""
        options = without(data, "name", "external")
        return cls(key, data["name"], bool(data.get("external", False)), options)

    def to_dict(self) -> dict[str, Any]:
        """Write the canonical form."""
        external = {"external": True} if self.external else {}
        return {"name": self.name, **external, **self.options}


@dataclass(frozen=True)
class Volume:
    """A named volume."""

    key: str
    name: str
    external: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    moorage: VolumeExtension = field(default_factory=VolumeExtension)

    @classmethod
    def from_dict(cls, key: str, data: Mapping[str, Any]) -> Volume:
        """Read a volume from its canonical form."""
        options = without(data, "name", "external", EXTENSION)
        moorage = VolumeExtension.from_dict(data.get(EXTENSION, {}))
        return cls(key, data["name"], bool(data.get("external", False)), options, moorage)

    def to_dict(self) -> dict[str, Any]:
        """Write the canonical form."""
        external = {"external": True} if self.external else {}
        moorage = self.moorage.to_dict()
        extension = {EXTENSION: moorage} if moorage else {}
        return {"name": self.name, **external, **self.options, **extension}


@dataclass(frozen=True)
class Secret:
    """A secret; at most one of `file`, `environment` and `external` is its source in Compose."""

    key: str
    name: str
    file: str | None = None
    environment: str | None = None
    external: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    moorage: SecretExtension = field(default_factory=SecretExtension)

    @classmethod
    def from_dict(cls, key: str, data: Mapping[str, Any]) -> Secret:
        """Read a secret from its canonical form."""
        return cls(
            key,
            data["name"],
            data.get("file"),
            data.get("environment"),
            bool(data.get("external", False)),
            without(data, "name", "file", "environment", "external", EXTENSION),
            SecretExtension.from_dict(data.get(EXTENSION, {})),
        )

    def to_dict(self) -> dict[str, Any]:
        """Write the canonical form."""
        data: dict[str, Any] = {
            "name": self.name,
            "file": self.file,
            "environment": self.environment,
            "external": self.external or None,
            **self.options,
            EXTENSION: self.moorage.to_dict() or None,
        }
        return {key: value for key, value in data.items() if value is not None}


@dataclass(frozen=True)
class Config:
    """A configuration file that services mount; `body` is the content of `file`."""

    key: str
    name: str
    file: str | None = None
    content: str | None = None
    environment: str | None = None
    external: bool = False
    body: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, key: str, data: Mapping[str, Any]) -> Config:
        """Read a config from its canonical form."""
        return cls(
            key,
            data["name"],
            data.get("file"),
            data.get("content"),
            data.get("environment"),
            bool(data.get("external", False)),
            data.get(BODY),
            without(data, "name", "file", "content", "environment", "external", BODY),
        )

    def to_dict(self) -> dict[str, Any]:
        """Write the canonical form."""
        data: dict[str, Any] = {
            "name": self.name,
            "file": self.file,
            "content": self.content,
            "environment": self.environment,
            "external": self.external or None,
            BODY: self.body,
            **self.options,
        }
        return {key: value for key, value in data.items() if value is not None}
