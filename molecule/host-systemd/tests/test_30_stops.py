"""An operator stops a unit as he does any other: it stays so, until he starts it."""

from __future__ import annotations

from playbook import play
from support import Machine, wait_until
from update_site import STACK, Harbour


def test_a_stop_by_systemctl_lasts_over_a_deploy_and_a_boot(machine: Machine) -> None:
    site = Harbour(machine.name)
    unit, beats = site.instances(STACK)["harbour-worker"]["id"], len(site.beats())
    site.sh(f"systemctl stop {unit}")

    def stays() -> bool:
        worker = site.status(STACK)["worker"]
        assert (worker["state"], worker["wanted"]) == ("STOPPED", "down"), worker
        assert site.host.run(f"systemctl is-enabled --quiet {unit}").rc != 0
        return True

    try:
        wait_until("the watcher has seen it", stays)
        assert "somebody stopped it" in site.sh(f"moorage events {STACK}")
        play("site.yml").ok  # noqa: B018
        stays()
        site.restart()
        wait_until("harbour serves", site.version, seconds=120)
        wait_until("it stays so", stays)
        assert len(site.beats()) == beats
    finally:
        site.sh(f"systemctl start {unit}")
    wait_until("it works", lambda: len(site.beats()) > beats)
    wait_until("and does so after a boot", lambda: site.sh(f"systemctl is-enabled {unit}"))
