"""Day two: a run without changes, a changed setting, a bad one, and things changed by hand."""

from __future__ import annotations

import re

from playbook import play
from support import Machine


def pids(machine: Machine, stack: str) -> dict[str, int]:
    """Return the process id of every service."""
    return {name: s["pid"] for name, s in machine.status(stack).items()}


def test_a_run_without_changes_does_nothing(settled: Machine, stack: str) -> None:
    before = (pids(settled, stack), settled.container_ids(stack), settled.release(stack))
    played = play("site.yml").ok
    assert played.count("changed") == 0
    # The plan and the survey are all that such a run plays.
    tasks = len(re.findall(r"^(?:ok|changed): ", played.output, re.M))
    assert tasks <= 4, played.output
    assert (pids(settled, stack), settled.container_ids(stack), settled.release(stack)) == before


def test_a_changed_setting_restarts_only_what_it_concerns(settled: Machine, stack: str) -> None:
    before, containers = pids(settled, stack), settled.container_ids(stack)
    old = settled.release(stack)
    changed = {"scraper": {"SCRAPER_TEST_MARK": "1"}}
    assert play("site.yml", tg2em_environment=changed).ok.count("changed") > 0
    after = pids(settled, stack)
    assert settled.container_ids(stack) == containers, "no container was replaced"
    assert {name for name in before if before[name] != after[name]} == {"scraper"}
    assert settled.release(stack) != old
    assert play("site.yml", tg2em_environment=changed).ok.count("changed") == 0
    play("site.yml").ok  # noqa: B018
    assert settled.release(stack) == old, "the same content is the same release"


def test_a_release_that_does_not_get_healthy_gives_way(settled: Machine, stack: str) -> None:
    old, before = settled.release(stack), pids(settled, stack)
    played = play(
        "site.yml",
        tg2em_environment={"tgstate": {"PORT": "8099"}},
        tg2em_gate_timeout_seconds=20,
    )
    assert played.status != 0
    assert "tgstate" in played.output and "runs again" in played.output
    assert settled.release(stack) == old
    after = pids(settled, stack)
    assert {n: p for n, p in after.items() if n != "tgstate"} == {
        n: p for n, p in before.items() if n != "tgstate"
    }
    assert settled.status(stack)["tgstate"]["health"] == "healthy"


def test_a_dry_run_shows_the_files_and_touches_nothing(settled: Machine, stack: str) -> None:
    before = (pids(settled, stack), settled.release(stack))
    played = play(
        "site.yml", "--check", "--diff", tg2em_environment={"scraper": {"SCRAPER_TEST_MARK": "2"}}
    ).ok
    assert re.search(r"^\+.*SCRAPER_TEST_MARK", played.output, re.M)
    assert (pids(settled, stack), settled.release(stack)) == before


def test_settings_that_make_no_sense_are_named_before_anything_is_touched(
    settled: Machine, stack: str
) -> None:
    played = play(
        "site.yml",
        tg2em_topolgy="unified",
        tg2em_keep_releases=0,
        tg2em_secrets={"no_such_secret": "x" * 32},
    )
    assert played.status != 0 and played.count("changed") == 0
    assert "tg2em_topolgy" in played.output and "topology" in played.output
    assert "tg2em_keep_releases" in played.output


def test_what_was_changed_by_hand_is_repaired(settled: Machine, stack: str) -> None:
    settled.sh("echo 'net.core.somaxconn = 1' > /etc/sysctl.d/60-moorage.conf")
    settled.sh("docker rm -f tg2em-unified")
    played = play("site.yml").ok
    assert played.count("changed") > 0
    assert "4096" in settled.sh("cat /etc/sysctl.d/60-moorage.conf")
    assert "tg2em-unified" in settled.container_ids(stack)
    assert play("site.yml").ok.count("changed") == 0


def test_the_retained_releases_are_listed(settled: Machine, stack: str) -> None:
    shown = settled.sh(f"moorage releases {stack}")
    assert "current" in shown and settled.release(stack) in shown
