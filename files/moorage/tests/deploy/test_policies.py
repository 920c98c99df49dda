"""What a release asks for of its own replacement: hooks, migrations, its ``update_config``."""

from __future__ import annotations

import gzip
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from rig import Rig

from moorage.cli.asked import main
from moorage.deploy.activate import Request
from moorage.deploy.journal import SPARE
from moorage.deploy.launch import launch
from moorage.deploy.release import current_release
from moorage.deploy.reservation import Reservation, read_reservation, reserve
from moorage.release.layout import Layout

SICK = "echo boom; exit 3"


def hook(name: str, command: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "service": "web", "command": ["sh", "-c", command], **more}


def hooks(before: list[Any], after: list[Any] | None = None) -> dict[str, Any]:
    return {"hooks": {"before": before, "after": after or []}}


def web(rig: Rig, script: str = "exec sleep 600", **policy: Any) -> dict[str, Any]:
    found: dict[str, Any] = rig.service("web", script, update=policy)
    return found


def replicas(rig: Rig, *scripts: str, **policy: Any) -> list[dict[str, Any]]:
    numbered = enumerate(scripts, 1)
    return [rig.service(f"web-{n}", s, service="web", replica=n, update=policy)
            for n, s in numbered]  # fmt: skip


def test_hooks_run_in_the_running_release_and_in_the_new_one(rig: Rig) -> None:
    old = rig.release(web(rig), **hooks([hook("dump", "cat /proc/1/cmdline", save_as="db.sql")]))
    first = rig.activate(old)
    assert first.outcome == "activated", first.message
    after = hook("greet", "touch /tmp/greeted; ls /tmp")
    assert rig.activate(rig.release(web(rig, "exec sleep 601"), **hooks([], [after]))).ok
    (dump,) = rig.layout.backups.iterdir()
    assert dump.name.startswith(old) and dump.name.endswith("Z-db.sql.gz")
    assert b"exec sleep 600" in gzip.decompress(dump.read_bytes())
    release = current_release(rig.layout)
    assert release is not None
    ran = json.loads((release.path / "receipt.json").read_text())["hooks"]
    assert [(entry["name"], entry["saved"]) for entry in ran] == [
        ("dump", str(dump)),
        ("greet", None),
    ]


def test_only_so_many_dumps_are_kept(rig: Rig) -> None:
    for number in range(4):
        asked = hooks([hook("dump", f"echo {number}", save_as="db.sql")])
        assert rig.activate(rig.release(web(rig), **asked), keep=2).ok
    dumps = sorted(rig.layout.backups.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert [gzip.decompress(path.read_bytes()) for path in dumps] == [b"1\n", b"2\n"]


@pytest.mark.parametrize("save", [{}, {"save_as": "db.sql"}])
def test_a_hook_that_does_not_end_is_ended(rig: Rig, save: dict[str, str]) -> None:
    slow = hook("slow", "exec sleep 30", timeout_seconds=0.5, **save)
    old = rig.release(web(rig), **hooks([slow]))
    rig.activate(old)
    outcome = rig.activate(rig.release(web(rig, "exec sleep 601")))
    assert outcome.outcome == "restored", outcome.message
    assert "hook 'slow' failed" in outcome.message
    assert "did not end within 0.5 s" in outcome.message
    assert not list(rig.layout.base.glob("**/*db.sql*"))


def test_a_hook_after_that_fails_brings_the_old_release_back(rig: Rig) -> None:
    old = rig.release(web(rig))
    rig.activate(old)
    bad = hooks([], [hook("check", "echo not a word; exit 1")])
    outcome = rig.activate(rig.release(web(rig, "exec sleep 601"), **bad))
    assert outcome.outcome == "restored" and "hook 'check' failed" in outcome.message
    release = current_release(rig.layout)
    assert release is not None and release.id == old


def migrating(rig: Rig, script: str = "true", **plan: Any) -> str:
    said = ["sh", "-c", f"echo '{json.dumps(plan)}'"]
    migrate = rig.service("migrate", script, rolled=False, one_off=True)
    named = [{"name": "migrate"}]
    asked = {"service": "migrate", "plan": said}
    return str(rig.release(migrate, web(rig), services=named, migrations=asked))


def test_a_one_way_migration_waits_for_a_yes(rig: Rig) -> None:
    old = migrating(rig)
    rig.activate(old)
    pending = [{"revision": "b7", "kind": "one-way", "message": "drop users"}]
    new = migrating(rig, "true # b7", pending=pending)
    outcome = rig.activate(new)
    assert outcome.outcome == "failed"
    assert "no older release comes back: b7 (drop users)" in outcome.message
    release = current_release(rig.layout)
    assert release is not None and release.id == old
    assert rig.activate(new, allow_one_way=True).outcome == "activated"


def test_a_schema_that_the_release_cannot_work_with_stops_it(rig: Rig) -> None:
    rig.activate(migrating(rig))
    outcome = rig.activate(migrating(rig, "true # 2", compatible=False, detail="too new"))
    assert outcome.outcome == "failed"
    assert "cannot work with the schema that is there: too new" in outcome.message


def test_a_migration_may_take_longer_than_the_gate(rig: Rig) -> None:
    rig.activate(migrating(rig))
    outcome = rig.activate(migrating(rig, "sleep 3"), gate_timeout=1.0)
    assert outcome.outcome == "activated", outcome.message


def test_a_service_is_watched_for_as_long_as_it_says(rig: Rig) -> None:
    old = rig.release(web(rig))
    rig.activate(old)
    # Long after the gate and after what the stack says.
    outcome = rig.activate(rig.release(web(rig, "sleep 4; exit 3", monitor=60.0)))
    assert outcome.outcome == "restored", outcome.message
    assert rig.containers()["web"].state == "running"


def test_failure_action_pause_leaves_everything_as_it_is(rig: Rig) -> None:
    rig.activate(rig.release(web(rig)))
    before = rig.containers()["web"].id
    outcome = rig.activate(rig.release(web(rig, SICK, failure_action="pause")))
    assert outcome.outcome == "failed"
    assert "| boom" in outcome.message and "everything stays as it is" in outcome.message
    assert set(rig.containers()) == {"web", "web-next"}
    assert rig.containers()["web"].id == before


def test_failure_action_continue_leaves_behind_what_fails(rig: Rig) -> None:
    other = rig.service("other", rolled=False)
    rig.activate(rig.release(web(rig), other))
    before = {name: c.id for name, c in rig.containers().items()}
    new = rig.release(
        web(rig, SICK, failure_action="continue"),
        rig.service("other", "exec sleep 601", rolled=False),
    )
    outcome = rig.activate(new)
    assert outcome.outcome == "activated" and outcome.did["behind"] == [f"{rig.stack}-web"]
    assert f"stayed as they were: {rig.stack}-web" in outcome.message
    after = {name: c.id for name, c in rig.containers().items()}
    assert after["web"] == before["web"] and after["other"] != before["other"]
    assert set(after) == set(before)


@pytest.mark.parametrize(("ratio", "outcome"), [(0.5, "activated"), (0.4, "restored")])
def test_a_share_of_the_replicas_may_fail(rig: Rig, ratio: float, outcome: str) -> None:
    rig.activate(rig.release(*replicas(rig, "exec sleep 600", "exec sleep 600")))
    before = {name: c.id for name, c in rig.containers().items()}
    new = rig.release(*replicas(rig, "exec sleep 601", SICK, max_failure_ratio=ratio))
    done = rig.activate(new)
    assert done.outcome == outcome, done.message
    after = {name: c.id for name, c in rig.containers().items()}
    assert set(after) == set(before) and after["web-2"] == before["web-2"]
    assert done.did["behind"] == ([f"{rig.stack}-web-2"] if outcome == "activated" else [])


@pytest.mark.parametrize("order", ["start-first", "stop-first"])
def test_of_a_stop_first_service_there_are_never_two(rig: Rig, order: str) -> None:
    rig.layout.base.joinpath("here").mkdir()
    bind = {"type": "bind", "source": str(rig.layout.base), "target": "/data"}

    def one(number: int) -> str:
        script = (
            f"ls /data/here >> /data/met; touch /data/here/{number}; "
            f"trap 'rm /data/here/{number}; exit' TERM; sleep {number} & wait"
        )
        entry = {"volumes": [bind]}
        return str(rig.release(rig.service("web", script, entry, update={"order": order})))

    rig.activate(one(600))
    outcome = rig.activate(one(601))
    assert outcome.outcome == "activated", outcome.message
    met = (rig.layout.base / "met").read_text().split()
    assert met == (["600"] if order == "start-first" else [])


SYSTEMD_RUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
"$@"
exit 0
"""


@pytest.fixture
def launching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A stack without a release; what systemd would run is run at once."""
    for name, script in {"systemd-run": SYSTEMD_RUN, "systemctl": "#!/bin/sh\n"}.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(script)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr("moorage.release.layout.DEFAULT_LOG", tmp_path / "log")
    layout = Layout.of("shop", tmp_path / "opt", tmp_path / "run")
    layout.releases.mkdir(parents=True)
    layout.journals.mkdir(parents=True)
    return layout


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"release": "f" * 12, "keep": 3, "restart": ["web"]}, "no release ffffffffffff"),
        ({"release": "f" * 12, "kept": 3}, "keep"),
        ({"release": "f" * 12, "keep": "three"}, "keep"),
        ({"release": "f" * 12, "action": "moor"}, "deploy, update, rollback"),
        ({"action": "rollback"}, "no stack 'shop'"),
    ],
)
def test_a_module_asks_in_json_and_hears_what_is_wrong_with_it(
    launching: Layout,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"stack": "shop", **asked})))
    base, run = str(launching.base.parent), str(launching.run.parent)
    assert main(["--base", base, "--run", run, "request"]) != 0
    told = capsys.readouterr()
    assert said in told.out + told.err
    # Nothing is asked of systemd that is no request.
    assert bool(list(launching.journals.iterdir())) == ("no release" in said)


@pytest.mark.parametrize("ends", ["--give-back", ""])
def test_a_reservation_ends_with_its_rollout_when_that_was_asked(
    launching: Layout, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    held = reserve(launching, Reservation("ada", "here", 1, time.time(), "update"))
    asked = {"stack": "shop", "release": "f" * 12, "token": held.token}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(asked)))
    base, run = str(launching.base.parent), str(launching.run.parent)
    # However it went: there is no such release.
    assert main(["--base", base, "--run", run, "request", *filter(None, [ends])]) != 0
    left = read_reservation(launching)
    assert (left is None) == bool(ends)


def test_of_the_journals_of_rollouts_the_newest_stay(launching: Layout) -> None:
    layout = launching
    for number in range(150):
        (layout.journals / f"{number:04}-1.jsonl").touch()
    # Of a rollout that was killed.
    (layout.journals / f".0149-1.jsonl{SPARE}").touch()
    said: list[dict[str, Any]] = []
    outcome = launch(Request("shop", "f" * 12), layout, said.append)
    assert outcome.outcome == "failed" and "no release ffffffffffff" in outcome.message
    left = sorted(path.name for path in layout.journals.iterdir())
    assert len(left) == 100
    assert left[:1] == ["0051-1.jsonl"]
