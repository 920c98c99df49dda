"""What a rollout does to processes of a container, with a stand-in for their supervisor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moorage.deploy.drivers.unified import UnifiedDriver
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release
from moorage.deploy.runtimes.docker import Docker
from moorage.release.layout import Layout
from moorage.release.manifest import Unit, parse
from process_supervisor.control.client import ControlError

PROCESSES = ("web", "worker", "beat")


def container(name: str = "shop-unified", slot: str = "a") -> Instance:
    return Instance("0", name, "unified", "image", "running", "none", 0, 1, "", 0, "no", slot=slot)


class Supervisor:
    """Says and does what it is asked, and keeps it in order."""

    def __init__(self) -> None:
        self.rows = {
            name: {"name": name, "wanted": "up", "state": "RUNNING", "health": "none", "exit": None,
                   "restarts": 0, "autostart": True, "started_at": 4e9}
            for name in PROCESSES
        }  # fmt: skip
        self.did: list[str] = []
        self.silent = False

    def set(self, name: str, **facts: Any) -> None:
        self.rows[name].update(facts)

    def status(self, name: str | None = None) -> Any:
        if self.silent:
            raise ControlError("unreachable", "nobody there")
        return self.rows[name] if name else [dict(row) for row in self.rows.values()]

    def info(self) -> dict[str, Any]:
        return {}

    def reload(self, **_: Any) -> dict[str, list[str]]:
        self.did.append("reload")
        return {"added": [], "removed": [], "changed": ["worker"]}

    def _do(self, verb: str, name: str, wanted: str, wait: float | None) -> None:
        self.did.append(f"{verb} {name}" + (f" {wait:g}" if wait else ""))
        self.set(name, wanted=wanted)

    def start(self, name: str, *, wait: float | None = None, **_: Any) -> None:
        self._do("start", name, "up", wait)

    def stop(self, name: str, *, wait: float, **_: Any) -> None:
        self._do("stop", name, "down", wait)

    def restart(self, name: str, *, wait: float, **_: Any) -> None:
        self._do("restart", name, "up", wait)

    def logs(self, *_: Any) -> list[str]:
        return []


class Site:
    """A unified stack: a site that visitors reach, a worker, and a clock that runs once."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout = Layout.of("shop", tmp_path / "opt", tmp_path / "run")
        self.supervisors = {slot: Supervisor() for slot in "ab"}
        monkeypatch.setattr(UnifiedDriver, "_client", lambda _, c: self.supervisors[c.slot])
        self.driver = UnifiedDriver(self.layout, Docker())
        self.installed = {s: tmp_path / f"config-{s}" / "supervisor.json" for s in "ab"}
        path = self.layout.releases / ("1" * 12)
        path.mkdir(parents=True)
        unit = {
            "name": "shop-unified", "service": "unified", "rolled": True, "config": "1",
            "keys": {"a": "unified.a", "b": "unified.b"}, "processes": list(PROCESSES),
            "singletons": ["beat"],
            "slot_install": {s: {"supervisor.json": str(p)} for s, p in self.installed.items()},
        }  # fmt: skip
        other = {"name": "shop-init", "service": "init", "rolled": False, "one_off": True,
                 "config": "1", "keys": {"": "init"}}  # fmt: skip
        edge = {"pools": {"web:80": {"service": "web", "port": 80}}}
        facts = {"topology": "unified", "units": [unit, other], "edge": edge}
        self.release = Release("1" * 12, path, parse(facts))
        self.unit: Unit = self.release.manifest.units[0]
        self.want()
        for slot in "ab":
            self.install(slot)

    def want(self, **changes: dict[str, Any]) -> None:
        """Have the release describe its processes, with changes of some."""
        self.wanted = [
            {"name": name, "command": ["serve"], "stop_grace": 5, **changes.get(name, {})}
            for name in PROCESSES
        ]
        text = json.dumps({"processes": self.wanted})
        (self.release.path / "supervisor.json").write_text(text)

    def install(self, slot: str) -> None:
        """Have a slot run with what the release describes now."""
        self.installed[slot].parent.mkdir(exist_ok=True)
        self.installed[slot].write_text(json.dumps({"processes": self.wanted}))

    def starting(self, slot: str) -> list[str]:
        """Return what starts by itself by the file of a slot."""
        processes = json.loads(self.installed[slot].read_text())["processes"]
        return [p["name"] for p in processes if p.get("autostart", True)]

    def adapts(self, *restart: str, held: tuple[str, ...] = ()) -> list[str]:
        found = self.driver.adapts(self.release, self.unit, container(), restart, held)
        return [operation.name for operation in found]

    def adapt(self, *restart: str, held: tuple[str, ...] = ()) -> list[str]:
        return self.driver.adapt(self.release, self.unit, container(), restart, held)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A stack of which everything runs as its release says."""
    return Site(tmp_path, monkeypatch)


def test_what_is_as_it_should_be_is_left_alone(site: Site) -> None:
    assert site.adapts() == site.adapt() == []
    assert site.supervisors["a"].did == []


def test_what_reads_a_new_secret_is_restarted_if_it_shall_run(site: Site) -> None:
    assert site.adapts("worker", "web") == site.adapt("worker", "web") == ["web", "worker"]
    assert site.supervisors["a"].did == ["restart web 65", "restart worker 65"]


def test_who_was_stopped_by_somebody_stays_so(site: Site) -> None:
    own = site.supervisors["a"]
    own.set("worker", wanted="down", state="STOPPED")
    own.set("web", wanted="down", state="EXITED", exit={"code": 1})
    own.set("beat", wanted="down", state="STOPPED")
    assert site.adapts("worker", held=("beat",)) == site.adapt("worker", held=("beat",)) == []
    assert own.did == []
    assert site.driver.held(site.release, [container()]) == ["beat", "web", "worker"]
    own.silent = True
    assert site.driver.held(site.release, [container()]) == []


def test_what_starts_only_when_asked_was_not_stopped_by_anybody(site: Site) -> None:
    site.supervisors["a"].set("worker", wanted="down", autostart=False)
    assert site.driver.held(site.release, [container()]) == []


@pytest.mark.parametrize(
    ("facts", "again"),
    [
        ({"state": "FATAL"}, True),
        ({"state": "EXITED", "exit": {"code": 1}}, True),
        ({"state": "EXITED", "exit": {"code": None, "signal": 9}}, True),
        ({"state": "EXITED", "exit": {"code": 0}}, False),
        ({"state": "BACKOFF"}, False),
        ({"state": "FATAL", "wanted": "down"}, False),
        ({"state": "EXITED", "exit": {"code": 1}, "autostart": False}, False),
    ],
)
def test_what_has_given_up_is_tried_anew(site: Site, facts: dict[str, Any], again: bool) -> None:
    site.supervisors["a"].set("worker", **facts)
    assert site.adapts() == site.adapt() == (["worker"] if again else [])
    assert site.supervisors["a"].did == (["start worker"] if again else [])


def test_what_was_stopped_for_a_hand_over_that_was_cut_off_starts_again(site: Site) -> None:
    own = site.supervisors["a"]
    own.set("beat", wanted="down", state="STOPPED")
    assert site.adapts() == site.adapt() == ["beat"]
    assert own.did == ["start beat 65"]


def test_another_command_is_a_reload_and_waits_for_the_longer_grace(site: Site) -> None:
    site.want(worker={"command": ["other"], "stop_grace": 30})
    assert site.adapts() == ["worker"]
    assert site.adapt() == ["worker"]
    assert site.supervisors["a"].did == ["reload"]
    assert json.loads(site.installed["a"].read_text())["processes"] == site.wanted
    assert site.driver._waits(site.release, site.unit, container())["worker"] == 90.0


def test_only_what_visitors_reach_takes_a_second_container(site: Site) -> None:
    def stale(*restart: str) -> set[str]:
        return site.driver.stale(site.release, {"shop-unified": container()}, restart)

    assert stale() == stale("worker") == set()
    assert stale("web") == {"shop-unified"}
    # A one-off reads its secrets when it runs.
    assert stale("init") == {"shop-init"}
    assert site.driver.stale(site.release, {}, ["web"]) == set()
    site.want(worker={"command": ["other"]})
    assert stale() == set()
    site.want(web={"stop_grace": 7})
    assert stale() == set()
    site.want(web={"command": ["other"]})
    assert stale() == {"shop-unified"}


def test_what_must_not_run_twice_waits_in_the_new_container(site: Site) -> None:
    site.layout.runtime("unified-b").mkdir(parents=True)
    site.driver.prepare(site.release, site.unit, "b", container(), ["worker", "gone"])
    assert site.starting("b") == ["web", "worker"]
    intents = json.loads((site.layout.state("b") / "intents.json").read_text())
    assert intents["stopped"] == ["worker"]


def test_a_hand_over_stops_the_old_one_before_the_new_one_starts(site: Site) -> None:
    site.driver.prepare(site.release, site.unit, "b", container(), [])
    new = container("shop-unified-next", "b")
    (gap,) = site.driver.hand_over(site.release, site.unit, container(), new)
    assert (gap.service, gap.seconds > 0) == ("beat", True)
    assert site.supervisors["a"].did == ["stop beat 65"]
    assert site.supervisors["b"].did == ["reload"]
    assert site.starting("b") == list(PROCESSES)


def test_who_was_stopped_already_has_no_gap_and_a_dead_container_is_not_asked(site: Site) -> None:
    new = container("shop-unified-next", "b")
    site.supervisors["a"].set("beat", wanted="down", state="STOPPED")
    assert site.driver.hand_over(site.release, site.unit, container(), new) == []
    dead = Instance(**{**vars(container()), "state": "exited"})
    site.supervisors["a"].silent = True
    assert site.driver.hand_over(site.release, site.unit, dead, new) == []
    assert site.supervisors["a"].did == []


def test_of_a_hand_over_for_some_services_the_others_wait(site: Site) -> None:
    new = container("shop-unified-next", "b")
    assert site.driver.hand_over(site.release, site.unit, container(), new, ["web"]) == []
    assert site.supervisors["a"].did == [] and site.starting("b") == ["web", "worker"]
    # What a visited service waits for comes along.
    site.want(web={"depends_on": {"beat": "started"}})
    assert site.driver.hand_over(site.release, site.unit, container(), new, ["web"]) != []
    assert site.supervisors["a"].did == ["stop beat 65"]
    assert site.starting("b") == list(PROCESSES)


@pytest.mark.parametrize(
    ("facts", "ok", "said"),
    [
        ({}, True, "RUNNING"),
        ({"health": "healthy"}, True, "RUNNING, healthy"),
        ({"health": "starting"}, False, "health starting"),
        ({"health": "unhealthy"}, False, "health unhealthy"),
        ({"state": "EXITED", "exit": {"code": 0}}, True, "done"),
        ({"state": "EXITED", "exit": {"code": 3}}, False, "EXITED"),
        ({"state": "STOPPED", "wanted": "down"}, True, "stopped by somebody"),
        ({"state": "STOPPING", "wanted": "down"}, False, "STOPPING"),
        ({"state": "BACKOFF"}, False, "BACKOFF"),
        ({"state": "FATAL"}, False, "FATAL"),
        ({"state": "EXITED", "exit": {"code": 1}, "autostart": False}, True, "on demand"),
    ],
)
def test_a_process_passes_the_gate_when_it_is_well(
    site: Site, facts: dict[str, Any], ok: bool, said: str
) -> None:
    site.supervisors["a"].set("worker", **facts)
    checks = {c.service: c for c in site.driver.checks(site.unit, container())}
    assert checks["worker"].ok is ok and said in checks["worker"].detail
    assert checks["web"].ok and checks["beat"].ok


def test_a_candidate_that_has_ended_once_is_not_well(site: Site) -> None:
    site.supervisors["b"].set("worker", restarts=1)
    found = {
        one.name: {c.service: c.ok for c in site.driver.checks(site.unit, one)}["worker"]
        for one in (container("shop-unified", "b"), container("shop-unified-next", "b"))
    }
    assert found == {"shop-unified": True, "shop-unified-next": False}
