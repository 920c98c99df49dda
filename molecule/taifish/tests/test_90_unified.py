"""The same stack as one container: no job and no comment is lost on the way."""

from __future__ import annotations

from collections.abc import Callable

from application import APPLICATION, own
from counted import counted
from playbook import play
from support import Machine, wait_until
from taifish_site import jobs, kept, queries, visited

UNIFIED = own(topology="unified", replicas={"celery_worker": 2})


def test_it_moves_into_one_container_and_back(
    settled: Machine, stack: str, figure: Callable[[str], None]
) -> None:
    tally = int(jobs(settled)["tally"])
    before = int(queries(settled, "SELECT count(*) FROM comments"))
    with counted(settled, *APPLICATION.SINGLE) as beats, visited(settled) as visitors:
        settled.sh(f"moorage exec {stack} app python3 -m taifish.jobs enqueue-test 300")
        play("site.yml", **UNIFIED).ok  # noqa: B018
        services = settled.status(stack)
        assert {services[n]["kind"] for n in ("app", "celery_worker", "celery_beat")} == {"process"}
        wait_until("both workers beat", lambda: well(settled, "celery_worker", "celery_worker-2"))
        assert set(settled.container_ids(stack)) == {
            f"{stack}-unified",
            f"{stack}-postgres",
            f"{stack}-redis",
        }
        assert play("site.yml", **UNIFIED).ok.count("changed") == 0
        play("site.yml").ok  # noqa: B018
    figure(f"containers to unified and back: {visitors.seen.summary()}")
    visitors.seen.assert_none_failed(500, APPLICATION.LONG)
    assert beats.most == 1, beats
    written = sum(r["kind"].startswith("comment") for r in visitors.seen.requests)
    assert int(queries(settled, "SELECT count(*) FROM comments")) == before + written
    wait_until("no job was lost", lambda: jobs(settled)["tally"] == tally + 300, seconds=240)
    assert kept(settled)


def well(machine: Machine, *names: str) -> bool:
    """Tell whether processes are healthy, each by a heartbeat of its own."""
    files = machine.sh("docker exec taifish-unified ls /tmp").split()
    assert {f"celery_worker.heartbeat.{name}" for name in names} <= set(files)
    services = machine.status("taifish")
    return all(services[name]["health"] == "healthy" for name in names)
