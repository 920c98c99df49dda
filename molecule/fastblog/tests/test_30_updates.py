"""The site is brought up to date by its updater while it is read, and taken back."""

from __future__ import annotations

import threading

import pytest
from fastblog_site import FEED, STACK, URL, call, publish, receive, version, visitor
from playbook import play
from support import Machine, wait_until

# What a release does wrong, as a line at the end of one of its files.
BAD = {
    "does not start": ("app.py", "raise SystemExit(3)"),
    # In the trial, on a copy of the database, it is well.
    "ends once it is in place": (
        "app.py",
        'import os; assert os.environ["DATA_DIR"] != "/var/lib/fastblog"',
    ),
}


def updated(machine: Machine) -> None:
    """Have the updater install the newest release, and wait until it is done."""
    call(machine, "/process/updater/start", "POST")
    wait_until(
        "the updater has ended",
        lambda: machine.status(STACK)["updater"]["state"] in ("EXITED", "STOPPED", "FATAL"),
        seconds=120,
    )


def test_a_feed_is_set_and_its_key_known(settled: Machine) -> None:
    receive(settled)
    settled.sh("minisign -G -W -f -s /srv/key -p /srv/key.pub >/dev/null")
    publish(settled, "1.0.0")
    settled.sh(f"chmod -R a+rX {FEED}")
    key = settled.sh("cat /srv/key.pub")
    variables = {"UPDATE_FEED": URL, "CHECK_SECONDS": "5", "WATCH_SECONDS": "2"}
    secrets = {"release_key": key}
    played = play(
        "playbooks/update.yml", stack=STACK, fastblog_secrets=secrets, fastblog_variables=variables
    )
    assert played.ok.count("changed")
    wait_until("the feed is read", lambda: _feed(settled)["serial"], seconds=60)
    assert not _feed(settled)["problem"] and not _feed(settled)["available"]


def test_a_release_is_installed_while_the_site_is_read(settled: Machine) -> None:
    publish(settled, "1.1.0")
    wait_until("it is known", lambda: _feed(settled)["newest"] == "1.1.0", seconds=60)
    pid, statuses, over = settled.status(STACK)["main_app"]["pid"], list[int](), threading.Event()

    def read() -> None:
        reader = visitor(settled)
        while not over.is_set():
            statuses.append(reader.get("/").status)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        updated(settled)
    finally:
        over.set()
        reader.join()
    assert version(settled) == "1.1.0", settled.sh(f"moorage logs {STACK} updater | tail -n 30")
    assert len(statuses) > 20 and set(statuses) == {200}
    assert settled.status(STACK)["main_app"]["pid"] == pid, "process and port stay"
    assert "部署一个博客" in visitor(settled).get("/").text


@pytest.mark.parametrize("what", BAD)
def test_a_bad_release_leaves_the_one_that_runs(machine: Machine, what: str) -> None:
    number = f"1.{2 + list(BAD).index(what)}.0"
    publish(machine, number, *BAD[what])
    wait_until("it is known", lambda: _feed(machine)["newest"] == number, seconds=60)
    updated(machine)
    assert version(machine) == "1.1.0"
    assert visitor(machine).get("/").status == 200
    assert machine.status(STACK)["updater"]["exit"]["code"] != 0


def test_one_that_nobody_has_signed_is_not_even_tried(machine: Machine) -> None:
    machine.sh(f"sed -i 's/1\\.3\\.0/1.9.0/' {FEED}/feed.json")
    wait_until("it is seen", lambda: "signature" in _feed(machine)["problem"], seconds=60)
    updated(machine)
    assert version(machine) == "1.1.0"


def _feed(machine: Machine) -> dict[str, str]:
    found: dict[str, str] = call(machine, "/system/status")["updates"]
    return found
