"""What a host relies on in release.json; the controller's `manifest` writes it."""

# Not with postponed annotations: what need not be there would not be told from what has to.
from typing import Any, NotRequired, TypedDict

from moorage.deploy.unit import Unit


class Service(TypedDict):
    """A service as it runs: a process or a container."""

    name: str
    kind: NotRequired[str]
    container: NotRequired[str]
    ports: NotRequired[list[int]]
    replicas: NotRequired[int]
    containers: NotRequired[list[str]]


class Directory(TypedDict):
    """A directory that an application works in."""

    path: str
    owner: int
    group: int
    mode: str


class Pool(TypedDict):
    """Who stands behind a listener or a route."""

    service: str
    port: int


class Listener(TypedDict):
    """A public port."""

    port: int
    address: str
    pool: str


class Route(TypedDict):
    """A path of the stack's domains."""

    path: str
    pool: str


class Edge(TypedDict):
    """What the stack wants of the edge."""

    pools: dict[str, Pool]
    listeners: NotRequired[list[Listener]]
    routes: NotRequired[list[Route]]
    domains: NotRequired[list[str]]
    options: NotRequired[dict[str, Any]]


class Target(TypedDict):
    """What the prober asks for."""

    service: str
    port: int
    path: str
    expect: tuple[int, int]
    method: NotRequired[str]


class Probe(TypedDict):
    """How the prober asks, and what a release may cost visitors."""

    rate: float
    timeout_seconds: float
    targets: list[Target]
    before_seconds: NotRequired[float]
    budget: NotRequired[float]
    p99_factor: NotRequired[float]
    p99_floor_seconds: NotRequired[float]


class Rollout(TypedDict):
    """How long what may take, in seconds."""

    drain_seconds: float
    monitor_seconds: float
    hook_timeout_seconds: NotRequired[float]


class Hook(TypedDict):
    """A command before or after an update."""

    name: str
    service: str
    command: list[str]
    save_as: NotRequired[str | None]
    timeout_seconds: NotRequired[float | None]


class Migrations(TypedDict):
    """Who tells which migrations there would be."""

    service: str
    plan: list[str]


class Manifest(TypedDict):
    """What a release says; the oldest ones say no more than their topology."""

    topology: str
    stack: NotRequired[str]
    version: NotRequired[str]
    images: NotRequired[list[str]]
    services: NotRequired[list[Service]]
    install: NotRequired[dict[str, str]]
    runtime: NotRequired[list[Directory]]
    # Releases of older versions do not say.
    directories: NotRequired[list[Directory]]
    edge: NotRequired[Edge | None]
    hooks: NotRequired[dict[str, list[Hook]] | None]
    migrations: NotRequired[Migrations | None]
    # Of releases of older versions, which can be named and not be activated.
    units: NotRequired[list[Unit]]
    probe: NotRequired[Probe]
    rollout: NotRequired[Rollout]


class Container(TypedDict):
    """A service of the release's Compose file."""

    user: NotRequired[Any]
    volumes: NotRequired[list[dict[str, Any]]]
    ports: NotRequired[list[dict[str, Any]]]


class Composed(TypedDict):
    """What compose.json says, as far as a host looks at it."""

    services: NotRequired[dict[str, Container]]


class Process(TypedDict):
    """A process of the unified container, as far as a host looks at it."""

    name: str
    working_dir: NotRequired[str | None]
    user: NotRequired[Any]
    environment: NotRequired[dict[str, Any] | None]
    stop_grace: NotRequired[float | None]


class Processes(TypedDict):
    """What supervisor.json says."""

    processes: list[Process]
