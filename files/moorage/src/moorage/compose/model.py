"""The model of a stack: plain frozen data in the canonical form of the Compose Specification.

`Stack.to_dict()` has the shape that `docker compose config --format json` prints, so that the
two can be compared key by key; times are seconds and sizes are bytes inside the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from moorage.compose.extension import EXTENSION, ServiceExtension, StackExtension
from moorage.compose.parts import (
    Build,
    Dependency,
    Grant,
    Healthcheck,
    Mount,
    Port,
    strings,
)
from moorage.compose.resources import Config, Network, Secret, Volume, without
from moorage.compose.units import format_duration, parse_duration

# Not part of Compose: services that are kept although no enabled profile asks for them.
ON_DEMAND = "x-moorage-on-demand"
# Nor this: what is there of the stack's own directory that services mount.
SHIPPED = "x-moorage-shipped"
# Nor this: variables that nobody gives, and that are empty therefore.
UNSET = "x-moorage-unset"

__all__ = [
    "Build",
    "Config",
    "Dependency",
    "Grant",
    "Healthcheck",
    "Mount",
    "Network",
    "Port",
    "Secret",
    "Service",
    "Stack",
    "Volume",
]


@dataclass(frozen=True)
class Service:
    """One service; `options` holds the keys that have no field of their own, canonical."""

    name: str
    image: str | None = None
    build: Build | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    working_dir: str | None = None
    user: str | None = None
    environment: dict[str, str | None] = field(default_factory=dict)
    healthcheck: Healthcheck | None = None
    depends_on: dict[str, Dependency] = field(default_factory=dict)
    restart: str | None = None
    stop_signal: str | None = None
    stop_grace_period: float | None = None
    ports: tuple[Port, ...] = ()
    volumes: tuple[Mount, ...] = ()
    secrets: tuple[Grant, ...] = ()
    configs: tuple[Grant, ...] = ()
    networks: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    moorage: ServiceExtension = field(default_factory=ServiceExtension)

    @property
    def replicas(self) -> int:
        """Number of instances asked for (`deploy.replicas`, or the older `scale`)."""
        deploy = self.options.get("deploy") or {}
        return int(deploy.get("replicas", self.options.get("scale", 1)))

    @property
    def is_data(self) -> bool:
        """Whether it runs a ready image rather than one built from the stack's own source."""
        return self.build is None

    @property
    def stays(self) -> bool:
        """Whether there is never a second one beside it: of a ready image nobody knows, unless
        the description gives it to the edge.
        """
        return self.is_data and not self.moorage.edge

    def keys(self) -> tuple[str, ...]:
        """The Compose keys that are set, in the order of `to_dict`."""
        return tuple(key for key, value in self.to_dict().items() if value not in (None, {}, []))

    @classmethod
    def from_dict(cls, name: str, data: Mapping[str, Any]) -> Service:
        """Read a service from its canonical form."""
        rest = dict(data)
        grace = rest.pop("stop_grace_period", None)
        build, health = rest.pop("build", None), rest.pop("healthcheck", None)
        depends = rest.pop("depends_on", {})
        return cls(
            name=name,
            image=rest.pop("image", None),
            build=None if build is None else Build.from_dict(build),
            command=strings(rest.pop("command", None)),
            entrypoint=strings(rest.pop("entrypoint", None)),
            working_dir=rest.pop("working_dir", None),
            user=rest.pop("user", None),
            environment=dict(rest.pop("environment", {})),
            healthcheck=None if health is None else Healthcheck.from_dict(health),
            depends_on={key: Dependency.from_dict(value) for key, value in depends.items()},
            restart=rest.pop("restart", None),
            stop_signal=rest.pop("stop_signal", None),
            stop_grace_period=None if grace is None else parse_duration(grace),
            ports=tuple(Port.from_dict(port) for port in rest.pop("ports", [])),
            volumes=tuple(Mount.from_dict(mount) for mount in rest.pop("volumes", [])),
            secrets=tuple(Grant.from_dict(grant) for grant in rest.pop("secrets", [])),
            configs=tuple(Grant.from_dict(grant) for grant in rest.pop("configs", [])),
            networks=dict(rest.pop("networks", {})),
            labels=dict(rest.pop("labels", {})),
            profiles=tuple(rest.pop("profiles", [])),
            moorage=ServiceExtension.from_dict(rest.pop(EXTENSION, {})),
            options=rest,
        )

    def to_dict(self) -> dict[str, Any]:
        """Write the canonical form; keys that are not set are left out."""
        plain: dict[str, Any] = {
            "image": self.image,
            "build": None if self.build is None else self.build.to_dict(),
            "entrypoint": None if self.entrypoint is None else list(self.entrypoint),
            "command": None if self.command is None else list(self.command),
            "working_dir": self.working_dir,
            "user": self.user,
            "healthcheck": None if self.healthcheck is None else self.healthcheck.to_dict(),
            "restart": self.restart,
            "stop_signal": self.stop_signal,
        }
        if self.stop_grace_period is not None:
            plain["stop_grace_period"] = format_duration(self.stop_grace_period)
        filled: dict[str, Any] = {
            "environment": dict(self.environment),
            "depends_on": {key: value.to_dict() for key, value in self.depends_on.items()},
            "ports": [port.to_dict() for port in self.ports],
            "volumes": [mount.to_dict() for mount in self.volumes],
            "secrets": [grant.to_dict() for grant in self.secrets],
            "configs": [grant.to_dict() for grant in self.configs],
            "networks": dict(self.networks),
            "labels": dict(self.labels),
            "profiles": list(self.profiles),
            EXTENSION: self.moorage.to_dict(),
        }
        data = {key: value for key, value in plain.items() if value is not None}
        data.update({key: value for key, value in filled.items() if value})
        return {**data, **self.options}


@dataclass(frozen=True)
class Stack:
    """An application: its enabled services and what they share.

    `directory` is the absolute path of the Compose file's directory, which relative paths of
    the description have been resolved against. `on_demand` names those of its services that no
    enabled profile asks for, where such were asked to be read. `shipped` has the files of what is
    mounted of that directory and is there, by source (`moorage.compose.shipped`), `unset` the
    variables that nobody gives.
    """

    name: str
    directory: str
    services: dict[str, Service] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)
    configs: dict[str, Config] = field(default_factory=dict)
    moorage: StackExtension = field(default_factory=StackExtension)
    on_demand: tuple[str, ...] = ()
    shipped: dict[str, dict[str, Any]] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    extensions: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Stack:
        """Read a stack from what `to_dict` wrote."""
        known = {"name", "directory", "services", "networks", "volumes", "secrets", "configs"}
        known |= {ON_DEMAND, SHIPPED, UNSET}
        services, networks = data.get("services", {}), data.get("networks", {})
        volumes, secrets = data.get("volumes", {}), data.get("secrets", {})
        return cls(
            name=data["name"],
            directory=data["directory"],
            services={key: Service.from_dict(key, value) for key, value in services.items()},
            networks={key: Network.from_dict(key, value) for key, value in networks.items()},
            volumes={key: Volume.from_dict(key, value) for key, value in volumes.items()},
            secrets={key: Secret.from_dict(key, value) for key, value in secrets.items()},
            configs={k: Config.from_dict(k, v) for k, v in data.get("configs", {}).items()},
            moorage=StackExtension.from_dict(data.get(EXTENSION, {})),
            on_demand=tuple(data.get(ON_DEMAND, ())),
            shipped=dict(data.get(SHIPPED, {})),
            unset=tuple(data.get(UNSET, ())),
            extensions=without(data, EXTENSION, *known),
        )

    def to_dict(self) -> dict[str, Any]:
        """Write the stack as plain data (JSON and YAML types only)."""
        sections: dict[str, Any] = {
            "services": {key: value.to_dict() for key, value in self.services.items()},
            "networks": {key: value.to_dict() for key, value in self.networks.items()},
            "volumes": {key: value.to_dict() for key, value in self.volumes.items()},
            "secrets": {key: value.to_dict() for key, value in self.secrets.items()},
            "configs": {key: value.to_dict() for key, value in self.configs.items()},
            EXTENSION: self.moorage.to_dict(),
            ON_DEMAND: list(self.on_demand),
            SHIPPED: dict(self.shipped),
            UNSET: list(self.unset),
        }
        filled = {key: value for key, value in sections.items() if value}
        return {"name": self.name, "directory": self.directory, **filled, **self.extensions}

    def relative(self, path: str) -> str | None:
        """A path inside or beside the stack's directory relative to it; None when elsewhere."""
        base = PurePosixPath(self.directory)
        target = PurePosixPath(path)
        return str(target.relative_to(base)) if target.is_relative_to(base) else None
