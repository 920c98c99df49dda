"""A stack goes: nothing of it is left, and the others have not noticed."""

from __future__ import annotations

from typing import Any

from chatbot_site import STACK as CHATBOT
from chatbot_site import converse, said
from ferry_site import OWN_USER, PORT, STACK, database
from playbook import Played, play
from support import Machine, wait_until
from update_site import STACK as HARBOUR
from update_site import Harbour

# Said in docs/operations.md: journals of what was done, and what the host was provisioned with.
STAYS = (
    "/var/log/", "/var/lib/moorage-gateway/", "/var/lib/moorage/watch/",
    "/var/lib/moorage/provision.json",
    # Of units that ran when the power went: systemd tidies up with the next boot of the machine.
    "/var/tmp/systemd-private-",
)  # fmt: skip


def remove(**more: Any) -> Played:
    """Play it."""
    return play("playbooks/remove.yml", stack=STACK, **more)


def traces(machine: Machine) -> set[str]:
    """Return what the host has of the stack: files by name and content, units, users' processes."""
    named = "find / -xdev -path /proc -prune -o -name '*ferry*' -print; find /run -name '*ferry*'"
    held = (
        "grep -rlIs ferry /etc /run /opt/moorage /var/lib/moorage /var/spool --exclude-dir=systemd"
    )
    units = "systemctl list-units --all --plain --no-legend '*ferry*' | cut -d' ' -f1"
    processes = f"pgrep --uid {OWN_USER}"
    found = machine.sh(f"{{ {named}; {held}; {units}; {processes}; }} 2>/dev/null || true")
    # Slices are no files, and systemd has them until it starts anew.
    lines = {line for line in found.splitlines() if not line.endswith(".slice")}
    return {line for line in lines if not line.startswith(STAYS)}


def test_a_stack_is_taken_off_and_the_others_go_on(settled: Machine, site: Harbour) -> None:
    kept = f"cat /opt/{STACK}/secrets/postgres_password"
    secret, token = settled.sh(kept), converse(settled, "Do you notice?")
    address = wait_until("it has its database", lambda: database(settled))[1]
    before = {stack: settled.runs(stack) for stack in (CHATBOT, HARBOUR)}
    assert len(traces(settled)) > 20, "what is looked for is there to be found"
    with site.visited() as visitors:
        assert remove().ok.count("changed") == 1
        assert not traces(settled) - {f"/opt/{STACK}"}
        assert settled.sh(kept) == secret and settled.sh(f"ls /opt/{STACK}/data/postgres")
        # Again, and where data is to go, too, but nobody has said that it is meant.
        assert remove().ok.count("changed") == 0
        assert remove(remove_data=True, confirm="chatbot").status != 0
        assert settled.sh(kept) == secret
        assert remove(remove_data=True, confirm=STACK).ok.count("changed") == 1
        assert not traces(settled)
        assert remove(remove_data=True, confirm=STACK).ok.count("changed") == 0
    visitors.seen.assert_none_failed(200)
    assert said(settled, token)[0] == "Do you notice?"
    listening = settled.sh("ss -Hltn")
    assert f":{PORT} " not in listening and f"{address}:" not in listening
    assert STACK not in settled.sh("moorage status") and STACK not in settled.sh(
        "moorage edge status"
    )
    assert {stack: settled.runs(stack) for stack in before} == before
    assert settled.sh("systemctl is-system-running") == "running"
    wait_until("no unit of it has failed", lambda: not settled.sh("systemctl --failed --no-legend"))
