"""What is deployed of a stack: its releases on the disk and its containers."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ansible.module_utils.moorage_host import names, readers


def current_release(directory: Path) -> dict[str, Any] | None:
    """The plain values of current/release.json and the release directory's name, or None."""
    try:
        target = os.readlink(directory / "current")
    except OSError:
        return None
    document = readers.read_note(directory / "current" / names.MANIFEST)
    if not document or not readable(directory):
        # A link that leads nowhere or a release that was cut short: nothing is deployed.
        return None
    plain = {
        key: value
        for key, value in document.items()
        if value is None or isinstance(value, (str, int, float, bool))
    }
    return {**plain, "dir": Path(target).name}


def readable(directory: Path, library: str = names.LIBRARY) -> bool:
    """Whether the host's own Moorage can work with the release, where it has a word on that."""
    _reach(library)
    try:
        from moorage.deploy.release import readable_release
        from moorage.release.layout import Layout

        return readable_release(Layout.of(directory.name, directory.parent)) is not None
    except (ImportError, OSError):
        return True


def astray(directory: Path, library: str = names.LIBRARY) -> list[str]:
    """Directories that are another's than the running release wants, in words."""
    if library not in sys.path:
        sys.path.insert(0, library)
    try:
        from moorage.deploy.owners import astray as find
        from moorage.release.layout import Layout

        return find(Layout.of(directory.name, directory.parent))
    except (ImportError, OSError, AttributeError, LookupError, TypeError, ValueError):
        # An older version there, or a release of another's making.
        return []


def check_encryption(
    wanted: list[dict[str, Any]], library: str = names.LIBRARY
) -> list[dict[str, str]]:
    """What keeps data of stacks from being encrypted on the disk, or not, as it is wanted."""
    found = []
    for stack in wanted:
        directory = Path(stack.get("dir") or f"/opt/{stack['name']}")
        if not stack["encrypted"] and not os.path.lexists(directory / "encrypted"):
            continue
        _reach(library)
        try:
            from moorage.deploy.encryption import WAY, obstacle
            from moorage.release.layout import Layout
        except ImportError:
            # Nothing runs there yet, or an older version, which encrypts nothing.
            return []
        layout = Layout.of(directory.name, directory.parent)
        if why := obstacle(layout, wanted=stack["encrypted"]):
            value = "not encrypted" if stack["encrypted"] else "encrypted"
            found.append({"check": "storage", "problem": why, "value": value, "fix": WAY})
    return found


def stale_secrets(directory: Path, library: str = names.LIBRARY) -> list[str]:
    """Names of the secrets of which what runs holds another value than the file."""
    if not (directory / ".secrets.json").exists():
        return []
    _reach(library)
    try:
        from moorage.deploy.secretfiles import stale_secrets as find
        from moorage.release.layout import Layout

        return find(Layout.of(directory.name, directory.parent))
    except (ImportError, OSError):
        # An older version there, which is brought up to date before anything is deployed.
        return []


def lacking(directory: Path, library: str = names.LIBRARY) -> list[str]:
    """Environments that the running release needs, such as those of another Python than now."""
    _reach(library)
    try:
        from moorage.deploy.runtimes.environments import lacking as find
        from moorage.release.layout import Layout

        return find(Layout.of(directory.name, directory.parent))
    except (ImportError, OSError):
        # An older version there, which knows of none.
        return []


def due(directory: Path, pulls: list[dict[str, str]], library: str = names.LIBRARY) -> list[str]:
    """Images that are to be pulled again, as their policies say."""
    if not any(pull["policy"] != "missing" for pull in pulls):
        return []
    _reach(library)
    try:
        from moorage.deploy.runtimes.pulled import due as find
        from moorage.release.layout import Layout

        return find(Layout.of(directory.name, directory.parent), pulls)
    except (ImportError, OSError):
        # An older version there, which is brought up to date before anything is deployed.
        return []


def processes(
    wanted: list[dict[str, Any]], base: Path = Path("/opt"), library: str = names.LIBRARY
) -> list[dict[str, Any]]:
    """What runs of stacks without a container, as `engine.summary` says it of containers."""
    found: list[dict[str, Any]] = []
    for stack in wanted:
        directory = Path(stack.get("dir") or base / stack["name"])
        if not (directory / "instances").is_dir():
            continue
        _reach(library)
        try:
            from moorage.deploy.runtimes.base import RuntimeFault
            from moorage.deploy.runtimes.native import Native
            from moorage.release.layout import Layout
        except ImportError:
            # An older version there, which runs none.
            return []
        try:
            instances = Native(Layout.of(directory.name, directory.parent)).instances(stack["name"])
        except (RuntimeFault, OSError):
            # A deploy says what is wrong, and mends it.
            continue
        found += [_process(stack["name"], instance) for instance in instances]
    return found


def _process(stack: str, instance: Any) -> dict[str, Any]:
    return {
        "id": instance.id,
        "name": instance.name,
        "image": instance.image,
        "state": instance.state,
        "health": instance.health,
        "exit_code": None if instance.alive else instance.exit_code,
        "stack": stack,
        "service": instance.service,
        # Its manager may run it under a unit that says nothing of the stack.
        "ports": [
            {"address": port.address, "port": port.port, "protocol": "tcp"}
            for port in instance.published
            if instance.alive
        ],
    }


def _reach(library: str) -> None:
    if library not in sys.path:
        sys.path.insert(0, library)


class Neighbours:
    """The stacks of a host beside each other: what each has, and whose turn is after whose.

    ``problems`` tells of what one wants and another one keeps.
    """

    def __init__(
        self, wanted: list[dict[str, Any]], base: Path = Path("/opt"), library: str = names.LIBRARY
    ) -> None:
        self.problems: list[dict[str, str]] = []
        self.after: dict[str, list[str]] = {}
        self._held: set[tuple[str, str, str]] = set()
        names = {path.parent.name for path in base.glob("*/current")}
        names |= {path.stem for path in base.glob("moorage/edge/stacks/*.json")}
        # Reading what stacks have takes longer than all the rest of a survey.
        if len(names | {stack["name"] for stack in wanted}) > 1 and names:
            self._compare(wanted, base, library)

    def _compare(self, wanted: list[dict[str, Any]], base: Path, library: str) -> None:
        _reach(library)
        try:
            from moorage.deploy import claims
        except ImportError:
            # An older version there, which is brought up to date before anything is deployed.
            return
        held = claims.claims_on_host(base)
        self._held = {
            (stack, claim.kind, claim.name) for stack, found in held.items() for claim in found
        }
        turns = claims.turns(
            {s["name"]: [claims.Claim(**claim) for claim in s.get("claims") or ()] for s in wanted},
            held,
        )
        self.after = turns.after
        for meeting in turns.blocked:
            text = f"{meeting.wants}, wanted by {meeting.who}, is held by another stack"
            self._tell(text, f"{meeting.holds} of {meeting.whose}", claims.advice(meeting))
        if turns.circle:
            text = "stacks of this host change places in a circle: no order of updates serves it"
            what = "; ".join(str(meeting) for meeting in turns.circle)
            self._tell(text, what, claims.way_out(turns.circle))

    def _tell(self, text: str, value: str, fix: str) -> None:
        found = {"check": "neighbour", "problem": text, "value": value, "fix": fix}
        self.problems.append(found)

    def know(self, stack: str, kind: str, name: str) -> bool:
        """Whether a stack is known to have something: then `problems` tells who else wants it."""
        return (stack, kind, name) in self._held


def survey(
    wanted: list[dict[str, Any]],
    containers: list[dict[str, Any]],
    after: dict[str, list[str]],
) -> dict[str, dict[str, Any]]:
    """For each stack its current release, what is left undone, and its containers.

    ``after``: the stacks that have to go first, by stack.
    """
    found = {}
    for stack in wanted:
        directory = Path(stack.get("dir") or f"/opt/{stack['name']}")
        found[stack["name"]] = {
            "current": current_release(directory),
            # What the rollout on the host leaves there when it is cut off.
            "interrupted": os.path.lexists(directory / ".rollout.json"),
            "stale_secrets": stale_secrets(directory),
            "after": after.get(stack["name"], []),
            "astray": astray(directory),
            "lacking": lacking(directory),
            "due": due(directory, stack.get("pulls") or []),
            "containers": [
                {key: value for key, value in entry.items() if key not in ("ports", "stack")}
                for entry in containers
                if entry["stack"] == stack["name"]
            ],
        }
    return found
