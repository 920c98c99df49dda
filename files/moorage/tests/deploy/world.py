"""A host in memory: what runs instances, the edge and supervisors, and what visitors meet.

Nothing of it takes time, so that a rollout can be cut off at each of its steps in turn. It watches
what no rollout may do: lead visitors to what does not run, leave them with nobody, or run twice
what must not run twice.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from moorage.deploy.drivers.base import Driver
from moorage.deploy.drivers.containers import ContainersDriver
from moorage.deploy.drivers.unified import UnifiedDriver
from moorage.deploy.instance import Instance, Published
from moorage.deploy.release import Release
from moorage.deploy.runtimes.base import AS_IT_IS, RuntimeFault, Surroundings
from moorage.deploy.supervisor import Supervisor
from moorage.edge import Edge, EdgeError
from moorage.edge.model import Settings
from moorage.release.layout import Layout
from moorage.release.manifest import Unit
from process_supervisor.client import ControlError

if TYPE_CHECKING:
    from files.moorage.tests.deploy.rig import Rig
else:
    from rig import Rig

# How an instance or a process is that was started, by the script that it runs.
_STATES: dict[str, dict[str, Any]] = {
    "well": {"state": "running"},
    "sick": {"state": "running", "health": "unhealthy"},
    "crash": {"state": "restarting", "restarts": 5, "exit_code": 1},
    "killed": {"state": "restarting", "restarts": 5, "exit_code": 137},
    "tried": {"state": "running", "restarts": 5},
    "ends": {"state": "exited"},
    "fails": {"state": "exited", "exit_code": 1},
    "long": {"state": "running"},
    "later": {"state": "running"},
}
# What becomes of some of them when they have been looked at so often.
_BECOMES = {"long": (20, "ends"), "later": (20, "crash"), "tried": (3, "killed")}
_REFUSED = RuntimeFault("the runtime refuses")
_SILENT = ControlError("unreachable", "the supervisor does not answer")


class Cut(BaseException):
    """Somebody has pulled the plug: nothing more is done to this host."""


@dataclass
class Refusal:
    """When something refuses: after how many steps, from then on or once.

    ``late``: it says so although it has done what it was asked for.
    """

    after: int
    lasts: bool = False
    late: bool = False


@dataclass
class World:
    """What there is. ``done`` lists what was done to it; ``left`` is how much more may be."""

    instances: dict[str, Instance] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    supervisors: dict[str, FakeSupervisor] = field(default_factory=dict)
    routes: dict[str, Any] | None = None
    pools: dict[str, list[str]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    left: int | None = None
    #: What refuses: after how many steps, whether it goes on to, whether what it refuses was done.
    refusal: Refusal | None = None
    #: Pools whose visitors may have to wait, since nobody can be beside who serves them.
    patient: frozenset[str] = frozenset()
    ids: Iterator[int] = field(default_factory=itertools.count)
    _trouble: Exception | None = None

    def do(self, what: str, trouble: Exception, *, undone: bool = False) -> None:
        """Note what is about to be done; raises Cut when the plug is out, or ``trouble``.

        What is ``undone`` where it fails leaves nothing.
        """
        if self.left == 0:
            raise Cut(what)
        if self.left is not None:
            self.left -= 1
        self.done.append(what)
        if self.refusal is None:
            return
        if self.refusal.after:
            self.refusal.after -= 1
            return
        refusal, self.refusal = self.refusal, self.refusal if self.refusal.lasts else None
        self.done[-1] += " REFUSED"
        if undone or not refusal.late:
            raise trouble
        self._trouble = trouble

    def look(self) -> None:
        """Note what must not be."""
        after = self.done[-1] if self.done else ""
        for name, peers in self.pools.items():
            if lost := set(peers) - self._serving(name.partition(":")[0]):
                self.wrong.append(f"after {after}: visitors of {name} are led to {lost}")
            if not peers and name not in self.patient:
                self.wrong.append(f"after {after}: nobody serves {name}")
        running = [
            name for s in self.supervisors.values() for name in s.running() if name in s.single
        ]
        running += [
            i.service for i in self.instances.values() if i.alive and self.entries[i.name]["single"]
        ]
        if len(running) != len(set(running)):
            self.wrong.append(f"after {after}: {running} run twice")
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble

    def _serving(self, service: str) -> set[str]:
        """Return where a service answers."""
        return {
            peer
            for name, instance in self.instances.items()
            if instance.state == "running"
            if name not in self.supervisors or service in self.supervisors[name].running()
            if self._reaches(instance)
            for peer in instance.peers
        }

    def _reaches(self, instance: Instance) -> bool:
        """Tell whether the data have the form of who is to serve them; he finds no others."""
        return all(d.kind == instance.kind for d in self.data())

    def data(self) -> list[Instance]:
        """Return the instances of data services."""
        return [i for i in self.instances.values() if self.entries[i.name]["data"]]


class FakeRuntime:
    """Runs instances in a world; see `Runtime`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.looks: Counter[str] = Counter()

    def instances(self, stack: str) -> list[Instance]:
        """Return what there is, by name."""
        for name in list(self.world.instances):
            self.looks[name] += 1
            looks, script = _BECOMES.get(self._script(name), (0, ""))
            if self.looks[name] == looks:
                self._is(name, **_STATES[script])
        return [self.world.instances[name] for name in sorted(self.world.instances)]

    def make(
        self, release: Release, keys: Sequence[str], *, start: bool, timeout_seconds: float
    ) -> None:
        """Make entries anew; as with Compose, what was made of the same key goes, however named."""
        world = self.world
        services = json.loads((release.path / "compose.json").read_text())["services"]
        for key in keys:
            entry = services[key]
            name = entry["container_name"]
            there = world.instances.get(name)
            if there is not None and there.kind != release.manifest.kind:
                # What runs the other form lets go of it first.
                self.remove([name])
            world.do(f"make {name} ({key})", _REFUSED)
            for other in [n for n, of in world.keys.items() if of == key]:
                self._forget(other)
            if name in world.instances:
                raise RuntimeFault(f"the name {name} is in use")
            world.keys[name], world.entries[name] = key, entry
            self.looks[name] = 0
            labels = entry["labels"]
            world.instances[name] = Instance(
                id=str(next(world.ids)),
                name=name,
                service=labels["moorage.service"],
                image=entry["image"],
                state="created",
                health="none",
                exit_code=0,
                pid=0,
                started_at="",
                restarts=0,
                policy=entry["restart"],
                config=labels["moorage.config"],
                slot=labels.get("moorage.slot", ""),
                published=tuple(
                    Published(str(p["target"]), p["host_ip"], int(p["published"]))
                    for p in entry.get("ports", ())
                ),
                pids_limit=1,
                supervised="x-supervisor" in entry,
                kind=release.manifest.kind,
            )
            if start:
                self._start(name)
            world.look()

    def start(self, names: Sequence[str]) -> None:
        """Start instances."""
        for name in names:
            self.world.do(f"start {name}", _REFUSED)
            self._start(name)
            self.world.look()

    def restart(self, name: str, *, timeout_seconds: float) -> None:
        """Stop and start one."""
        self.world.do(f"restart {name}", _REFUSED)
        self._start(name)
        self.world.look()

    def stop(self, names: Sequence[str], *, timeout_seconds: float) -> None:
        """Stop instances."""
        for name in names:
            self.world.do(f"stop {name}", _REFUSED)
            self._is(name, state="exited", restarts=0)
            self.world.supervisors.pop(name, None)
            self.world.look()

    def hold(self, names: Sequence[str]) -> None:
        """Have stops last: they do here."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove instances."""
        for name in names:
            self.world.do(f"remove {name}", _REFUSED)
            self._forget(name)
            self.world.look()

    def rename(self, name: str, to: str) -> None:
        """Give an instance another name."""
        self.world.do(f"rename {name} to {to}", _REFUSED)
        world = self.world
        if to in world.instances:
            raise RuntimeFault(f"the name {to} is in use")
        world.instances[to] = replace(world.instances.pop(name), name=to)
        world.keys[to], world.entries[to] = world.keys.pop(name), world.entries.pop(name)
        if name in world.supervisors:
            world.supervisors[to] = world.supervisors.pop(name)
        world.look()

    def rename_if_it_runs(self, name: str, to: str) -> None:
        """Do so."""
        self.rename(name, to)

    def boot(self) -> None:
        """Start what ran before the host went down, at once."""
        world = self.world
        world.supervisors.clear()
        alive = [name for name, instance in world.instances.items() if instance.alive]
        for name in alive:
            self._is(name, state="created")
        for name in alive:
            if world.instances[name].policy in ("always", "unless-stopped"):
                self._start(name)
            else:
                self._is(name, state="exited", exit_code=137)

    def limit(self, name: str, pids: int) -> None:
        """Limit processes."""
        self._is(name, pids_limit=pids)

    def sweep(self, stack: str) -> None:
        """Nothing is beside instances."""

    def retire_networks(self, release: Release) -> list[str]:
        """Nothing is beside instances."""
        return []

    def logs(self, name: str, lines: int, times: bool = False) -> list[str]:
        """Return what it said: which script it was."""
        return [self._script(name)]

    def out_of_memory(self, name: str) -> bool:
        """Never."""
        return False

    def within(
        self,
        name: str,
        command: Sequence[str],
        beside: Surroundings = AS_IT_IS,
        *,
        interactive: bool = False,
        terminal: bool = False,
    ) -> list[str]:
        """Return the command itself."""
        self.world.do(f"in {name}: {' '.join(command)}", _REFUSED)
        return list(command)

    def apart(
        self,
        release: Release,
        unit: Unit,
        command: Sequence[str],
        beside: Surroundings = AS_IT_IS,
        *,
        terminal: bool = False,
    ) -> list[str]:
        """Return the command itself."""
        reached = {
            d.service for d in self.world.data() if d.alive and d.kind == release.manifest.kind
        }
        data = {u.service for u in release.manifest.units if u.data}
        if not unit.data and not data <= reached:
            raise RuntimeFault("the database does not answer")
        return list(command)

    def output(self, argv: Sequence[str], *, timeout_seconds: float) -> str:
        """Return what the command is."""
        return argv[-1]

    def by_hand(self, verb: str, name: str) -> list[str]:
        """Return some command."""
        return [verb, name]

    def follow(self, name: str, lines: int, times: bool) -> list[str]:
        """Return some command."""
        return ["follow", name]

    def refuse(self, release: Release) -> None:
        """Nothing is."""

    def missing(self, refs: Sequence[str]) -> list[str]:
        """Nothing is."""
        return []

    def digests(self, refs: Sequence[str]) -> dict[str, str]:
        """Return a digest of each."""
        return {ref: f"sha256:{ref}" for ref in refs}

    def prune(self, stack: str, keep: Collection[str]) -> list[str]:
        """Nothing is left over."""
        return []

    def _script(self, name: str) -> str:
        return str(self.world.entries[name]["command"][-1])

    def _is(self, name: str, **facts: Any) -> None:
        self.world.instances[name] = replace(self.world.instances[name], **facts)

    def _forget(self, name: str) -> None:
        for known in (self.world.instances, self.world.keys, self.world.supervisors):
            known.pop(name, None)

    def _start(self, name: str) -> None:
        world = self.world
        taken = {(p.address, p.port) for i in world.instances.values() if i.alive and i.name != name
                 for p in i.published}  # fmt: skip
        for port in world.instances[name].published:
            if (port.address, port.port) in taken:
                self._is(name, refused="address already in use")
                raise RuntimeFault(f"{name}: address {port.address}:{port.port} already in use")
        self._is(name, **{"health": "none", "exit_code": 0, **_STATES[self._script(name)]})
        if "x-supervisor" in world.entries[name]:
            world.supervisors[name] = FakeSupervisor(world, world.entries[name]["x-supervisor"])


class FakeSupervisor:
    """What answers in an instance of several processes, from the files that it was given."""

    def __init__(self, world: World, files: Mapping[str, Any]) -> None:
        self._world = world
        self._config, self.single = Path(files["config"]), set(files["single"])
        self._intents = Path(files["state"]) / "intents.json"
        stopped = json.loads(self._intents.read_text())["stopped"] if self._intents.exists() else []
        self._held = set(stopped)
        self.processes: dict[str, dict[str, Any]] = {}
        for wanted in self._read():
            self._add(wanted)

    def running(self) -> list[str]:
        """Return the names of the processes that run."""
        return [name for name, process in self.processes.items() if process["state"] == "RUNNING"]

    def info(self) -> dict[str, Any]:
        """Answer."""
        return {}

    def status(self, name: str | None = None) -> Any:
        """Return the status of one process, or of all."""
        return list(self.processes.values()) if name is None else self.processes[name]

    def start(self, name: str, **_: Any) -> None:
        """Start a process."""
        self._world.do(f"start process {name}", _SILENT)
        self._hold(name, False)
        self._run(self.processes[name])
        self._world.look()

    def stop(self, name: str, **_: Any) -> None:
        """Stop a process."""
        self._world.do(f"stop process {name}", _SILENT)
        self._hold(name, True)
        self.processes[name].update(state="STOPPED", wanted="down")
        self._world.look()

    def restart(self, name: str, **_: Any) -> None:
        """Stop and start a process."""
        self._world.do(f"restart process {name}", _SILENT)
        self._hold(name, False)
        self._run(self.processes[name])
        self._world.look()

    def reload(self, **_: Any) -> dict[str, list[str]]:
        """Bring processes to what the file says."""
        self._world.do("reload", _SILENT)
        wanted = {process["name"]: process for process in self._read()}
        gone = [name for name in self.processes if name not in wanted]
        for name in gone:
            del self.processes[name]
        added, changed = [], []
        for name, process in wanted.items():
            if name not in self.processes:
                self._add(process)
                added.append(name)
                continue
            old = self.processes[name]
            began = process.get("autostart", True) and not old["autostart"]
            if _of(process) != _of(old["config"]):
                changed.append(name)
            old.update(config=process, autostart=process.get("autostart", True))
            if name not in self._held and (began or (name in changed and old["wanted"] == "up")):
                self._run(old)
        self._world.look()
        return {"added": added, "removed": gone, "changed": changed}

    def logs(self, name: str, *_: Any) -> list[str]:
        """Return what it said."""
        return [self.processes[name]["config"]["command"][0]]

    def _read(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self._config.read_text())["processes"]
        return found

    def _hold(self, name: str, stopped: bool) -> None:
        self._held = self._held | {name} if stopped else self._held - {name}
        self._intents.write_text(json.dumps({"version": 1, "stopped": sorted(self._held)}))

    def _add(self, config: dict[str, Any]) -> None:
        process = self.processes[config["name"]] = {
            "name": config["name"],
            "state": "STOPPED",
            "health": "none",
            "wanted": "down",
            "autostart": config.get("autostart", True),
            "restarts": 0,
            "started_at": None,
            "config": config,
        }
        if process["autostart"] and config["name"] not in self._held:
            self._run(process)

    def _run(self, process: dict[str, Any]) -> None:
        well = process["config"]["command"][0] == "well"
        end = {} if well else {"exit": {"code": 1, "signal": None}}
        state = "RUNNING" if well else "FATAL"
        process.update(state=state, wanted="up", started_at="2026-01-01T00:00:00+00:00", **end)


def _of(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "autostart"}


class FakeEdge:
    """The edge of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = SimpleNamespace(settings=lambda: Settings(kind="native"))

    def present(self) -> bool:
        """It is."""
        return True

    def facts(self, stack: str) -> dict[str, Any] | None:
        """Return what it was told."""
        return self.world.routes

    def pools(self, stack: str) -> dict[str, list[str]]:
        """Return the peers of each pool."""
        return {name: list(peers) for name, peers in self.world.pools.items()}

    def apply(
        self,
        stack: str,
        facts: Mapping[str, Any] | None,
        pools: Mapping[str, Sequence[str]] | None = None,
        hold_seconds: float = 0.0,
    ) -> bool:
        """Take over what a release wants."""
        if facts == self.world.routes:
            return False
        told = f"route {sorted((facts or {}).get('pools', {}))}"
        self.world.do(told, EdgeError("the edge refuses"), undone=True)
        self.world.routes = dict(facts) if facts else None
        names = (facts or {}).get("pools", {})
        there, new = self.world.pools, pools or {}
        self.world.pools = {n: there[n] if n in there else list(new.get(n, ())) for n in names}
        self.world.look()
        return True

    def switch(
        self, stack: str, pools: Mapping[str, Sequence[str]], hold_seconds: float = 0.0
    ) -> None:
        """Send visitors elsewhere."""
        assert set(pools) <= set(self.world.pools), "a pool that the edge does not know"
        said = "; ".join(f"{name} {'+'.join(peers) or '-'}" for name, peers in pools.items())
        self.world.do(f"switch {said}", EdgeError("the edge refuses"))
        self.world.pools.update({name: list(peers) for name, peers in pools.items()})
        self.world.look()

    def in_flight(self, peers: Sequence[str]) -> dict[str, int]:
        """Nobody is on the way."""
        return dict.fromkeys(peers, 0)


class FakeUnified(UnifiedDriver):
    """The real driver; whom it asks is in the world."""

    def _client(self, container: Instance) -> Supervisor:
        world = cast(FakeRuntime, self.runtime).world
        for name, supervisor in world.supervisors.items():
            if world.instances[name].id == container.id:
                return cast(Supervisor, supervisor)
        raise ControlError("unreachable", f"no supervisor in {container.name}")


class FakeRig(Rig):
    """A stack on a host in memory. Services are scripts of one word: `_STATES`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.world = World()
        self.runtime = FakeRuntime(self.world)
        self.edge = cast(Edge, FakeEdge(self.world))
        self.ports: dict[str, int] = {}
        # The pools of each release.
        self.visited: dict[str, frozenset[str]] = {}

    def driver(self, topology: str, layout: Layout) -> Driver:
        """Return the real driver of a topology in this world."""
        known = {"containers": ContainersDriver, "unified": FakeUnified}
        if topology not in known:
            raise ValueError(topology)
        return known[topology](layout, self.runtime)

    def web(self, name: str = "web", script: str = "well", **facts: Any) -> dict[str, Any]:
        """Describe a service that visitors reach at its port 80; ``facts`` are of its unit."""
        slots = ("a", "b") if facts.get("rolled", True) else ("",)
        ports = {slot: self._port(f"{name}.{slot}") for slot in slots}
        peers = {slot: {"80": port} for slot, port in ports.items()}
        entry = {
            slot: {"ports": [{"target": 80, "host_ip": "127.0.0.1", "published": port}]}
            for slot, port in ports.items()
        }
        return {**self.service(name, script, peers=peers, **facts), "by_slot": entry}

    def all_in_one(
        self, *processes: dict[str, Any], rolled: bool = True, **facts: Any
    ) -> dict[str, Any]:
        """Describe the instance that has all of these processes."""
        names = [process["name"] for process in processes]
        single = [process["name"] for process in processes if process.pop("single", False)]
        slots = ("a", "b") if rolled else ("",)
        paths = {slot: str(self.layout.config / f"unified-{slot}.json") for slot in slots}
        made = self.web(
            "unified",
            rolled=rolled,
            processes=names,
            singletons=single,
            # A process that differs is no reason for another instance.
            config=hashlib.sha256(str(facts).encode()).hexdigest()[:16],
            slot_install={slot: {"supervisor.json": path} for slot, path in paths.items()},
            **facts,
        )
        for slot in slots:
            files = {
                "config": paths[slot],
                "state": str(self.layout.state(slot)),
                "single": single,
            }
            made["by_slot"][slot]["x-supervisor"] = files
        made["entry"]["x-processes"] = processes
        return made

    def deploy(self, *services: dict[str, Any], **manifest: Any) -> str:
        """Write a release whose visited services stand behind the edge, and return its id."""
        pools = {}
        for service in services:
            facts = service["facts"]
            names = facts.pop("visited", [facts.get("service", service["name"])])
            if "by_slot" in service:
                pools.update({f"{name}:80": {"service": name, "port": 80} for name in names})
            if "processes" in facts:
                manifest["topology"] = "unified"
        edge = {"pools": pools, "listeners": [], "domains": [], "routes": []} if pools else None
        rollout = {"drain_seconds": 0.0, "monitor_seconds": 0.0}
        found = self.release(
            *services, edge=edge, probe={"rate": 0, "targets": []}, rollout=rollout, **manifest
        )
        for service in services:
            if processes := service["entry"].get("x-processes"):
                content = json.dumps({"processes": list(processes)})
                (self.layout.releases / found / "supervisor.json").write_text(content)
        self.visited[found] = frozenset(pools)
        return found

    def run(self, release: str, left: int | None = None, **request: Any) -> Any:
        """Activate a release; ``left`` is after how many steps the plug is pulled (None then)."""
        self.world.left, before = left, len(self.world.done)
        try:
            return self.activate(release, gate_timeout=0.1, **request)
        except Cut:
            return None
        finally:
            self.world.left = None
            self.steps = len(self.world.done) - before

    def reboot(self) -> None:
        """Have the host begin anew: what ran and was not stopped starts, as its files say."""
        world = self.world
        cast(FakeRuntime, self.runtime).boot()
        world.look()

    def states(self) -> dict[str, str]:
        """Return what runs: configurations and states by name, with processes beside."""
        found = {
            name.removeprefix(f"{self.stack}-"): f"{i.config[:4]} {i.state}"
            for name, i in self.world.instances.items()
        }
        for name, supervisor in self.world.supervisors.items():
            for process, status in supervisor.processes.items():
                found[f"{name.removeprefix(f'{self.stack}-')}/{process}"] = status["state"]
        return found

    def steps_done(self) -> list[str]:
        """Return what was done since the last call, without the stack's name."""
        found = [step.replace(f"{self.stack}-", "") for step in self.world.done]
        self.world.done.clear()
        return found

    def clear(self) -> None:
        """There is nothing to take away."""

    def _port(self, name: str) -> int:
        return self.ports.setdefault(name, 21_000 + len(self.ports))

    def _entry(self, service: dict[str, Any], unit: dict[str, Any], slot: str) -> dict[str, Any]:
        entry = {**super()._entry(service, unit, slot), "single": unit.get("singleton", False)}
        entry["data"] = unit.get("data", False)
        return {**entry, **service.get("by_slot", {}).get(slot, {})}
