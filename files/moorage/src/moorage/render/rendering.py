"""What a topology makes of a stack: files of a release and the facts derived with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from moorage.release.manifest import (
    Directory,
    Edge,
    Hooks,
    Migrations,
    Place,
    Probe,
    Rollout,
    Seed,
    Service,
    Unit,
    data_of,
)

# Of a file that root alone reads.
PRIVATE = "0600"


@dataclass(frozen=True)
class RenderedFile:
    """A file of the release; `install_as` is where the host also needs it, if anywhere."""

    content: str
    mode: str = "0644"
    install_as: str | None = None


@dataclass(frozen=True)
class SecretFact:
    """A secret and the numeric users that read it.

    `generate` is the length to generate at the first deploy; else `source` tells where the
    value comes from: {"file": path on the controller} or {"environment": variable} or
    {"external": name}, or nothing when only the operator can give it.
    """

    name: str
    users: tuple[int, ...]
    generate: int | None = None
    source: dict[str, str] = field(default_factory=dict)
    optional: bool = False


@dataclass(frozen=True)
class BuildFact:
    """An image to build; paths are relative to the stack's directory."""

    key: str
    image: str
    build: dict[str, Any]


@dataclass(frozen=True)
class PortFact:
    """A port published on the host; `edge`: by the edge, in the service's stead."""

    service: str
    host_ip: str
    port: int
    target: int
    protocol: str
    edge: bool = False


@dataclass(frozen=True)
class Rendering:
    """Files by path relative to the release directory, and derived facts.

    `unresolved` names builds and images that `Settings.image_refs` has no reference for: a
    rendering with any is for planning (what is to be built) and must not be shipped. `packages`
    are those of Debian that its services need, `manager` is who runs its processes, `stand_ins` has
    directories of files/images for the names of images that are not made of them here; `loopback`
    names the ports on 127.0.0.1 that the stack asks for; `units` stand in the order of starting.
    """

    topology: str
    files: dict[str, RenderedFile]
    volumes: tuple[Directory, ...] = ()
    seeds: tuple[Seed, ...] = ()
    places: tuple[Place, ...] = ()
    secrets: tuple[SecretFact, ...] = ()
    directories: tuple[Directory, ...] = ()
    builds: tuple[BuildFact, ...] = ()
    images: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    manager: str = ""
    stand_ins: dict[str, str] = field(default_factory=dict)
    ports: tuple[PortFact, ...] = ()
    services: tuple[Service, ...] = ()
    units: tuple[Unit, ...] = ()
    edge: Edge | None = None
    probe: Probe = field(default_factory=Probe)
    rollout: Rollout = field(default_factory=Rollout)
    hooks: Hooks = field(default_factory=Hooks)
    migrations: Migrations | None = None
    loopback: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unresolved: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Write the rendering as plain data."""
        plain: dict[str, Any] = data_of(self)
        return plain
