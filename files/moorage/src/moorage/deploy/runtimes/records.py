"""What this host has made of a stack's processes: a record each, as labels are to a container.

They are root's, below the stack's directory. The name of a record is that of the instance, so that
one takes another's name in one step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from moorage.common.files import persist, write_atomically
from moorage.common.readers import Damaged, read_object
from moorage.common.shape import make
from moorage.release.layout import Layout
from moorage.release.names import CONFIG_LABEL, REPLICA_LABEL, SERVICE_LABEL, SLOT_LABEL
from moorage.release.native import Process

_SUFFIX = ".json"


@dataclass(frozen=True)
class Port:
    """A port of the process, and where the host has it."""

    target: str
    address: str
    port: int


@dataclass(frozen=True)
class Record:
    """An instance as it was made: key and labels of its release, and its process.

    ``started``: not only made; ``writes`` and ``reads`` are the paths of the host that it mounts.
    """

    key: str
    release: str
    manager: str
    process: Process
    service: str
    config: str
    image: str
    slot: str = ""
    replica: int = 1
    ports: tuple[Port, ...] = ()
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    started: bool = False


def record(release: str, key: str, entry: Mapping[str, Any], process: Process) -> Record:
    """Return the record of an ``entry`` of a release's compose.json."""
    labels = entry["labels"]
    mounts = [m for m in entry.get("volumes") or () if m.get("source")]
    return Record(
        key=key,
        release=release,
        manager=process.manager,
        process=process,
        service=labels[SERVICE_LABEL],
        config=labels[CONFIG_LABEL],
        image=entry.get("image", ""),
        slot=labels.get(SLOT_LABEL, ""),
        replica=int(labels.get(REPLICA_LABEL, "1")),
        ports=tuple(
            Port(str(p["target"]), p.get("host_ip") or "0.0.0.0", int(p["published"]))
            for p in entry.get("ports") or ()
        ),
        writes=tuple(sorted(str(m["source"]) for m in mounts if not m.get("read_only"))),
        reads=tuple(sorted(str(m["source"]) for m in mounts if m.get("read_only"))),
    )


def read_records(layout: Layout) -> dict[str, Record]:
    """Return all records by the names of their instances; raises Damaged for one that is torn."""
    paths = sorted(layout.instances.glob(f"*{_SUFFIX}"))
    found = {path.name.removesuffix(_SUFFIX): _read(path) for path in paths}
    return {name: record for name, record in found.items() if record is not None}


def read_record(layout: Layout, name: str) -> Record | None:
    """Return the record of an instance, None where there is none."""
    return _read(_path(layout, name))


def is_recorded(layout: Layout, name: str) -> bool:
    """Tell whether there is a record of an instance, torn or not."""
    return _path(layout, name).exists()


def write_record(layout: Layout, name: str, found: Record) -> None:
    """Write the record of an instance."""
    layout.instances.mkdir(mode=0o755, exist_ok=True)
    write_atomically(_path(layout, name), json.dumps(asdict(found), indent=2) + "\n", 0o600)


def remove_record(layout: Layout, name: str) -> None:
    """Have no record of that name."""
    _path(layout, name).unlink(missing_ok=True)


def rename_record(layout: Layout, name: str, to: str) -> None:
    """Have an instance called otherwise from one moment to the next."""
    _path(layout, name).rename(_path(layout, to))
    persist(layout.instances)


def _read(path: Path) -> Record | None:
    found = read_object(path)
    if found is None:
        return None
    try:
        return make(Record, found)
    except ValueError as trouble:
        raise Damaged(path, str(trouble)) from None


def _path(layout: Layout, name: str) -> Path:
    return layout.instances / f"{name}{_SUFFIX}"
