"""Every activation ends with an outcome that names its cause, whatever stands in its way."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from rig import Rig, docker

from moorage.deploy.activate import Activation
from moorage.deploy.foreign import remove_tree
from moorage.deploy.journal import follow
from moorage.deploy.launch import LaunchError, run_activation
from moorage.deploy.release import read_release, write_release
from moorage.deploy.removal import remove
from moorage.deploy.runtimes.base import RuntimeFault
from moorage.deploy.runtimes.docker import Docker, reason_first, run
from moorage.release.layout import Layout

ORPHANS = 'time="2026-11-28T20:11:07Z" level=warning msg="Found orphan containers ([a])"'


def outcome_of(rig: Rig) -> dict[str, object]:
    events = [json.loads(line) for line in rig.journal.read_text().splitlines()]
    assert events[-1]["event"] == "outcome"
    found: dict[str, object] = events[-1]
    return found


@pytest.mark.parametrize("name", [".lock", ".room", ".reservation.lock", ".rollout.json"])
def test_a_directory_where_a_file_is_to_be_is_told(rig: Rig, name: str) -> None:
    rig.activate(rig.release(rig.service("web")))
    before = {n: c.id for n, c in rig.containers().items()}
    (rig.layout.base / name).unlink(missing_ok=True)
    (rig.layout.base / name).mkdir()
    outcome = rig.activate(rig.release(rig.service("web", "exec sleep 601")))
    assert outcome_of(rig)["message"] == outcome.message
    if name == ".rollout.json":
        assert outcome.ok and outcome.receipt, outcome.message
        return
    assert not outcome.ok and name in outcome.message
    after = {n: c.id for n, c in rig.containers().items()}
    assert after == before, "what runs goes on running"


def test_the_evidence_of_a_switch_survives_its_interruption(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = rig.release(rig.service("web", "exec sleep 600"))
    two = rig.release(rig.service("web", "exec sleep 601"))
    rig.activate(one)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        # All is done, and then neither the marker goes nor a receipt is written.
        patch.setattr(Activation, "_done", killed)
        rig.activate(two)
    outcome = rig.activate(two)
    assert outcome.ok and outcome.receipt
    receipt = json.loads(Path(outcome.receipt).read_text())
    assert (receipt["before"]["release"], receipt["after"]["release"]) == (one, two)
    assert not rig.layout.marker.exists()


def test_a_fault_of_our_own_is_an_outcome_that_says_where(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("units")

    monkeypatch.setattr(Activation, "_preflight", broken)
    outcome = rig.activate(rig.release(rig.service("web")))
    assert outcome.outcome == "failed"
    assert "a fault of Moorage itself: KeyError: 'units' (test_outcomes.py:" in outcome.message


def test_an_engine_that_gives_no_digests_costs_no_receipt(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeFault("it went away")

    monkeypatch.setattr(Docker, "digests", broken)
    outcome = rig.activate(rig.release(rig.service("web")))
    assert outcome.ok and outcome.receipt
    assert json.loads(Path(outcome.receipt).read_text())["outcome"] == "activated"


def test_a_request_of_another_making_is_refused_in_words(tmp_path: Path) -> None:
    asked = tmp_path / "asked.json"
    whole = {"stack": "a", "release": "b", "journal": str(tmp_path / "j"), "unknown": 1}
    for content in ({}, {"journal": str(tmp_path / "j")}, whole):
        asked.write_text(json.dumps(content))
        with pytest.raises(LaunchError, match="is no request of this version"):
            run_activation(asked, tmp_path, tmp_path)


def test_lines_of_a_journal_that_are_no_events_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('[1]\n17\n{"x": 1}\n{"event": 5}\n' + "[" * 100_000 + '\n{"event": "end"}\n')
    assert [event["event"] for event in follow(path, lambda: False)] == ["end"]


def test_the_first_line_of_a_reason_is_the_error() -> None:
    why = "Error response from daemon: driver failed: port is already allocated"
    said = [ORPHANS, " Container shop-web-next  Creating", why, " Container shop-web  Created"]
    assert reason_first(said).splitlines()[0] == why
    assert ORPHANS in reason_first(said), "nothing is lost"
    assert reason_first([ORPHANS]) == ORPHANS
    assert reason_first(["WARNING: x", "", "Container started too early: dependency failed"]) == (
        "Container started too early: dependency failed\nWARNING: x\n"
    )
    assert reason_first([]) == ""


@pytest.mark.parametrize(
    "aside",
    [
        "WARN[0000] the attribute `version` is obsolete",
        "\x1b[33mWARN\x1b[0m[0000] the attribute `version` is obsolete",
        "INFO  [alembic.runtime.migration] Context impl MySQLImpl.",
        "/app/plan.py:7: DeprecationWarning: utcnow() is deprecated",
        "[WARN] no swap limit",
        "npm WARN old lockfile",
        "W: Some index files failed to download",
        'time="2026-11-28T10:00:00Z" level=warning msg="Found orphan containers"',
        " Network shop_default  Created",
    ],
)
def test_what_is_only_told_is_no_reason(aside: str) -> None:
    why = "No such container: shop-db"
    assert reason_first([aside, why]).splitlines()[0] == why
    # However much of it comes behind.
    assert reason_first([why, *[aside] * 40]).splitlines()[0] == why


def test_what_the_engine_could_not_start_was_stopped_by_nobody(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        name = f"{rig.stack}-db"
        labels = [f"--label=moorage.stack={rig.stack}", "--label=moorage.service=db"]
        docker("create", "--name", name, "--restart=unless-stopped", *labels,
               f"--publish=127.0.0.1:{port}:1", "moorage/base:trixie", "sleep", "600")  # fmt: skip
        with pytest.raises(Exception, match="address already in use"):
            run(["start", name])
    (found,) = Docker().instances(rig.stack)
    assert not found.held and "address already in use" in found.refused
    run(["start", name])
    run(["stop", "--time=0", name])
    (found,) = Docker().instances(rig.stack)
    assert found.held and not found.refused


def test_a_release_that_is_not_what_its_name_says_is_made_anew(tmp_path: Path) -> None:
    layout = Layout.of("shop", tmp_path / "opt", tmp_path / "run")
    layout.releases.mkdir(parents=True)
    files = {"compose.yaml": ("services: {}\n", 0o644), "sub/x": ("y\n", 0o600)}
    manifest = {"topology": "containers", "units": [], "images": ("a", "b")}
    made = write_release(layout, "0" * 12, files, manifest)
    whole = (made.path / "release.json").read_text()
    inode = made.path.stat().st_ino
    assert write_release(layout, "0" * 12, files, manifest).path.stat().st_ino == inode
    for path, content in [
        ("release.json", '{"topology": "containers"}'),
        ("release.json", '{"topology": "nonsense", "units": 5, "rollout": 7}'),
        ("compose.yaml", ""),
        ("sub/x", "\udcff"),
    ]:
        (made.path / path).write_bytes(content.encode("utf-8", "surrogateescape"))
        write_release(layout, "0" * 12, files, manifest)
        assert (made.path / "release.json").read_text() == whole
        assert (made.path / "compose.yaml").read_text() == "services: {}\n"
        assert (made.path / "sub/x").read_text() == "y\n"
    assert read_release(layout, "0" * 12).manifest.images == ("a", "b")
    remove_tree(made.path)
    made.path.write_text("a file")
    write_release(layout, "0" * 12, files, manifest)
    assert sorted(p.name for p in layout.releases.iterdir()) == ["0" * 12]
    assert (made.path / "release.json").read_text() == whole


WORKER = 'trap "sleep 2; echo done > /job/ended; exit 0" TERM; touch /job/began; sleep 600 & wait'


def worker(rig: Rig, tmp_path: Path, number: int) -> dict[str, Any]:
    """Describe a worker that takes two seconds to end a job, and is never healthy."""
    job = tmp_path / f"job{number}"
    job.mkdir(exist_ok=True)
    mount = {"type": "bind", "source": str(job), "target": "/job"}
    entry = {"volumes": [mount], "stop_grace_period": "30s", "init": True}
    script = f"n={number}; {WORKER}" if number else "exec sleep 600"
    found: dict[str, Any] = rig.service("worker", script, entry, health=bool(number))
    return found


def test_a_candidate_that_has_begun_a_job_ends_it_before_it_goes(rig: Rig, tmp_path: Path) -> None:
    assert rig.activate(rig.release(worker(rig, tmp_path, 0))).ok
    outcome = rig.activate(rig.release(worker(rig, tmp_path, 1)), gate_timeout=3.0)
    assert outcome.outcome == "restored", outcome.message
    assert (tmp_path / "job1/ended").exists(), "it was killed in the middle"
    assert list(rig.containers()) == ["worker"]
    events = [json.loads(line) for line in rig.journal.read_text().splitlines()]
    assert [e["instances"] for e in events if e["event"] == "ending"] == [
        [f"{rig.stack}-worker-next"]
    ]


def test_a_damaged_stack_can_be_removed(rig: Rig) -> None:
    ident = rig.release(rig.service("web"))
    assert rig.activate(ident).ok
    for name in ("release.json", "compose.yaml"):
        (rig.layout.releases / ident / name).write_text("")
    rig.layout.watch.mkdir(parents=True, exist_ok=True)
    gone = remove(rig.layout, edge=rig.edge)
    assert gone == [f"{rig.stack}-web"]
    assert not rig.containers() and not rig.layout.current.is_symlink()
    assert not rig.layout.run.exists()
    assert not docker("network", "ls", "-q", "--filter", f"name={rig.stack}_default")
