"""From one form of the stack to the other and back, on a host that serves all the while."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable

from counted import counted
from playbook import play
from support import Machine
from tg2em_site import LONG, SINGLE, ensure_content, kept, visited

PROCESSES = {"frontend", "scraper", "tgstate"}


def traces(machine: Machine, stack: str) -> dict[str, set[str]]:
    """Return everything on the host by which one form differs from the other."""
    # The services' own processes keep their logs and intents with the data, which stays.
    label = f"label=moorage.stack={stack}"
    asked = {
        "containers": f"docker ps -a --filter {label} --format '{{{{.Names}}}}'",
        "networks": "docker network ls --format '{{.Name}}'",
        "units": "systemctl list-units --all --plain --no-legend 'moorage-*' | cut -d' ' -f1",
        "unit files": "systemctl list-unit-files --no-legend 'moorage-*' | cut -d' ' -f1",
        "wanted": "find /etc/systemd/system -name 'moorage-*' -printf '%P\\n'",
        "logrotate": "find /etc/logrotate.d -name 'moorage-*' -printf '%f\\n'",
        "runtime": f"find /run/moorage/{stack} -mindepth 1 -maxdepth 1 -printf '%f\\n'",
        "tmpfiles": "find /etc/tmpfiles.d -name 'moorage-*' -printf '%f\\n'",
        "configuration": f"find /opt/{stack}/config -mindepth 1 -printf '%P\\n'",
    }
    return {what: set(machine.sh(command).splitlines()) for what, command in asked.items()}


def checksums(machine: Machine, stack: str) -> str:
    """Return what must be the same, byte for byte: tables, files of the image service, secrets."""
    root = "MYSQL_PWD=$(cat /run/secrets/mysql_root_password) mariadb -N -u root"
    # Not those of administrators: it is noted when they sign in.
    tables = "articles, messages, alembic_version, settings"
    rows = machine.sh(
        f"docker exec {stack}-mysql sh -c '{root} {stack} -e \"CHECKSUM TABLE {tables}\"'"
    )
    assert "NULL" not in rows, rows
    files = machine.sh(
        f"cd /opt/{stack} && find data/tgstate-data secrets -type f -exec sha256sum {{}} + | sort"
    )
    assert len(files.splitlines()) > 5
    return f"{rows}\n{files}"


def test_there_and_back_with_the_same_data(
    settled: Machine, stack: str, figure: Callable[[str], None]
) -> None:
    ensure_content(settled)
    with visited(settled):
        pass  # the pictures that visitors send are there from now on
    before, data, sums = traces(settled, stack), kept(settled), checksums(settled, stack)
    edge = {what: {name for name in names if "edge" in name} for what, names in before.items()}
    release = settled.release(stack)

    with counted(settled, *SINGLE) as scrapers, visited(settled) as visitors:
        began = time.monotonic()
        play("site.yml", tg2em_topology="unified").ok  # noqa: B018
        figure(f"containers to unified: {time.monotonic() - began:.1f} s")
    figure(f"containers to unified: {visitors.seen.summary()}")
    visitors.seen.assert_none_failed(500, LONG)
    assert scrapers.most == 1, scrapers
    there = traces(settled, stack)
    slot = f"unified-{settled.slot(f'{stack}-unified')}"
    assert there == {
        "containers": {f"{stack}-unified", f"{stack}-mysql"},
        "networks": before["networks"],
        # The gateway goes on: it has the database beside the unified container.
        "units": before["units"],
        "unit files": before["unit files"],
        "wanted": before["wanted"],
        "logrotate": {f"moorage-{stack}"} | before["logrotate"],
        "runtime": {"unified-a", "unified-b", "gateway"},
        "tmpfiles": {f"moorage-{stack}-unified.conf"} | edge["tmpfiles"],
        # The free slot has a directory, and what the last container was told is not in it.
        "configuration": {"unified-a", "unified-b", f"{slot}/supervisor.json"},
    }
    services = settled.status(stack)
    assert {services[name]["kind"] for name in PROCESSES} == {"process"}
    assert {services[name]["health"] for name in PROCESSES} == {"healthy"}
    # The panel has the database too.
    control = (
        "from moorage.control.connect import connect; print([s.name for s in connect().services()])"
    )
    panel = f"moorage exec {stack} frontend python3 -c {shlex.quote(control)}"
    assert "'mysql'" in settled.sh(panel)
    assert settled.serves(5000, 8088)
    assert kept(settled) == data
    assert checksums(settled, stack) == sums

    with counted(settled, *SINGLE) as scrapers, visited(settled) as visitors:
        began = time.monotonic()
        play("site.yml").ok  # noqa: B018
        figure(f"unified to containers: {time.monotonic() - began:.1f} s")
    figure(f"unified to containers: {visitors.seen.summary()}")
    visitors.seen.assert_none_failed(500, LONG)
    assert scrapers.most == 1, scrapers
    assert settled.release(stack) == release
    assert settled.serves(5000, 8088)
    assert kept(settled) == data
    assert checksums(settled, stack) == sums
    assert traces(settled, stack) == before
    assert play("site.yml").ok.count("changed") == 0


def test_a_form_that_does_not_get_healthy_gives_way(settled: Machine, stack: str) -> None:
    before, data = traces(settled, stack), kept(settled)
    with visited(settled) as visitors:
        played = play(
            "site.yml",
            tg2em_topology="unified",
            tg2em_environment={"tgstate": {"PORT": "8099"}},
            tg2em_gate_timeout_seconds=5,
        )
    assert played.status != 0 and "went on running" in played.output, played.output
    visitors.seen.assert_none_failed(500, LONG)
    assert kept(settled) == data
    # The next run puts right what had been made ready for the other form.
    play("site.yml").ok  # noqa: B018
    assert traces(settled, stack) == before
