"""What a topology makes of a stack: files of a release and the facts derived with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from moorage.compose.model import Stack
from moorage.settings.stack import Settings


@dataclass(frozen=True)
class RenderedFile:
    """A file of the release; `install_as` is where the host also needs it, if anywhere."""

    content: str
    mode: str = "0644"
    install_as: str | None = None


@dataclass(frozen=True)
class VolumeFact:
    """A directory of the host that holds data of a named volume."""

    name: str
    path: str
    uid: int
    gid: int
    mode: str


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
class DirectoryFact:
    """A directory that must be there before the stack starts."""

    path: str
    uid: int
    gid: int
    mode: str


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
class ServiceFact:
    """A service as it runs: a process of the unified container, or a container.

    `containers` names every container that it runs in, `container` the first of them. `one_off`:
    others wait until it has ended well. `on_demand`: it is created, and started by hand only.
    """

    name: str
    kind: Literal["process", "container"]
    container: str
    singleton: bool
    ports: tuple[int, ...]
    health: bool
    one_off: bool
    on_demand: bool = False
    replicas: int = 1
    containers: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnitFact:
    """One container as a rollout sees it.

    `keys` and `peers` go by slot: "a" and "b" of a unit that is `rolled` (the new container starts
    beside the old one), "" of one that is replaced in place. `keys`: of its services in the
    release's compose.yaml; `peers`: container port to loopback port; `config`: tells containers
    apart that are to be replaced from those that are as described. `needs`: services and the
    condition to wait for. `singletons` and `processes` are those of the unified container;
    `slot_install`: files of the release that go to a path of the slot. Times are in seconds.
    """

    name: str
    service: str
    replica: int
    rolled: bool
    keys: dict[str, str]
    config: str
    image: str
    peers: dict[str, dict[str, int]]
    health: bool
    health_url: dict[str, Any] | None
    singleton: bool
    one_off: bool
    on_demand: bool
    data: bool
    singletons: tuple[str, ...]
    processes: tuple[str, ...]
    needs: dict[str, str]
    secrets: tuple[str, ...]
    stop_seconds: float
    update: dict[str, Any]
    rollback: dict[str, Any]
    slot_install: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Rendering:
    """Files by path relative to the release directory, and derived facts.

    `unresolved` names builds and images that `Settings.image_refs` has no reference for: a
    rendering with any is for planning (what is to be built) and must not be shipped. `loopback`
    names the ports on 127.0.0.1 that the stack asks for; `units` stand in the order of starting.
    """

    topology: str
    files: dict[str, RenderedFile]
    volumes: tuple[VolumeFact, ...] = ()
    secrets: tuple[SecretFact, ...] = ()
    directories: tuple[DirectoryFact, ...] = ()
    builds: tuple[BuildFact, ...] = ()
    images: tuple[str, ...] = ()
    ports: tuple[PortFact, ...] = ()
    services: tuple[ServiceFact, ...] = ()
    units: tuple[UnitFact, ...] = ()
    edge: dict[str, Any] | None = None
    probe: dict[str, Any] = field(default_factory=dict)
    rollout: dict[str, Any] = field(default_factory=dict)
    hooks: dict[str, Any] = field(default_factory=dict)
    migrations: dict[str, Any] | None = None
    loopback: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unresolved: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Write the rendering as plain data."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


class Renderer(Protocol):
    """A topology: model and operator's settings in, files and facts out. Pure.

    Raises ComposeError naming service and key for what the topology cannot honour.
    """

    def __call__(self, stack: Stack, settings: Settings) -> Rendering: ...


def content_hash(rendering: Rendering, extra: Mapping[str, Any] | None = None) -> str:
    """SHA-256 (hex) of everything rendered and of `extra`, independent of machine and time."""
    data = {"rendering": rendering.to_dict(), "extra": dict(extra or {})}
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
