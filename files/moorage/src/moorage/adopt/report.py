"""Say what becomes of a project: in which topologies it runs, and what of it comes where from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorage.adopt.secrets import Found
from moorage.cli.tables import table
from moorage.compose import Stack
from moorage.compose.errors import Problem
from moorage.release.names import COMPOSE_JSON


@dataclass(frozen=True)
class Verdict:
    """What one topology makes of the stack: a plan of moorage.controller.plan, or problems."""

    topology: str
    plan: Mapping[str, Any] | None
    problems: tuple[Problem, ...] = ()


def report(
    stack: Stack, verdicts: Sequence[Verdict], found: Sequence[Found], left: Sequence[str]
) -> Iterator[str]:
    """Yield what an operator wants to know, in paragraphs. No secret's value is among it."""
    best = next((verdict.plan for verdict in verdicts if verdict.plan), None)
    if best:
        yield "\n".join(_services(stack, best))
    for verdict in verdicts:
        if verdict.plan is None:
            problems = "".join(f"\n  - {problem}" for problem in verdict.problems)
            yield f"{verdict.topology}: not as it stands{problems}"
        else:
            notes = "".join(f"\n  - {note}" for note in verdict.plan["stacks"][0]["notes"])
            yield f"{verdict.topology}: runs as it stands{notes}"
    if best and (bound := list(_in_place(stack, best))):
        yield (
            "Not behind the edge, and away for a moment in each update, for they run a ready image "
            f"(docs/adopt.md: x-moorage: {{edge: true}}): {', '.join(bound)}"
        )
    if best and (unsaid := list(_not_saved(best))):
        yield "\n".join(["No backup before moorage.yml says how (docs/adopt.md):", *unsaid])
    if found:
        lines = [f"  - {f.service}: {f.variable} ({', '.join(f.places)})" for f in found]
        yield "\n".join(["Secrets in clear text; moorage.yml says how each moves:", *lines])
    if outside := sorted(_outside(stack)):
        lines = [f"  - {line}" for line in outside]
        yield "\n".join(["Read of this machine at every deploy, outside of the project:", *lines])
    if left:
        # A name may have lines of its own, which would pose as the report's.
        yield "\n".join(["Left out:", *(f"  - {line}".replace("\n", "\\n") for line in left)])


def _in_place(stack: Stack, plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield the services that visitors would be led over to, did they not run a ready image."""
    published = {port["service"] for port in plan["stacks"][0]["ports"]}
    for name, service in stack.services.items():
        asked = name in published and not service.profiles
        if asked and service.stays and service.image not in plan["images"]["map"]:
            yield name


def _not_saved(plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield the services whose data the nightly backup would refuse to copy."""
    for service in plan["stacks"][0]["manifest"]["services"]:
        backup = service.get("backup") or {}
        if backup.get("how") == "unknown":
            yield f"  - {service['name']}: {', '.join(backup['volumes'])}"


def _outside(stack: Stack) -> Iterator[str]:
    """Yield what a deploy reads and takes to a host: it may be a key of who deploys."""
    named = [(f"secrets.{name}", secret.file) for name, secret in stack.secrets.items()]
    for name, service in stack.services.items():
        if build := service.build:
            paths = (build.context, build.dockerfile, *build.additional_contexts.values())
            named += [(f"services.{name}.build", path) for path in paths]
    for where, path in named:
        if path and path.startswith("/") and not Path(path).is_relative_to(stack.directory):
            yield f"{where}: {path}"


def _services(stack: Stack, plan: Mapping[str, Any]) -> Iterator[str]:
    made, planned = plan["images"]["map"], plan["stacks"][0]
    containers = json.loads(planned["files"][COMPOSE_JSON]["content"])["services"]
    ports: dict[str, list[str]] = {}
    for port in planned["ports"]:
        ports.setdefault(port["service"], []).append(f"{port['port']}/{port['protocol']}")
    rows = [["SERVICE", "IMAGE", "FROM", "PUBLISHED", "DATA"]]
    for name, service in stack.services.items():
        origin = "built" if service.build else "pulled"
        origin = "Debian's packages" if service.image in made and not service.build else origin
        stored = [
            entry["source"]
            for entry in containers.get(name, {}).get("volumes", [])
            if isinstance(entry, dict)
            and entry.get("type") == "bind"
            and not entry.get("read_only")
        ]
        published = " ".join(ports.get(name, [])) or "-"
        image = service.image or f"{stack.name}-{name}"
        rows.append([name, image, origin, published, " ".join(stored) or "-"])
    yield table(rows)
