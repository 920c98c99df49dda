"""Saved every night while visitors are there, proven, and put back after a loss."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
import taifish_site
import tg2em_site
from backup_site import STACKS, backups
from playbook import play
from support import Machine, wait_until_up

Figure = Callable[[str], None]
# How many services and requests a proof asks of each.
APPLICATIONS = {"tg2em": (5, 3), "taifish": (6, 2)}


def run_unit(machine: Machine, name: str) -> float:
    """Start a unit as its timer does; return the seconds until it has ended well."""
    began = time.monotonic()
    done = machine.host.run(f"systemctl start {name}")
    log = machine.sh(f"journalctl --no-pager --quiet --unit {name} | tail -n 40")
    assert done.rc == 0, log
    return time.monotonic() - began


def test_a_run_without_changes_is_short_with_both_stacks(filled: Machine, figure: Figure) -> None:
    began = time.monotonic()
    played = play("site.yml", "--limit", filled.name).ok
    figure(f"site.yml without changes, two stacks: {time.monotonic() - began:.1f} s")
    assert played.count("changed") == 0
    assert played.tasks <= 4, played.output


def test_the_timers_are_set(filled: Machine) -> None:
    shown = filled.sh("systemctl list-timers --all --no-legend 'moorage-*'")
    assert "moorage-backup.timer" in shown and "moorage-prove.timer" in shown


def test_the_nightly_backup_of_both_fails_nobody(filled: Machine, figure: Figure) -> None:
    before = {stack: len(backups(filled, stack)) for stack in STACKS}
    with tg2em_site.visited(filled) as readers, taifish_site.visited(filled) as members:
        seconds = run_unit(filled, "moorage-backup.service")
        members.wait_for_more(100)
    figure(f"both stacks saved: {seconds:.1f} s")
    readers.seen.assert_none_failed(200, tg2em_site.LONG)
    members.seen.assert_none_failed(200, taifish_site.LONG)
    for stack in STACKS:
        found = backups(filled, stack)
        assert len(found) == before[stack] + 1
        assert found[-1]["release"] == filled.release(stack)
        assert found[-1]["bytes"] > 0


def test_the_newest_backup_is_proven(filled: Machine, figure: Figure) -> None:
    seconds = run_unit(filled, "moorage-prove.service")
    figure(f"both newest backups proven: {seconds:.1f} s")
    for stack in STACKS:
        assert backups(filled, stack)[-1]["proven"], stack
        found = json.loads(filled.sh(f"cat /var/lib/moorage/backup/{stack}.json"))
        # It was started on what was restored and asked, workers and singletons too.
        said = found["parts"][-1]
        assert (said["name"], said["ok"]) == ("application", True)
        healthy, answered = APPLICATIONS[stack]
        assert said["detail"] == f"{healthy} services healthy; {answered} requests answered"
        known = json.loads(
            filled.sh(
                f"curl --silent --unix-socket /run/moorage/{stack}/gateway/control.sock "
                f"http://control/v1/backups"
            )
        )
        assert known["backup"]["ok"] and known["proof"]["ok"]
        assert known["proof"]["made"] == pytest.approx(found["made"])
    assert filled.sh("docker ps --all --quiet --filter name=moorage-proof") == ""
    assert filled.sh("ls --directory /opt/*/data/.proof 2>/dev/null || true") == ""


def lose_tg2em(machine: Machine) -> None:
    """Lose tables and pictures."""
    secret = "$(cat /run/secrets/mysql_root_password)"
    machine.sh(
        f"docker exec tg2em-mysql sh -c 'MYSQL_PWD={secret} mariadb -u root tg2em "
        '-e "SET foreign_key_checks = 0; DROP TABLE articles, messages"\''
    )
    machine.sh("rm -rf /opt/tg2em/data/tgstate-data/*")


def lose_taifish(machine: Machine) -> None:
    """Lose tables, pictures, and what Redis holds."""
    taifish_site.queries(machine, "DROP TABLE comments, posts CASCADE")
    machine.sh("rm -rf /opt/taifish/data/app/uploads /opt/taifish/data/app/thumbs")
    flush = "export REDISCLI_AUTH=$(cat /run/secret); redis-cli -h 127.0.0.1 FLUSHALL"
    taifish_site.client(machine, "redis", flush)


@pytest.mark.parametrize(
    ("stack", "lose"), [("tg2em", lose_tg2em), ("taifish", lose_taifish)], ids=list(STACKS)
)
def test_what_was_lost_is_restored_to_the_last_byte(
    filled: Machine, stack: str, lose: Callable[[Machine], None], figure: Figure
) -> None:
    site = STACKS[stack]
    signed_in = site.administrator(filled)
    assert signed_in.get(site.PRIVATE).url.endswith(site.PRIVATE)
    filled.sh(f"moorage backup {stack}")
    before, release = site.kept(filled), filled.release(stack)
    lose(filled)
    began = time.monotonic()
    said = filled.sh(f"moorage restore {stack} --yes")
    figure(f"{stack} restored: {time.monotonic() - began:.1f} s; {said.splitlines()[-1]}")
    wait_until_up(filled, stack)
    assert site.kept(filled) == before
    assert filled.release(stack) == release
    assert signed_in.get(site.PRIVATE).url.endswith(site.PRIVATE), "whoever was signed in is"
    assert play("site.yml", "--limit", filled.name).ok.count("changed") == 0


def test_one_volume_alone_is_restored(filled: Machine) -> None:
    before = taifish_site.kept(filled)
    filled.sh("rm -rf /opt/taifish/data/app/uploads")
    dry = play("playbooks/restore.yml", "--check", stack="taifish", only="volume/app").ok
    assert "volume/app" in dry.output, dry.output
    played = play("playbooks/restore.yml", stack="taifish", only="volume/app", confirm="taifish")
    assert played.ok.count("changed") > 0
    wait_until_up(filled, "taifish")
    assert taifish_site.kept(filled) == before


def test_rows_of_one_table_are_restored(filled: Machine, figure: Figure) -> None:
    before = taifish_site.kept(filled)
    taifish_site.queries(filled, "UPDATE posts SET title = id::text")
    began = time.monotonic()
    only = "postgres.posts"
    played = play("playbooks/restore.yml", stack="taifish", table=only, confirm="taifish")
    assert played.ok.count("changed") > 0
    figure(f"rows of one table restored: {time.monotonic() - began:.1f} s")
    wait_until_up(filled, "taifish")
    assert taifish_site.kept(filled) == before


def test_nothing_is_overwritten_unasked(filled: Machine) -> None:
    before = taifish_site.kept(filled)
    played = play("playbooks/restore.yml", stack="taifish", confirm="tg2em")
    assert played.status != 0 and "nothing was overwritten" in played.output, played.output
    assert filled.host.run("moorage restore taifish </dev/null").rc != 0
    assert taifish_site.kept(filled) == before
