"""Whole rollouts on a host in memory: their steps in order, and cut off at each of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from files.moorage.tests.deploy.world import FakeRig, Refusal
else:
    from world import FakeRig, Refusal


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRig:
    """A host in memory."""
    return fresh(tmp_path, monkeypatch)


def fresh(directory: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRig:
    """Return a host in memory with its files below a directory."""
    monkeypatch.setattr("moorage.deploy.receipt.DEFAULT_LOG", directory / "log")
    (directory / "log" / "rollouts").mkdir(parents=True)
    return FakeRig(directory)


def place(rig: FakeRig, name: str, script: str = "well", **facts: Any) -> dict[str, Any]:
    """Describe a service without visitors that is replaced in its place."""
    return rig.service(name, script, rolled=False, **facts)


def process(name: str, script: str = "well", **more: Any) -> dict[str, Any]:
    """Describe a process; with ``single`` it must not run twice."""
    return {"name": name, "command": [script], **more}


# -- the steps ------------------------------------------------------------------------------------


def test_a_first_deploy_leads_visitors_to_what_is_well(rig: FakeRig) -> None:
    assert rig.run(rig.deploy(rig.web())).outcome == "activated"
    assert rig.steps_done() == [
        "make web-next (web.a)",
        "route ['web:80']",
        "switch web:80 127.0.0.1:21000",
        "rename web-next to web",
    ]
    assert rig.world.pools == {"web:80": ["127.0.0.1:21000"]}


def test_an_update_starts_switches_and_then_stops(rig: FakeRig) -> None:
    rig.run(rig.deploy(rig.web()))
    rig.steps_done()
    assert rig.run(rig.deploy(rig.web(image="new"))).outcome == "activated"
    assert rig.steps_done() == [
        "make web-next (web.b)",
        "switch web:80 127.0.0.1:21001",
        "stop web",
        "remove web",
        "rename web-next to web",
    ]
    assert rig.world.wrong == []


@pytest.mark.parametrize("script", ["crash", "sick", "fails"])
def test_what_does_not_get_well_never_has_a_visitor(rig: FakeRig, script: str) -> None:
    one = rig.deploy(rig.web())
    rig.run(one)
    before, pools = rig.states(), dict(rig.world.pools)
    rig.steps_done()
    outcome = rig.run(rig.deploy(rig.web(script=script)))
    assert (outcome.outcome, outcome.previous) == ("restored", one)
    assert rig.states() == before and rig.world.pools == pools and rig.world.wrong == []
    assert not [step for step in rig.steps_done() if "127.0.0.1:21001" in step]


# While it is tried once more it does not say how it has ended.
@pytest.mark.parametrize("script", ["killed", "tried"])
def test_what_was_killed_is_said_to_be_whether_or_not_the_kernels_note_is_there(
    rig: FakeRig, script: str
) -> None:
    rig.run(rig.deploy(rig.web()))
    outcome = rig.run(rig.deploy(rig.web(script=script)))
    assert outcome.outcome == "restored"
    assert "web: restarting, ended by SIGKILL, as for want of memory" in outcome.message


def test_visitors_wait_while_something_is_replaced_in_its_place(rig: FakeRig) -> None:
    rig.world.patient = frozenset({"web:80"})
    rig.run(rig.deploy(rig.web(rolled=False)))
    rig.steps_done()
    assert rig.run(rig.deploy(rig.web(rolled=False, image="new"))).outcome == "activated"
    assert rig.steps_done() == [
        "switch web:80 -",
        "stop web",
        "make web (web)",
        "switch web:80 127.0.0.1:21000",
    ]
    assert rig.world.wrong == []


def test_what_others_stand_on_comes_first_and_what_nothing_describes_goes_last(
    rig: FakeRig,
) -> None:
    rig.run(rig.deploy(place(rig, "db"), place(rig, "old"), rig.web()))
    rig.steps_done()
    migrate = place(rig, "migrate", "ends", one_off=True)
    new = rig.deploy(place(rig, "db", image="new"), migrate, rig.web(image="new"))
    assert rig.run(new).outcome == "activated"
    assert rig.steps_done() == [
        "stop db",
        "make db (db)",
        "make migrate (migrate)",
        "make web-next (web.b)",
        "switch web:80 127.0.0.1:21001",
        "stop web",
        "remove web",
        "rename web-next to web",
        "stop old",
        "remove old",
    ]


def test_a_migration_that_fails_keeps_what_serves(rig: FakeRig) -> None:
    rig.run(rig.deploy(rig.web()))
    before = rig.states()
    rig.steps_done()
    outcome = rig.run(rig.deploy(place(rig, "migrate", "fails", one_off=True), rig.web(image="b")))
    assert outcome.outcome == "restored" and "migrate: exited, exit code 1" in outcome.message
    assert rig.states() == before
    assert rig.steps_done() == ["make migrate (migrate)", "remove migrate"]


def test_what_must_not_run_twice_ends_before_it_starts(rig: FakeRig) -> None:
    rig.run(rig.deploy(all_of(rig, image="old")))
    rig.steps_done()
    assert rig.run(rig.deploy(all_of(rig, image="new"))).outcome == "activated"
    assert rig.steps_done() == [
        "make unified-next (unified.b)",
        "switch web:80 127.0.0.1:21001",
        "stop process worker",
        "reload",
        "stop unified",
        "remove unified",
        "rename unified-next to unified",
    ]
    assert rig.states()["unified/worker"] == "RUNNING" and rig.world.wrong == []


def test_visitors_wait_for_what_they_visit_alone(rig: FakeRig) -> None:
    one, two = visited_and_single(rig)
    rig.run(one)
    rig.steps_done()
    assert rig.run(two).outcome == "activated" and rig.world.wrong == []
    assert rig.steps_done()[1:-3] == [
        "switch web:80 -",
        "stop process web",
        "reload",
        "switch web:80 127.0.0.1:21001",
        "stop process worker",
        "reload",
    ]


def test_what_a_site_waits_for_is_handed_over_with_it(rig: FakeRig) -> None:
    rig.world.patient = frozenset({"web:80"})
    site = process("web", single=True, depends_on={"store": "started"})
    others = process("store", single=True), process("worker", single=True)
    for image in ("old", "new"):
        rig.steps_done()
        parts = [dict(part) for part in (site, *others)]
        assert rig.run(rig.deploy(rig.all_in_one(*parts, visited=["web"], image=image))).ok
    stops = [step for step in rig.steps_done() if "process" in step or step.startswith("switch")]
    assert stops[:3] == ["switch web:80 -", "stop process web", "stop process store"]
    assert stops[-1] == "stop process worker" and rig.world.wrong == []


def test_a_worker_that_fails_at_its_hand_over_is_taken_back(rig: FakeRig) -> None:
    rig.run(rig.deploy(all_of(rig, image="old")))
    before = rig.states()
    bad = rig.deploy(all_of(rig, process("worker", "crash", single=True), image="new"))
    outcome = rig.run(bad)
    assert outcome.outcome == "restored" and "worker: FATAL" in outcome.message
    assert rig.states() == before and rig.world.wrong == []


def test_a_process_of_its_own_changes_without_a_new_instance(rig: FakeRig) -> None:
    rig.run(rig.deploy(all_of(rig)))
    rig.steps_done()
    release = rig.deploy(all_of(rig, process("worker", single=True, umask="077")))
    assert rig.run(release).did["processes"] == ["worker"]
    assert rig.steps_done() == ["reload"]


def test_what_somebody_has_stopped_stays_stopped(rig: FakeRig) -> None:
    rig.run(rig.deploy(all_of(rig, image="old")))
    rig.world.supervisors[f"{rig.stack}-unified"].stop("worker")
    outcome = rig.run(rig.deploy(all_of(rig, image="new")))
    assert outcome.ok and outcome.did["held"] == ["worker"]
    assert rig.states()["unified/worker"] == "STOPPED"


def all_of(
    rig: FakeRig, worker: dict[str, Any] | None = None, *, rolled: bool = True, **facts: Any
) -> dict[str, Any]:
    """Describe an instance with a site and a worker that must not run twice."""
    both = process("web"), worker or process("worker", single=True)
    return rig.all_in_one(*both, rolled=rolled, visited=["web"], **facts)


def asked(command: str, **more: Any) -> dict[str, Any]:
    """Describe a hook of the site."""
    return {"name": "dump", "service": "web", "command": ["sh", "-c", command], **more}


def test_a_hook_has_its_own_time(rig: FakeRig) -> None:
    before = [asked("exec sleep 30", timeout_seconds=0.2)]
    rig.run(rig.deploy(rig.web(), hooks={"before": before, "after": []}))
    outcome = rig.run(rig.deploy(rig.web(image="new")))
    assert outcome.outcome == "restored" and "did not end within 0.2 s" in outcome.message


def test_hooks_run_before_and_after_and_keep_what_they_save(rig: FakeRig) -> None:
    hooks = {"before": [asked("echo saved", save_as="db.sql")], "after": [asked("exit 3")]}
    assert rig.run(rig.deploy(rig.web(), hooks={**hooks, "after": []})).ok
    for image in ("1", "2", "3"):
        assert rig.run(rig.deploy(rig.web(image=image), hooks={**hooks, "after": []}), keep=2).ok
    assert len(list(rig.layout.backups.iterdir())) == 2
    outcome = rig.run(rig.deploy(rig.web(image="4"), hooks=hooks))
    assert outcome.outcome == "restored" and "hook 'dump' failed" in outcome.message


def test_a_migration_has_more_time_than_the_gate(rig: FakeRig) -> None:
    rig.run(rig.deploy(rig.web()))
    new = rig.deploy(place(rig, "migrate", "long", one_off=True), rig.web())
    assert rig.run(new).outcome == "activated"


@pytest.mark.parametrize("yes", [False, True])
def test_a_way_without_return_is_gone_with_a_yes_alone(rig: FakeRig, yes: bool) -> None:
    def migrating(image: str, kind: str) -> str:
        said = f'{{"pending": [{{"revision": "b7", "kind": "{kind}"}}]}}'
        asks = {"service": "migrate", "plan": ["echo", said]}
        migrate = place(rig, "migrate", "ends", one_off=True, image=image)
        return rig.deploy(migrate, rig.web(), services=[{"name": "migrate"}], migrations=asks)

    for image in ("1", "2"):
        assert rig.run(migrating(image, "")).ok
    rig.steps_done()
    outcome = rig.run(migrating("3", "one-way"), allow_one_way=yes)
    assert outcome.ok is yes and bool(rig.steps_done()) is yes


def test_visitors_wait_while_data_changes_its_form(rig: FakeRig) -> None:
    rig.run(moving(rig, ""))
    rig.steps_done()
    outcome = rig.run(moving(rig, "systemd"))
    assert outcome.outcome == "activated" and rig.world.wrong == []
    assert rig.steps_done() == [
        "switch web:80 -",
        "stop db",
        "remove db",
        "make db (db)",
        "remove migrate",
        "make migrate (migrate)",
        "make web-next (web.b)",
        "switch web:80 127.0.0.1:21001",
        "stop web",
        "remove web",
        "rename web-next to web",
    ]
    # Once, from when nobody was led to the old ones any more.
    assert [gap["service"] for gap in outcome.did["in_place_gaps"]] == ["db"]


STAYS = [{"script": "crash", "update": {"failure_action": how}} for how in ("pause", "continue")]


@pytest.mark.parametrize("bad", [{"script": "crash"}, {"said": '{"compatible": false}'}, *STAYS])
def test_data_goes_back_to_the_form_of_those_who_serve(rig: FakeRig, bad: dict[str, Any]) -> None:
    rig.run(moving(rig, ""))
    before, pools = rig.states(), dict(rig.world.pools)
    rig.steps_done()
    outcome = rig.run(moving(rig, "systemd", **bad))
    assert outcome.outcome == "restored" and rig.world.wrong == []
    assert rig.states() == before and rig.world.pools == pools
    steps = rig.steps_done()
    assert ("make migrate (migrate)" in steps) is ("script" in bad)
    # Nobody is led to them before their data is there.
    switches = [step for step in steps if step.startswith("switch")]
    assert switches == ["switch web:80 -", "switch web:80 127.0.0.1:21000"]
    assert steps.index(switches[1]) > steps.index("make db (db)", steps.index("make db (db)") + 1)
    # There and back.
    assert [gap["service"] for gap in outcome.did["in_place_gaps"]] == ["db", "db"]


def test_of_several_replicas_nobody_is_led_to_those_who_do_not_reach_their_data(
    rig: FakeRig,
) -> None:
    rig.world.patient = frozenset({"web:80"})

    def release(manager: str) -> str:
        db = place(rig, "db", data=True, image=manager)
        return rig.deploy(db, *replicas(rig, image=manager), manager=manager)

    rig.run(release(""))
    assert rig.run(release("systemd")).ok and rig.world.wrong == []
    assert len(rig.world.pools["web:80"]) == 3


def test_data_that_was_made_and_not_started_comes_before_what_reaches_it(rig: FakeRig) -> None:
    rig.run(moving(rig, ""))
    new = moving(rig, "systemd")
    assert rig.run(new, left=4) is None and rig.steps_done()[-1] == "make db (db)"
    name = f"{rig.stack}-db"
    rig.world.instances[name] = replace(rig.world.instances[name], state="created")
    assert rig.run(new).ok and rig.world.wrong == []
    assert rig.steps_done()[:2] == ["make db (db)", "remove migrate"]


def test_a_service_is_watched_for_as_long_as_it_says_itself(rig: FakeRig) -> None:
    rig.run(rig.deploy(rig.web()))
    outcome = rig.run(rig.deploy(rig.web(script="later", update={"monitor": 60.0})))
    assert outcome.outcome == "restored" and rig.world.wrong == []


def test_the_processes_of_what_is_left_behind_stay_as_they_were(rig: FakeRig) -> None:
    def site(script: str, **facts: Any) -> dict[str, Any]:
        return rig.all_in_one(process("web", script), visited=["web"], **facts)

    rig.run(rig.deploy(site("well")))
    before = rig.states()
    outcome = rig.run(rig.deploy(site("crash", update={"failure_action": "continue"})))
    assert outcome.ok and outcome.did["behind"] == [f"{rig.stack}-unified"]
    assert rig.states() == before and rig.world.wrong == []


def test_what_is_left_behind_serves_nothing_that_the_release_adds(rig: FakeRig) -> None:
    rig.run(rig.deploy(rig.all_in_one(process("web"), visited=["web"])))
    both = process("web", "crash"), process("api")
    policy = {"failure_action": "continue"}
    new = rig.deploy(rig.all_in_one(*both, visited=["web", "api"], update=policy))
    rig.world.patient = frozenset({"api:80"})
    assert rig.run(new).did["behind"] == [f"{rig.stack}-unified"]
    assert rig.world.pools == {"web:80": ["127.0.0.1:21000"], "api:80": []}
    assert rig.world.wrong == []


# -- cut off at each of them ----------------------------------------------------------------------


def rolled(rig: FakeRig) -> tuple[str, str]:
    return rig.deploy(rig.web(), rig.web("api")), rig.deploy(rig.web(image="new"), rig.web("api"))


def in_place(rig: FakeRig) -> tuple[str, str]:
    """Data beneath, a one-off before what needs it, something new and something that goes."""
    migrate = place(rig, "migrate", "ends", one_off=True)
    old = rig.deploy(place(rig, "db"), place(rig, "old"), rig.web())
    new = place(rig, "db", image="new"), migrate, rig.web(image="new"), rig.web("api")
    return old, rig.deploy(*new)


def waiting(rig: FakeRig) -> tuple[str, str]:
    """Visitors wait: it cannot be there twice."""
    rig.world.patient = frozenset({"web:80"})
    return rig.deploy(rig.web(rolled=False)), rig.deploy(rig.web(rolled=False, image="new"))


def replicas(rig: FakeRig, **facts: Any) -> list[dict[str, Any]]:
    made = [rig.web(f"web-{n}", replica=n, **facts) for n in (1, 2, 3)]
    return [{**web, "facts": {**web["facts"], "service": "web"}} for web in made]


def one_by_one(rig: FakeRig) -> tuple[str, str]:
    return rig.deploy(*replicas(rig)), rig.deploy(*replicas(rig, image="new"))


def handed_over(rig: FakeRig) -> tuple[str, str]:
    return rig.deploy(all_of(rig)), rig.deploy(all_of(rig, image="new"))


def visited_and_single(rig: FakeRig) -> tuple[str, str]:
    """A site that must not run twice itself."""
    rig.world.patient = frozenset({"web:80"})

    def site(**facts: Any) -> dict[str, Any]:
        both = process("web", single=True), process("worker", single=True)
        return rig.all_in_one(*both, visited=["web"], **facts)

    return rig.deploy(site()), rig.deploy(site(image="new"))


def another_form(rig: FakeRig) -> tuple[str, str]:
    """A change of topology: a worker of its own becomes a process."""
    rig.world.patient = frozenset({"web:80"})
    parts = rig.web(), place(rig, "worker", singleton=True)
    whole = rig.deploy(all_of(rig))
    return rig.deploy(*parts), whole


def and_back(rig: FakeRig) -> tuple[str, str]:
    one, two = another_form(rig)
    return two, one


def data_of_another_form(rig: FakeRig) -> tuple[str, str]:
    """Between containers and processes: nobody reaches data of the form that he has not."""
    return moving(rig, ""), moving(rig, "systemd")


def moving(
    rig: FakeRig, manager: str, said: str = "{}", script: str = "well", **policy: Any
) -> str:
    """Write a release with data, migrations and a site, run by a manager or in containers."""
    rig.world.patient = frozenset({"web:80"})
    parts = [place(rig, "db", data=True, image=manager)]
    parts += [place(rig, "migrate", "ends", one_off=True, image=manager + said)]
    asks = {"service": "migrate", "plan": ["echo", said]}
    site = rig.web(script=script, image=manager, **policy)
    facts = {"services": [{"name": "db"}, {"name": "migrate"}], "migrations": asks}
    return rig.deploy(*parts, site, manager=manager, **facts)


SCENES = [
    rolled,
    in_place,
    waiting,
    one_by_one,
    handed_over,
    visited_and_single,
    another_form,
    and_back,
    data_of_another_form,
]


def cut_off(rig: FakeRig, scene: Any, number: int, then: str) -> tuple[Any, str, str]:
    """Cut an update off after ``number`` steps, and have somebody come again or go back.

    Returns the outcome, what to say of it, and the release that was asked for last.
    """
    one, two = scene(rig)
    # Whoever visits what only one of them has is lost by intent.
    rig.world.patient |= rig.visited[one] ^ rig.visited[two]
    assert rig.run(one).ok
    rig.steps_done()
    assert rig.run(two, left=number) is None
    cut, asked = rig.steps_done(), two if then == "again" else one
    outcome = rig.run(asked)
    said = "\n".join([*cut, "CUT", *rig.steps_done(), *rig.world.wrong, str(outcome)])
    return outcome, said, asked


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
@pytest.mark.parametrize("then", ["again", "back"])
def test_whoever_comes_after_a_cut_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: Any, then: str
) -> None:
    whole = fresh(tmp_path / "whole", monkeypatch)
    one, two = scene(whole)
    assert whole.run(one).ok
    there = whole.states()
    assert whole.run(two).outcome == "activated" and whole.world.wrong == []
    steps, after = whole.steps, whole.states()
    assert steps > 2
    for number in range(steps):
        rig = fresh(tmp_path / str(number), monkeypatch)
        outcome, said, asked = cut_off(rig, scene, number, then)
        assert outcome.ok, said
        assert rig.states() == (after if then == "again" else there), said
        assert rig.world.wrong == [], said
        assert set(rig.world.pools) == set(whole.world.pools) or then == "back", said
        assert rig.run(asked).outcome == "unchanged", said


def that_crashes(rig: FakeRig) -> tuple[str, str]:
    return rig.deploy(rig.web()), rig.deploy(rig.web(script="crash"), rig.web("api"))


def above_what_fits(rig: FakeRig) -> tuple[str, str]:
    """What it stands on was replaced when the release turns out to be bad."""
    old = rig.deploy(place(rig, "db"), rig.web())
    return old, rig.deploy(place(rig, "db", image="new"), rig.web(script="fails"))


def whose_worker_crashes(rig: FakeRig) -> tuple[str, str]:
    bad = process("worker", "crash", single=True)
    return rig.deploy(all_of(rig)), rig.deploy(all_of(rig, bad, image="new"))


def of_another_form(rig: FakeRig) -> tuple[str, str]:
    rig.world.patient = frozenset({"web:80"})
    bad = process("worker", "crash", single=True)
    old = rig.deploy(rig.web(), place(rig, "worker", singleton=True))
    return old, rig.deploy(all_of(rig, bad))


def whose_site_crashes(rig: FakeRig) -> tuple[str, str]:
    """Its worker was handed over and is well when the site, which nobody can have twice, fails."""
    rig.world.patient = frozenset({"web:80"})

    def site(script: str, **facts: Any) -> dict[str, Any]:
        both = process("worker", single=True), process("web", script, single=True)
        return rig.all_in_one(*both, visited=["web"], **facts)

    return rig.deploy(site("well")), rig.deploy(site("crash", image="new"))


def whose_rest_fails(rig: FakeRig) -> tuple[str, str]:
    """Visitors are with the new site when a worker that nobody visits fails behind it."""
    rig.world.patient = frozenset({"web:80"})

    def site(script: str, **facts: Any) -> dict[str, Any]:
        both = process("worker", script, single=True), process("web", single=True)
        return rig.all_in_one(*both, visited=["web"], **facts)

    return rig.deploy(site("well")), rig.deploy(site("crash", image="new"))


BAD = [
    that_crashes,
    above_what_fits,
    whose_worker_crashes,
    whose_site_crashes,
    whose_rest_fails,
    of_another_form,
]


@pytest.mark.parametrize("scene", BAD, ids=lambda scene: scene.__name__)
@pytest.mark.parametrize("then", ["again", "back"])
def test_a_bad_release_that_was_cut_off_leaves_what_ran_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: Any, then: str
) -> None:
    whole = fresh(tmp_path / "whole", monkeypatch)
    one, two = scene(whole)
    assert whole.run(one).ok
    there = whole.states()
    assert whole.run(two).outcome == "restored" and whole.world.wrong == []
    assert whole.states() == there
    for number in range(whole.steps):
        rig = fresh(tmp_path / str(number), monkeypatch)
        outcome, said, _ = cut_off(rig, scene, number, then)
        assert outcome.outcome == ("restored" if then == "again" else "activated"), said
        assert rig.states() == there and rig.world.wrong == [], said


# -- what is refused ------------------------------------------------------------------------------


def test_room_is_made_without_leading_visitors_to_what_was_stopped(rig: FakeRig) -> None:
    """Two of the old form had stopped already when the change to another one was cut off."""
    rig.run(rig.deploy(*replicas(rig)))
    assert rig.run(rig.deploy(all_of(rig)), left=4) is None
    assert rig.steps_done()[-2:] == ["stop web-1", "stop web-2"]
    back = rig.deploy(*replicas(rig, image="new", update={"order": "stop-first"}))
    assert rig.run(back).ok and rig.world.wrong == []


def test_visitors_of_what_goes_are_led_away_before_room_is_made(rig: FakeRig) -> None:
    rig.world.patient = frozenset({"web:80", "api:80"})
    both, one = (process("web"), process("api")), (process("web"),)
    rig.run(rig.deploy(rig.all_in_one(*both, visited=["web", "api"])))
    new = rig.all_in_one(*one, visited=["web"], update={"order": "stop-first"})
    assert rig.run(rig.deploy(new)).ok and rig.world.wrong == []


def test_the_edge_knows_whom_to_send_visitors_to_when_it_first_hears_of_a_stack(
    rig: FakeRig,
) -> None:
    one = rig.deploy(rig.web())
    assert rig.run(one, left=1) is None
    assert rig.run(one).ok and rig.world.wrong == []


def test_what_a_failed_rollout_has_stopped_is_nothing_that_somebody_has(rig: FakeRig) -> None:
    """The runtime stops a database, and refuses all that comes after."""
    old = rig.deploy(place(rig, "db"))
    rig.run(old)
    new = rig.deploy(place(rig, "db", image="new"))
    rig.world.refusal = Refusal(1, lasts=True)
    assert rig.run(new).outcome == "failed" and rig.states()["db"].endswith("exited")
    rig.world.refusal = None
    for release in (old, new):
        assert rig.run(release).ok and rig.states()["db"].endswith("running")
    assert not rig.layout.marker.exists()
