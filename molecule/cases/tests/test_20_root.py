"""What root does in directories of an application: links planted there lead nowhere."""

from __future__ import annotations

from typing import Any

from pilot_site import BASE, STACK, Pilot

RECEIPT_KEY = "/opt/moorage/keys/receipt.key"
ROTATION = f"/etc/logrotate.d/moorage-{STACK}"
# As the application: in its state, beside its control socket, and among its logs.
PLANT = f"""
cd /var/lib/supervisor
ln -s {RECEIPT_KEY} events.jsonl.1
ln -s /etc/shadow events.jsonl.2
ln -s /etc/apt/apt.conf.d/planted events.jsonl.3
mkfifo events.jsonl.4
mkdir -p events.jsonl.5/below
echo mine > mine; ln -f mine events.jsonl.6
ln -sf /etc/apt/apt.conf.d/planted intents.json.new
ln -s /etc/apt/apt.conf.d /run/supervisor/away
ln -sf /etc/shadow /app/logs/shadow.log
ln -sf /etc/apt/apt.conf.d/planted /app/logs/new.log
"""


def unified(pilot: Pilot, mark: str, **settings: Any) -> None:
    """Describe the stack in one container, with processes' logs in files."""
    # How fast it is on a busy machine is not the matter here.
    budget = {"budget": 10_000, "timeout_seconds": 10}
    pilot.description.settings.update(pilot_topology="unified", pilot_probe=budget, **settings)
    pilot.description.web["environment"] = {"MARK": mark}


# The same name is a file, a link and nothing, as fast as it goes, until the container ends.
RACE = "while :; do ln -sf /etc/shadow events.jsonl.1; rm events.jsonl.1; echo {} > events.jsonl.1"
RACE += "; rm events.jsonl.1; sleep 0.001; done"


def plant(pilot: Pilot) -> None:
    """Have the application put links and more where root will come by."""
    for line in PLANT.strip().splitlines()[1:]:
        at = "/var/lib/supervisor"
        pilot.host.run("docker exec -w %s pilot-unified sh -c %s", at, line)
    pilot.host.run("docker exec -d -w /var/lib/supervisor pilot-unified sh -c %s", RACE)


def secrets(pilot: Pilot) -> str:
    """Return owner, mode and content of what the application must not see or make."""
    return pilot.sh(
        f"stat -c '%n %u %a %h' {RECEIPT_KEY} /etc/shadow /etc/apt/apt.conf.d; "
        "ls -A /etc/apt/apt.conf.d; "
        f"sha256sum {RECEIPT_KEY} /etc/shadow"
    )


def odd(pilot: Pilot) -> list[str]:
    """Return what the newest rollout has found."""
    events = pilot.last_journal()
    return [place for event in events if event["event"] == "odd" for place in event["found"]]


def test_planted_links_are_named_and_not_followed(pilot: Pilot) -> None:
    unified(pilot, "1")
    pilot.site().ok  # noqa: B018
    before = secrets(pilot)
    for again in ("2", "3"):
        plant(pilot)
        # It may refuse what it finds; it works as the application's user in any case.
        pilot.host.run(f"logrotate --force {ROTATION}")
        unified(pilot, again)
        pilot.update().ok  # noqa: B018
        assert pilot.ask("/").text == f"{again} GET /\n"
        assert [place for place in odd(pilot) if place.endswith("events.jsonl.2: a link")]
        assert secrets(pilot) == before
    plant(pilot)
    pilot.rollback().ok  # noqa: B018
    assert pilot.ask("/").text == "2 GET /\n"
    plant(pilot)
    pilot.description.settings["pilot_topology"] = "containers"
    pilot.update().ok  # noqa: B018
    assert secrets(pilot) == before
    given = pilot.sh(f"find {BASE}/data -type f ! -user root -exec grep -l root: {{}} + || true")
    assert given == ""


def remove_with_data(pilot: Pilot) -> None:
    """Take the stack off the host, with all that it had."""
    pilot.run("playbooks/remove.yml", stack=STACK, remove_data=True, confirm=STACK).ok  # noqa: B018


def rotated(pilot: Pilot) -> None:
    """Rotate the stack's logs now; the supervisor writes on into new files."""
    pilot.sh(f"logrotate --force {ROTATION}")
    old = pilot.sh(f"ls {BASE}/logs/*.log.1").split()
    for path in old:
        assert pilot.sh(f"stat -c '%u:%g' {path} {path[:-2]}") == "10005:10005\n10005:10005"


def test_an_update_makes_all_that_a_number_without_an_account_needs(pilot: Pilot) -> None:
    pilot.sh(f"ln -sfn /etc/apt/apt.conf.d {BASE}/logs/away")
    before = secrets(pilot)
    remove_with_data(pilot)
    assert secrets(pilot) == before
    unified(pilot, "1", pilot_user="10005:10005")
    pilot.description.compose["volumes"] = {"things": {}}
    pilot.description.web["volumes"] = ["things:/things"]
    pilot.update().ok  # noqa: B018
    assert pilot.ask("/").text == "1 GET /\n"
    assert pilot.sh(f"stat -c '%u:%g' {BASE}/data/things") == "10005:10005"
    rotated(pilot)
    pilot.description.settings["pilot_topology"] = "containers"
    pilot.update().ok  # noqa: B018
    assert not pilot.host.file(ROTATION).exists
    pilot.rollback().ok  # noqa: B018
    assert pilot.host.file(ROTATION).exists
    remove_with_data(pilot)
    assert not pilot.host.file(ROTATION).exists
    assert not pilot.host.file(BASE).exists
