"""Activations on a real engine: what starts, what stays, and the ways back."""

from __future__ import annotations

import json
import time

import pytest
from rig import IMAGE, Rig, docker

from moorage.common.lock import hold
from moorage.deploy.control import Services
from moorage.deploy.release import current_release
from moorage.deploy.runtimes.base import RuntimeFault
from moorage.deploy.runtimes.docker import Docker
from moorage.release.manifest import FORMAT

WELL = "touch /tmp/well; exec sleep 600"


def running(rig: Rig) -> dict[str, str]:
    return {name: c.id for name, c in rig.containers().items() if c.state == "running"}


def current(rig: Rig) -> str | None:
    release = current_release(rig.layout)
    return release.id if release else None


def test_the_first_one_is_activated_and_the_next_time_unchanged(rig: Rig) -> None:
    release = rig.release(rig.service("web", WELL, health=True))
    first = rig.activate(release)
    assert (first.outcome, first.changed, first.previous) == ("activated", True, None)
    before = running(rig)
    again = rig.activate(release)
    assert (again.outcome, again.changed) == ("unchanged", False)
    assert running(rig) == before and list(before) == ["web"]


def test_a_change_moves_to_the_other_slot_and_leaves_the_rest(rig: Rig) -> None:
    db = rig.service("db", rolled=False, data=True)
    rig.activate(rig.release(db, rig.service("web", WELL, health=True)))
    before = running(rig)
    release = rig.release(db, rig.service("web", WELL + " #2", health=True))
    outcome = rig.activate(release)
    assert outcome.outcome == "activated", outcome.message
    after = rig.containers()
    assert set(after) == {"db", "web"} and after["web"].slot == "b"
    assert after["db"].id == before["db"] and after["web"].id != before["web"]
    # Made without a limit of processes, which they got as they ran.
    assert (after["db"].pids_limit, after["web"].pids_limit) == (4096, 4096)
    assert current(rig) == release
    order = rig.phases()
    assert order.index("start") < order.index("switch") < order.index("drain")


def test_what_the_hosts_compose_does_not_take_touches_nothing(rig: Rig) -> None:
    before = rig.release(rig.service("web"))
    rig.activate(before)
    there = running(rig)
    bad = rig.release(rig.service("web", entry={"memswap_limit": "plenty"}))
    outcome = rig.activate(bad)
    assert outcome.outcome == "failed" and "plenty" in outcome.message, outcome.message
    assert running(rig) == there and current(rig) == before
    assert not rig.layout.marker.exists()


def test_an_external_network_that_is_not_there_touches_nothing(rig: Rig) -> None:
    release = rig.release(rig.service("web"), networks={"out": {"external": True}})
    outcome = rig.activate(release)
    assert outcome.outcome == "failed" and not rig.containers()
    assert f"the network {rig.stack}_out is external and not on this host" in outcome.message
    docker("network", "create", "--label", "moorage-test", f"{rig.stack}_out")
    assert rig.activate(release).outcome == "activated"


def test_a_release_of_the_format_before_is_updated_without_a_new_container_and_gone_back_to(
    rig: Rig,
) -> None:
    web = rig.service("web")
    old = {"rollout": {"drain_seconds": 1.0, "monitor_seconds": 0.2, "gate_timeout_seconds": 120}}
    before = rig.release(web, format=FORMAT - 1, **old)
    assert rig.activate(before).outcome == "activated"
    there = running(rig)
    after = rig.release(web)
    outcome = rig.activate(after)
    assert (outcome.outcome, outcome.previous) == ("activated", before)
    assert running(rig) == there
    assert rig.activate(before, action="rollback").outcome == "activated"
    assert running(rig) == there and current(rig) == before
    # And where the update does not get well: back to it by itself.
    sick = rig.release(rig.service("web", health=True))
    outcome = rig.activate(sick, gate_timeout=2.0)
    assert outcome.outcome == "restored", outcome.message
    assert running(rig) == there and current(rig) == before


def test_a_sick_release_never_touches_the_one_that_runs(rig: Rig) -> None:
    old = rig.release(rig.service("web", WELL, health=True))
    rig.activate(old)
    before = running(rig)
    bad = rig.release(rig.service("web", "echo boom; exit 3", health=True))
    outcome = rig.activate(bad)
    assert outcome.outcome == "restored" and not outcome.ok
    assert "exit code 3" in outcome.message or "restarted" in outcome.message
    assert "| boom" in outcome.message and "went on running" in outcome.message
    assert running(rig) == before and current(rig) == old
    assert not rig.layout.marker.exists()


def test_one_that_never_gets_healthy_gives_way_in_time(rig: Rig) -> None:
    old = rig.release(rig.service("web", WELL, health=True))
    rig.activate(old)
    before = running(rig)
    outcome = rig.activate(rig.release(rig.service("web", health=True)), gate_timeout=2.0)
    assert outcome.outcome == "restored" and "stayed closed for 2 s" in outcome.message
    assert running(rig) == before


def test_what_is_replaced_in_its_place_is_put_back(rig: Rig) -> None:
    old = rig.release(rig.service("worker", rolled=False, singleton=True))
    rig.activate(old)
    bad = rig.release(rig.service("worker", "exec sleep 601", rolled=False, health=True))
    outcome = rig.activate(bad, gate_timeout=2.0)
    assert outcome.outcome == "restored" and "runs again" in outcome.message
    assert rig.containers()["worker"].state == "running"
    assert rig.activate(old).outcome == "unchanged"


def test_a_singleton_is_never_there_twice_and_its_gap_is_told(rig: Rig) -> None:
    rig.activate(rig.release(rig.service("worker", rolled=False, singleton=True)))
    outcome = rig.activate(
        rig.release(rig.service("worker", "exec sleep 602", rolled=False, singleton=True))
    )
    (gap,) = outcome.did["singleton_gaps"]
    assert gap["service"] == "worker" and 0 < gap["seconds"] < 20


def test_a_migration_that_fails_stops_everything_before_the_switch(rig: Rig) -> None:
    web = rig.service("web", needs={"migrate": "service_completed_successfully"})
    rig.activate(rig.release(rig.service("migrate", "true", rolled=False, one_off=True), web))
    before = running(rig)
    # Slower than the rollout looks: while it runs it is not done.
    slow = "sleep 1; echo no such column; exit 1"
    bad = rig.service("migrate", slow, rolled=False, one_off=True)
    outcome = rig.activate(rig.release(bad, web))
    assert outcome.outcome == "restored" and "no such column" in outcome.message
    assert running(rig) == before
    assert "switch" not in outcome.phases


def test_an_older_migration_that_no_longer_fits_does_not_stand_in_the_way_back(rig: Rig) -> None:
    # As `alembic upgrade head` does, that finds a revision which only newer code has.
    once = f"mkdir /data/{rig.stack} 2>/dev/null || {{ echo no such revision; exit 1; }}"
    web = rig.service("web", needs={"migrate": "service_completed_successfully"})
    worker = rig.service("worker", rolled=False, singleton=True)
    tables = {"type": "bind", "source": str(rig.layout.base), "target": "/data"}
    old = rig.service("migrate", once, {"volumes": [tables]}, rolled=False, one_off=True)
    before = rig.release(old, web, worker)
    assert rig.activate(before).outcome == "activated"
    new = rig.service("migrate", "true", rolled=False, one_off=True)
    bad = rig.service("worker", "exec sleep 601", rolled=False, singleton=True, health=True)
    outcome = rig.activate(rig.release(new, web, bad), gate_timeout=2.0)
    assert outcome.outcome == "restored", outcome.message
    assert "migrate of that release did not end well any more" in outcome.message
    assert "no such revision" in outcome.message
    assert rig.containers()["worker"].state == "running" and current(rig) == before


def test_an_interrupted_one_is_cleared_away_by_the_next(rig: Rig) -> None:
    release = rig.release(rig.service("web"))
    rig.activate(release)
    before = running(rig)
    # What a rollout that was killed while it waited leaves behind.
    unit = f"{rig.stack}-web"
    labels = [f"moorage.stack={rig.stack}", "moorage.service=web", "moorage.slot=b"]
    argv = [word for label in labels for word in ("--label", label)]
    docker("run", "--detach", "--init", "--name", f"{unit}-next", *argv, "moorage/base:trixie",
           "sleep", "600")  # fmt: skip
    rig.layout.marker.write_text(json.dumps({"release": "x", "held": []}))
    outcome = rig.activate(release)
    assert outcome.outcome == "activated", outcome.message
    assert running(rig) == before and not rig.layout.marker.exists()


def test_one_that_was_interrupted_between_two_names_is_finished(rig: Rig) -> None:
    release = rig.release(rig.service("web"))
    rig.activate(release)
    docker("rename", f"{rig.stack}-web", f"{rig.stack}-web-next")
    assert rig.activate(release).outcome == "activated"
    assert list(running(rig)) == ["web"]


def test_what_somebody_stopped_is_renewed_and_stays_stopped(rig: Rig) -> None:
    other = rig.service("other")
    rig.activate(rig.release(rig.service("web"), other))
    docker("stop", f"{rig.stack}-web")
    outcome = rig.activate(rig.release(rig.service("web", "exec sleep 700"), other))
    assert outcome.outcome == "activated" and outcome.did["held"] == ["web"]
    assert rig.containers()["web"].state == "created"
    assert rig.activate(rig.release(rig.service("web", "exec sleep 701"), other)).ok
    assert rig.containers()["web"].state == "created", "also after a second update"


def test_what_nothing_describes_any_more_goes(rig: Rig) -> None:
    rig.activate(rig.release(rig.service("web"), rig.service("old")))
    outcome = rig.activate(rig.release(rig.service("web")))
    assert outcome.did["removed"] == [f"{rig.stack}-old"] and list(rig.containers()) == ["web"]


def test_replicas_follow_each_other(rig: Rig) -> None:
    def replicas(script: str) -> list[dict[str, object]]:
        return [rig.service(f"web-{n}", script, replica=n) for n in (1, 2)]

    rig.activate(rig.release(*replicas("exec sleep 610")))
    outcome = rig.activate(rig.release(*replicas("exec sleep 611")))
    assert outcome.outcome == "activated", outcome.message
    assert {c.slot for c in rig.containers().values()} == {"b"}


def test_services_that_are_named_start_anew(rig: Rig) -> None:
    release = rig.release(rig.service("web"), rig.service("other"))
    rig.activate(release)
    before = running(rig)
    outcome = rig.activate(release, restart=["web"])
    after = running(rig)
    assert outcome.changed and outcome.did["instances"] == [f"{rig.stack}-web"]
    assert after["web"] != before["web"] and after["other"] == before["other"]


def test_missing_images_touch_nothing(rig: Rig) -> None:
    rig.activate(rig.release(rig.service("web")))
    before = running(rig)
    outcome = rig.activate(rig.release(rig.service("web", "exec sleep 5"), images=["no/such:one"]))
    assert outcome.outcome == "failed" and not outcome.changed
    assert "no/such:one" in outcome.message and running(rig) == before


def test_the_first_deploy_that_fails_says_so(rig: Rig) -> None:
    outcome = rig.activate(rig.release(rig.service("web", "echo boom; exit 1", health=True)))
    assert outcome.outcome == "failed" and outcome.previous is None and current(rig) is None
    assert "| boom" in outcome.message
    row, *_ = Services(rig.layout).all()
    assert row["service"] == "web" and row["restarts"], "people look for what failed"
    assert rig.activate(rig.release(rig.service("web", WELL, health=True))).ok


def test_one_that_ends_as_it_is_renamed_is_made_anew(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["--detach", "--label", f"moorage.stack={rig.stack}", "--label", "moorage.service=web"]
    name = f"{rig.stack}-web-next"
    docker("run", *argv, "--restart=always", f"--name={name}", IMAGE, "sh", "-c", "exit 1")
    # The pauses have grown: it will not run while it is to be renamed.
    deadline = time.monotonic() + 60
    while rig.containers()["web-next"].restarts < 5:
        assert time.monotonic() < deadline, rig.containers()
        time.sleep(0.1)
    Docker().rename_if_it_runs(name, f"{rig.stack}-web")
    assert rig.containers() == {}
    monkeypatch.setattr("moorage.deploy.runtimes.docker._LOOKING_SECONDS", 0.2)
    docker("run", *argv, f"--name={name}", IMAGE, "sleep", "600")
    docker("run", *argv, f"--name={rig.stack}-web", IMAGE, "sleep", "600")
    with pytest.raises(RuntimeFault, match="is already in use"):
        Docker().rename_if_it_runs(name, f"{rig.stack}-web")
    assert set(running(rig)) == {"web", "web-next"}, "another reason is no reason to remove it"


def test_an_unknown_release_or_topology_is_an_outcome(rig: Rig) -> None:
    outcome = rig.activate("f" * 12)
    assert outcome.outcome == "failed" and "no release ffffffffffff" in outcome.message
    outcome = rig.activate(rig.release(rig.service("web"), topology="moon"))
    assert outcome.outcome == "failed" and "no topology 'moon'" in outcome.message


def test_a_second_one_is_refused_with_the_name_of_the_first(rig: Rig) -> None:
    release = rig.release(rig.service("web"))
    with hold(rig.layout.lock, "deploy of release x", "ada"):
        outcome = rig.activate(release)
    assert outcome.outcome == "locked" and "ada holds the lock" in outcome.message


def test_every_change_leaves_a_receipt_in_its_release(rig: Rig) -> None:
    release = rig.release(rig.service("web"))
    outcome = rig.activate(release, who="ada", action="update")
    receipt = json.loads((rig.layout.releases / release / "receipt.json").read_text())
    assert str(outcome.receipt).startswith(str(rig.layout.releases / release))
    assert (receipt["who"], receipt["action"], receipt["outcome"]) == ("ada", "update", "activated")
    assert receipt["after"]["images"]["moorage/base:trixie"]["digest"].startswith("sha256:")


def test_a_container_that_somebody_made_of_its_image_is_none_of_its_own(rig: Rig) -> None:
    release = rig.release(rig.service("web"))
    rig.activate(release)
    other = f"{rig.stack}-other"
    label = f"moorage.stack={rig.stack}"
    docker("run", "--detach", "--init", "--name", other, "--label", label, "moorage/base:trixie",
           "sleep", "600")  # fmt: skip
    try:
        assert rig.activate(release).outcome == "unchanged"
        rig.activate(rig.release(rig.service("web", "exec sleep 700")))
        assert docker("inspect", "--format", "{{.State.Running}}", other) == "true"
    finally:
        docker("rm", "--force", other)
