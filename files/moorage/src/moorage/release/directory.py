"""What hosts rely on in the files beside release.json."""

# Not with postponed annotations: what need not be there would not be told from what has to.
from typing import Any, NotRequired, TypedDict


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
