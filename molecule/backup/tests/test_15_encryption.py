"""taifish's data is encrypted on the disk: what can be read there, and what happens without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import taifish_site
from playbook import play
from support import Machine, outer, wait_until, wait_until_up

_KEY = "/opt/moorage/keys/storage-taifish.key"
_SAID = "海里有什么"


@contextmanager
def locked_out(machine: Machine) -> Iterator[None]:
    """Cut the host's power, and have the key of taifish's data gone from before the boot on."""
    machine.sh(f"mv {_KEY} {_KEY}.away")
    try:
        outer("kill", machine.name)
        outer("start", machine.name)
        wait_until("tg2em is there again", lambda: machine.serves(5000), seconds=120)
        yield
    finally:
        machine.sh(f"mv {_KEY}.away {_KEY}")


def state(machine: Machine, what: str) -> str:
    """Return something of the state of taifish's database."""
    return machine.sh(f"docker inspect --format '{{{{.State.{what}}}}}' taifish-postgres")


def test_on_the_disk_neither_contents_nor_names_can_be_read(filled: Machine) -> None:
    readable = f"grep -rlaF {_SAID} /opt/taifish/%s; find /opt/taifish/%s -name uploads"
    assert len(filled.sh(readable % ("data", "data")).splitlines()) > 1
    assert filled.host.run(readable % ("encrypted", "encrypted")).stdout == ""
    assert filled.sh(f"stat -c '%a %u' {_KEY}") == "600 0"


def test_a_killed_file_system_comes_back_with_all_that_stood_on_it(filled: Machine) -> None:
    before, started = taifish_site.kept(filled), state(filled, "StartedAt")
    filled.sh("systemctl kill --signal=KILL moorage-data@taifish")
    wait_until("started anew", lambda: state(filled, "StartedAt") != started, seconds=120)
    wait_until_up(filled, "taifish")
    assert taifish_site.kept(filled) == before
    assert play("site.yml", "--limit", filled.name).ok.count("changed") == 0


def test_without_its_mount_nothing_is_written_nor_saved_and_others_are_served(
    filled: Machine,
) -> None:
    before = taifish_site.kept(filled)
    with locked_out(filled):
        wait_until("it was refused", lambda: "/opt/taifish/data" in state(filled, "Error"))
        assert state(filled, "Status") == "exited"
        assert filled.host.run("docker start taifish-postgres").rc != 0
        assert filled.sh("ls -A /opt/taifish/data") == ""
        assert "is encrypted and not mounted" in filled.sh("moorage status taifish")
        for verb in ("backup", "prove"):
            done = filled.host.run(f"moorage {verb} taifish")
            assert done.rc == 1 and "is encrypted and not mounted" in done.stderr, done
    # Its unit has tried all the time.
    wait_until("mounted", lambda: filled.sh("ls -A /opt/taifish/data"), seconds=60)
    wait_until_up(filled, "taifish")
    assert taifish_site.kept(filled) == before
    assert play("site.yml", "--limit", filled.name).ok.count("changed") == 0


def test_data_that_is_there_is_neither_encrypted_nor_given_up(filled: Machine) -> None:
    played = play(
        "site.yml",
        "--limit",
        filled.name,
        tg2em_storage_encryption="gocryptfs",
        taifish_storage_encryption="none",
    )
    assert played.status != 0 and played.count("changed") == 0, played.output
    said = " ".join(played.output.split())
    assert "tg2em is deployed here without it" in said
    assert "/opt/taifish/encrypted holds the data of taifish" in said
