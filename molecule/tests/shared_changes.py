"""Day two, whatever the topology: runs without changes, with one, with a bad one, with repairs."""

from __future__ import annotations

import json
import re
import secrets
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from application import APPLICATION, own
from counted import counted
from described import ONE_OFF, STACK
from playbook import play
from support import Machine

MARK = own(environment={APPLICATION.ASIDE: {"TEST_MARK": "1"}})
VISITED, SIGN_IN, PRIVATE = APPLICATION.VISITED, APPLICATION.SIGN_IN, APPLICATION.PRIVATE
LONG, SINGLE, visited = APPLICATION.LONG, APPLICATION.SINGLE, APPLICATION.visited
administrator = APPLICATION.administrator


def running(machine: Machine, stack: str) -> tuple[object, ...]:
    """Return what tells whether anything was restarted, replaced or activated."""
    return machine.runs(stack), machine.container_ids(stack), machine.release(stack)


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Return the names whose values differ, but for one-offs: a deploy may run those again."""
    names = {name for name in before if before[name] != after.get(name)}
    return {name for name in names if name.rpartition("-")[2] not in ONE_OFF}


def told(**variables: Any) -> list[str]:
    """Return the operations that a dry run lists."""
    shown = play("site.yml", "--check", "--diff", **variables).ok.output
    return re.findall(r"^(?:\w|-)+ to [a-z ]+: \S.*$", shown, re.M)


def planned(machine: Machine, stack: str) -> list[str]:
    """Return the operations that the newest rollout has noted before it carried them out."""
    newest = f"$(ls /var/log/moorage/rollouts/{stack}/*.jsonl | tail -n 1)"
    events = [json.loads(line) for line in machine.sh(f"cat {newest}").splitlines()]
    return [str(name) for e in events if e["event"] == "planned" for name in e["operations"]]


def test_a_run_without_changes_does_nothing_and_is_short(
    settled: Machine, stack: str, figure: Callable[[str], None]
) -> None:
    before = running(settled, stack)
    began = time.monotonic()
    played = play("site.yml").ok
    seconds = time.monotonic() - began
    figure(f"site.yml without changes: {played.tasks} tasks in {seconds:.1f} s")
    assert played.count("changed") == 0
    # The plan and the survey are all that such a run plays.
    assert played.tasks <= 4, played.output
    assert seconds < 10
    assert running(settled, stack) == before


def test_a_full_run_changes_nothing_either(
    settled: Machine, stack: str, figure: Callable[[str], None]
) -> None:
    """The short run rests on the survey; this one goes through every task of every role."""
    before = running(settled, stack)
    began = time.monotonic()
    played = play("site.yml", moorage_full_run=True).ok
    figure(f"site.yml with every task: {played.tasks} tasks in {time.monotonic() - began:.1f} s")
    assert played.tasks > 20, played.output
    assert played.count("changed") == 0, played.output
    assert running(settled, stack) == before


def test_a_dry_run_shows_the_files_and_touches_nothing(settled: Machine, stack: str) -> None:
    before = running(settled, stack)
    # Another value than that of the next test: a release that the host has is no difference.
    mark = own(environment={APPLICATION.ASIDE: {"TEST_MARK": "shown"}})
    played = play("site.yml", "--check", "--diff", **mark).ok
    assert re.search(r"^\+.*TEST_MARK", played.output, re.M), played.output
    assert played.count("changed") > 0
    assert running(settled, stack) == before


def test_a_changed_setting_restarts_only_what_it_concerns(settled: Machine, stack: str) -> None:
    before, containers = settled.runs(stack), settled.container_ids(stack)
    old = settled.release(stack)
    shown = told(**MARK)
    with visited(settled) as visitors:
        assert play("site.yml", **MARK).ok.count("changed") > 0
    assert shown and shown == planned(settled, stack)
    visitors.seen.assert_none_failed(300, LONG)
    assert changed(before, settled.runs(stack)) == {APPLICATION.ASIDE}
    service = settled.described(stack, APPLICATION.ASIDE)
    # A process gets its environment from its supervisor, a container when it is made.
    replaced = {service["containers"][0]} if service["kind"] == "container" else set()
    assert changed(containers, settled.container_ids(stack)) == replaced
    new = settled.release(stack)
    assert new != old
    assert "TEST_MARK=1" in settled.environment_of(stack, APPLICATION.ASIDE)
    assert play("site.yml").ok.count("changed") > 0
    assert settled.release(stack) == old, "the same content is the same release"
    listed = settled.sh(f"moorage releases {stack}")
    assert re.search(rf"^{old}.*current", listed, re.M) and new in listed


def test_a_changed_setting_of_what_visitors_reach_fails_nobody(
    settled: Machine, stack: str
) -> None:
    old, containers = settled.release(stack), settled.container_ids(stack)
    mark = own(environment={VISITED: {"TEST_MARK": "1"}})
    with (
        counted(settled, *SINGLE) as processes,
        visited(settled) as visitors,
    ):
        play("site.yml", **mark).ok  # noqa: B018
        # A new container beside the old one, which is gone now.
        replaced = changed(containers, settled.container_ids(stack))
        assert replaced == {settled.container_of(stack, VISITED)}
        assert "TEST_MARK=1" in settled.environment_of(stack, VISITED)
        play("site.yml").ok  # noqa: B018
    visitors.seen.assert_none_failed(800, LONG)
    assert processes.most == 1, processes
    assert settled.release(stack) == old


def test_a_replaced_secret_of_what_visitors_reach_fails_nobody(
    settled: Machine, stack: str
) -> None:
    containers, someone = settled.container_ids(stack), administrator(settled)
    assert someone.get(PRIVATE).url.endswith(PRIVATE)
    old = settled.sh(f"cat /opt/{stack}/secrets/session_key")
    new = secrets.token_hex(20)
    shown = told(**own(secrets={"session_key": new}))
    # Whoever looks at the panel is signed out by it.
    with visited(settled, streams=False) as visitors:
        played = play("site.yml", **own(secrets={"session_key": new})).ok
    assert new not in played.output
    visitors.seen.assert_none_failed(300, set())
    replaced = changed(containers, settled.container_ids(stack))
    assert replaced == {settled.container_of(stack, VISITED)}
    assert shown == ["secret to replace: session_key", *planned(settled, stack)]
    assert SIGN_IN in someone.get(PRIVATE).url, "sessions of the old key have ended"
    assert administrator(settled).get(PRIVATE).status == 200
    play("site.yml", **own(secrets={"session_key": old})).ok  # noqa: B018
    assert someone.get(PRIVATE).url.endswith(PRIVATE)


def test_a_replaced_secret_is_read_by_all_who_need_it(settled: Machine, stack: str) -> None:
    before, containers = settled.runs(stack), settled.container_ids(stack)
    old = settled.sh(f"cat /opt/{stack}/secrets/admin_password")
    new = secrets.token_hex(20)
    with visited(settled, streams=False) as visitors:
        played = play("site.yml", **own(secrets={"admin_password": new})).ok
    assert new not in played.output
    visitors.seen.assert_none_failed(300, set())
    # The one-off that keeps its hash has run once more; nobody else reads it.
    assert changed(before, settled.runs(stack)) == set()
    assert changed(containers, settled.container_ids(stack)) == set()
    someone = APPLICATION.visitor(settled)
    refused = someone.post(SIGN_IN, SIGN_IN, username="admin", password=old)
    assert refused.status == 401
    assert administrator(settled).get(PRIVATE).status == 200
    assert play("site.yml", **own(secrets={"admin_password": new})).ok.count("changed") == 0


def test_the_database_is_reached_from_outside_only_when_asked(settled: Machine, stack: str) -> None:
    before = settled.runs(stack)
    name, port = APPLICATION.DATABASE, STACK.services[APPLICATION.DATABASE].ports[0].target
    play("site.yml", **own(publish={name: [f"{port}:{port}"]})).ok  # noqa: B018
    with socket.create_connection((settled.address, port), timeout=5) as connection:
        assert APPLICATION.database_answers(connection)
    assert changed(before, settled.runs(stack)) == {name}
    play("site.yml").ok  # noqa: B018
    assert socket.socket().connect_ex((settled.address, port)) != 0


def test_a_release_that_does_not_get_healthy_gives_way(settled: Machine, stack: str) -> None:
    old, before = settled.release(stack), running(settled, stack)
    bad = own(environment=APPLICATION.BAD, gate_timeout_seconds=5)
    with visited(settled) as visitors:
        played = play("site.yml", **bad)
    assert played.status != 0
    (broken,) = APPLICATION.BAD
    assert f"{broken}: " in played.output and APPLICATION.BAD_SAYS in played.output, played.output
    assert f"release {old} went on running" in played.output
    visitors.seen.assert_none_failed(300, LONG)
    assert running(settled, stack) == before, "what runs was never touched"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (
            own(topolgy="unified", keep_releases=0),
            list(own(topolgy="", keep_releases="")),
        ),
        (own(secrets={"no_such_secret": "x" * 32}), ["no_such_secret"]),
    ],
    ids=["settings", "secrets"],
)
def test_what_makes_no_sense_is_named_before_anything_is_touched(
    settled: Machine, stack: str, settings: dict[str, Any], named: list[str]
) -> None:
    before = running(settled, stack)
    played = play("site.yml", **settings)
    assert played.status != 0 and played.count("changed") == 0
    assert [name for name in named if name not in played.output] == []
    assert running(settled, stack) == before


def test_what_was_changed_by_hand_is_repaired(settled: Machine, stack: str) -> None:
    container = settled.container_of(stack, VISITED)
    settled.sh("echo 'net.core.somaxconn = 1' > /etc/sysctl.d/60-moorage.conf")
    settled.sh(f"docker rm -f {container}")
    assert play("site.yml").ok.count("changed") > 0
    assert "4096" in settled.sh("cat /etc/sysctl.d/60-moorage.conf")
    assert container in settled.container_ids(stack)
    assert play("site.yml").ok.count("changed") == 0
