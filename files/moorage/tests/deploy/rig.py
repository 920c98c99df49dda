"""A small stack on a real engine: releases made of shell scripts, brought up by an activation."""

from __future__ import annotations

import hashlib
import json
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moorage.common.readers import Damaged
from moorage.deploy.activate import Outcome, Request, activate
from moorage.deploy.difference import Operation
from moorage.deploy.drivers.base import Driver
from moorage.deploy.drivers.registry import driver
from moorage.deploy.instance import Instance
from moorage.deploy.journal import Journal
from moorage.deploy.planning import operations
from moorage.deploy.release import ReleaseError, read_release
from moorage.deploy.runtimes.base import Runtime
from moorage.deploy.runtimes.docker import Docker
from moorage.edge import Edge
from moorage.release.layout import Layout
from moorage.release.manifest import FORMAT

IMAGE = "moorage/base:trixie"
_PROBE = {
    "rate": 20,
    "timeout_seconds": 2.0,
    "budget": 0,
    "p99_factor": 5.0,
    "p99_floor_seconds": 1.0,
    "before_seconds": 0.0,
    "targets": [],
}
_IDLE = "instance to make and not to start"


def docker(*argv: str) -> str:
    done = subprocess.run(
        ["docker", *argv], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"docker {argv}: {done.stderr}"
    return done.stdout.strip()


class Rig:
    """A stack on this machine's engine, with its files below a temporary directory."""

    def __init__(self, directory: Path) -> None:
        self.stack = f"pytest-{uuid.uuid4().hex[:8]}"
        self.layout = Layout.of(self.stack, directory / "opt", directory / "run")
        self.layout.releases.mkdir(parents=True)
        self.edge = Edge.of(directory / "edge", directory / "edge-run")
        self.journal = directory / "journal.jsonl"
        self.runtime: Runtime = Docker()

    def service(
        self,
        name: str,
        script: str = "exec sleep 600",
        entry: dict[str, Any] | None = None,
        **facts: Any,
    ) -> dict[str, Any]:
        """Describe a service that runs a shell script.

        ``entry`` is more of its Compose description, ``facts`` are of its unit.
        """
        return {"name": name, "script": script, "entry": entry or {}, "facts": facts}

    def release(
        self,
        *services: dict[str, Any],
        networks: dict[str, dict[str, Any]] | None = None,
        **manifest: Any,
    ) -> str:
        """Write a release of these services and return its id.

        ``networks`` are described by their keys; without any it is Compose's own.
        """
        composed: dict[str, Any] = {}
        units = []
        for service in services:
            unit = self._unit(service)
            units.append(unit)
            for slot, key in unit["keys"].items():
                composed[key] = self._entry(service, unit, slot)
        content: dict[str, Any] = {"name": self.stack, "services": composed}
        if networks:
            content["networks"] = {
                key: {"name": f"{self.stack}_{key}", **described}
                for key, described in networks.items()
            }
        full: dict[str, Any] = {
            "format": FORMAT,
            "stack": self.stack,
            "topology": "containers",
            "images": [IMAGE],
            "services": [],
            "units": units,
            "edge": None,
            "probe": _PROBE,
            "rollout": {"drain_seconds": 1.0, "monitor_seconds": 0.2},
            **manifest,
        }
        text = json.dumps([content, full], sort_keys=True)
        ident = hashlib.sha256(text.encode()).hexdigest()[:12]
        path = self.layout.releases / ident
        path.mkdir(exist_ok=True)
        for name in ("compose.yaml", "compose.json"):
            (path / name).write_text(json.dumps(content))
        (path / "release.json").write_text(json.dumps({**full, "id": ident}))
        return ident

    def activate(self, release: str, **request: Any) -> Outcome:
        """Activate a release, after a look at what a dry run says of it."""
        options = {"gate_timeout": 20.0, **request}
        asked = Request(self.stack, release, **options)
        try:
            found = read_release(self.layout, release)
            told = operations(self.layout, found, asked.restart, self.driver, self.edge)
        except (ReleaseError, Damaged, ValueError):
            told = None
        outcome = activate(asked, self.layout, Journal(self.journal), self.driver, self.edge)
        lines = self.journal.read_text().splitlines() if self.journal.is_file() else []
        planned = [e for e in map(json.loads, lines) if e["event"] == "planned"]
        if told is not None and planned and outcome.outcome in ("activated", "unchanged"):
            assert [str(operation) for operation in told] == planned[-1]["operations"]
            # What fails and is left behind no dry run foresees.
            assert outcome.did["behind"] or _done(told) == _did(outcome.did, told), outcome
        return outcome

    def driver(self, topology: str, layout: Layout) -> Driver:
        """Return the driver of a topology, with what runs instances here."""
        return driver(topology, layout, self.runtime)

    def phases(self) -> list[str]:
        """Return the phases that ended, in order."""
        events = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [event["name"] for event in events if event["event"] == "phase-end"]

    def containers(self) -> dict[str, Instance]:
        """Return the containers, by name without the stack's."""
        found = self.runtime.instances(self.stack)
        return {container.name.removeprefix(f"{self.stack}-"): container for container in found}

    def clear(self) -> None:
        """Take everything away."""
        names = [container.name for container in Docker().instances(self.stack)]
        if names:
            docker("rm", "--force", "--volumes", *names)
        networks = docker("network", "ls", "-q", "--filter", f"name={self.stack}_")
        if networks:
            docker("network", "rm", *networks.split())

    def _unit(self, service: dict[str, Any]) -> dict[str, Any]:
        name, facts = service["name"], service["facts"]
        rolled = facts.get("rolled", True)
        described = json.dumps([service["script"], service["entry"], facts], sort_keys=True)
        return {
            "name": f"{self.stack}-{name}",
            "service": name,
            "rolled": rolled,
            "keys": {"a": f"{name}.a", "b": f"{name}.b"} if rolled else {"": name},
            "config": hashlib.sha256(described.encode()).hexdigest()[:16],
            **facts,
        }

    def _entry(self, service: dict[str, Any], unit: dict[str, Any], slot: str) -> dict[str, Any]:
        labels = {
            "moorage.stack": self.stack,
            "moorage.service": service["name"],
            "moorage.config": unit["config"],
            **({"moorage.slot": slot} if slot else {}),
        }
        idle = unit.get("one_off") or unit.get("on_demand")
        entry: dict[str, Any] = {
            "image": IMAGE,
            "command": ["sh", "-c", service["script"]],
            "container_name": unit["name"] + ("-next" if slot else ""),
            "restart": "no" if idle else "unless-stopped",
            "stop_grace_period": "1s",
            "init": True,
            "labels": labels,
            **service["entry"],
        }
        if unit.get("health"):
            entry["healthcheck"] = {
                "test": ["CMD", "test", "-e", "/tmp/well"],
                "interval": "1s",
                "retries": 3,
                **entry.get("healthcheck", {}),
            }
        return entry


def _done(told: list[Operation]) -> dict[str, set[str]]:
    """Return what a dry run has told of, as an outcome tells of it."""
    kinds = {
        "instances": (
            "instance to make",
            "instance to replace",
            "instance to start",
            "one-off",
        ),
        "removed": ("instance to remove",),
        "processes": ("process to change", "service to restart"),
        "owners": ("directory to change hands",),
    }
    return {
        kind: {
            o.name.partition(":")[0] for o in told if o.verb.startswith(verbs) and o.verb != _IDLE
        }
        for kind, verbs in kinds.items()
    }


def _did(did: Mapping[str, Any], told: list[Operation]) -> dict[str, set[str]]:
    owners = {turn["path"] for turn in did["owners"]}
    found = {k: set(did[k]) for k in ("instances", "removed", "processes")}
    # The first instance of one that starts on demand is nothing that an outcome tells of.
    found["instances"] -= {o.name for o in told if o.verb == _IDLE}
    return {**found, "owners": owners}
