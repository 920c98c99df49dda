"""Hooks and the look at migrations, with a stand-in for what runs instances."""

from __future__ import annotations

import gzip
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from moorage.deploy import hooks
from moorage.deploy.hooks import HookFailed, check_data, migrations, run_hooks
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release
from moorage.deploy.runtimes.base import RuntimeFault
from moorage.deploy.scene import Scene
from moorage.release.layout import Layout
from moorage.release.manifest import parse

UNIT = {"service": "web", "config": "new", "rolled": True, "keys": {"": "web"}}


def instance(name: str, state: str = "running", service: str = "web") -> Instance:
    return Instance("0", name, service, "image", state, "none", 0, 1, "", 0, "no", config="old")


class Host:
    """What hooks see of a host: instances by name, and commands that run here."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout = Layout.of("shop", tmp_path / "opt", tmp_path / "run")
        self.found = {"shop-web": instance("shop-web")}
        self.entered: list[str] = []
        self.said = "{}"
        self.driver = self.runtime = self
        monkeypatch.setattr(hooks, "apart", lambda _by, _release, *asked: [*map(str, asked)])

    def look(self) -> dict[str, Instance]:
        return self.found

    def within(self, name: str, command: tuple[str, ...]) -> list[str]:
        self.entered.append(name)
        return list(command)

    def output(self, _argv: list[str], **_: Any) -> str:
        return self.said

    def release(self, **facts: Any) -> Release:
        units, more = [{"name": "shop-web", **UNIT}], facts.pop("more", ())
        said = parse({"topology": "containers", "units": [*units, *more], **facts})
        return Release("0123456789ab", self.layout.releases / "0123456789ab", said)

    def run(self, kind: Any, command: str, keep: int = 5, **more: Any) -> list[dict[str, Any]]:
        """Run one hook, a line of Python."""
        argv = [sys.executable, "-c", command]
        hook = {"name": "it", "service": "web", "command": argv, **more}
        return run_hooks(kind, self.release(hooks={kind: [hook]}), cast(Scene, self), keep)

    def plan(self, plan: Any, yes: bool = False, **asked: Any) -> dict[str, Any] | None:
        """Ask for migrations where a release says ``plan`` of them."""
        self.said = plan if isinstance(plan, str) else json.dumps(plan)
        facts = asked or {"migrations": {"service": "web", "plan": ["migrate", "--plan"]}}
        facts.setdefault("topology", "containers")
        scene = SimpleNamespace(**vars(self), look=self.look, release=self.release(**facts))
        return migrations(cast(Scene, scene), yes)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host on which one instance of the stack runs."""
    return Host(tmp_path, monkeypatch)


def test_a_hook_says_what_it_did_and_a_dump_is_roots_alone(host: Host) -> None:
    (done,) = host.run("before", "print('all of it')", save_as="db.sql")
    saved = Path(done["saved"])
    assert gzip.decompress(saved.read_bytes()) == b"all of it\n"
    assert saved.stat().st_mode & 0o777 == 0o600
    assert saved.parent.stat().st_mode & 0o777 == 0o700
    assert list(saved.parent.iterdir()) == [saved]
    assert (done["name"], done["seconds"] >= 0) == ("it", True)
    assert host.run("after", "print('unread')")[0]["saved"] is None


def test_only_the_newest_dumps_stay(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(f"2026010{day}T000000Z" for day in range(1, 5))
    monkeypatch.setattr("moorage.deploy.hooks.time.strftime", lambda *_: next(moments))
    made = [host.run("before", "print()", 2, save_as="a")[0]["saved"] for _ in range(4)]
    assert sorted(map(str, host.layout.backups.iterdir())) == made[-2:]


@pytest.mark.parametrize("save", [{}, {"save_as": "db.sql"}])
def test_a_hook_that_fails_or_never_ends_leaves_nothing(host: Host, save: dict[str, Any]) -> None:
    bad = "import sys; print('half of it', flush=True); sys.exit('no disk')"
    with pytest.raises(HookFailed, match=r"(?s)hook 'it' failed: .*ended with 1\n  \| no disk"):
        host.run("before", bad, **save)
    endless = "import time; print('half', flush=True); time.sleep(60)"
    with pytest.raises(HookFailed, match=r"did not end within 0\.2 s"):
        host.run("before", endless, timeout_seconds=0.2, **save)
    assert not [path for path in host.layout.base.rglob("*") if path.is_file()]


def test_a_hook_runs_in_what_serves_and_in_no_candidate(host: Host) -> None:
    host.found = {c.name: c for c in (instance("shop-web-next"), instance("shop-web-1", "exited"),
                                      instance("shop-db", service="db"),
                                      instance("shop-web-2"))}  # fmt: skip
    host.run("before", "print()")
    assert host.entered == ["shop-web-2"]


def test_without_what_it_runs_in_there_is_nothing_to_save_but_much_to_do(host: Host) -> None:
    host.found = {"shop-web": instance("shop-web", "exited")}
    assert host.run("before", "print()") == []
    with pytest.raises(HookFailed, match="hook 'it': no instance of web runs"):
        host.run("after", "print()")
    assert host.entered == []


ONE_WAY = {"revision": "b7", "kind": "one-way", "message": "drop users"}
OTHER = {"revision": "b6", "kind": "expand", "message": "add a column"}


def test_a_one_way_migration_needs_a_yes_and_others_none(host: Host) -> None:
    with pytest.raises(HookFailed, match=r"comes back: b7 \(drop users\)\. Say yes"):
        host.plan({"pending": [OTHER, ONE_WAY]})
    assert host.plan({"pending": [OTHER, ONE_WAY]}, yes=True) == {"pending": [OTHER, ONE_WAY]}
    assert host.plan({"pending": [OTHER]}) == {"pending": [OTHER]}
    assert host.plan({}) == {}


def test_a_schema_too_new_stops_it_whoever_says_yes(host: Host) -> None:
    with pytest.raises(HookFailed, match="cannot work with the schema that is there: too new"):
        host.plan({"compatible": False, "detail": "too new"}, yes=True)


@pytest.mark.parametrize("said", ["", "boom", "[]", '{"pending": 5}', '{"compatible": "no"}'])
def test_what_is_no_plan_stops_it_with_its_words(host: Host, said: str) -> None:
    with pytest.raises(HookFailed, match="migrate --plan did not print a plan"):
        host.plan(said)


def test_who_has_nothing_new_to_run_is_not_asked(host: Host) -> None:
    stops = {"compatible": False}
    nobody: dict[str, Any] = {"migrations": {"service": "other", "plan": ["x"]}}
    assert host.plan(stops, hooks={}) is host.plan(stops, **nobody) is None
    host.found = {}
    assert host.plan(stops) is None
    same = vars(instance("shop-web")) | {"config": "new"}
    host.found = {"shop-web": Instance(**same)}
    assert host.plan(stops) is None


@pytest.mark.parametrize("fits", [True, False])
def test_data_that_its_new_form_cannot_read_stops_it(
    host: Host, monkeypatch: pytest.MonkeyPatch, fits: bool
) -> None:
    host.found["shop-db"] = instance("shop-db", service="db")
    data = {**UNIT, "name": "shop-db", "service": "db", "data": True}
    release = host.release(more=[data], topology="host", manager="systemd")
    asked: list[str] = []

    def output(argv: list[str], **_: Any) -> str:
        asked.extend(argv)
        if not fits:
            raise RuntimeFault("the data is of PostgreSQL 16 and this is 17")
        return ""

    monkeypatch.setattr(host, "output", output)
    scene = cast(Scene, SimpleNamespace(**vars(host), release=release))
    said = "" if fits else "db cannot change from container to process: .* PostgreSQL 16 and"
    with nullcontext() if fits else pytest.raises(HookFailed, match=said):
        check_data(scene, release.manifest.units[1:])
    assert asked[0] == "db" and "moorage-fits" in asked[-1]
