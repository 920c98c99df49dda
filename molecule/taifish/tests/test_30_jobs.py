"""Jobs that are not lost: not with their worker, and not to a full cache."""

from __future__ import annotations

from collections.abc import Callable

from support import Machine, wait_until
from taifish_site import jobs

JOBS = 1000
FILL = (
    "import os, sys; from taifish.config import CACHE, Config; import redis; "
    "r = redis.Redis.from_url(Config.from_environment().redis_url(CACHE)); "
    "[r.set(f'filler:{n}', os.urandom(2**20), ex=600) for n in range(300)]; "
    "print(r.info('stats')['evicted_keys'])"
)


def enqueue(machine: Machine, service: str = "app") -> int:
    """Queue a thousand jobs that count; return how many had counted before."""
    before = int(jobs(machine)["tally"])
    machine.sh(f"moorage exec taifish {service} python3 -m taifish.jobs enqueue-test {JOBS}")
    return before


def all_done(machine: Machine, before: int) -> bool:
    """Tell whether each of the thousand has counted, once; more is never right."""
    now = jobs(machine)
    assert now["tally"] <= before + JOBS, now
    assert (now["tally"], now["queued"], now["running"]) == (before + JOBS, 0, 0), now
    return True


def test_a_killed_worker_loses_nothing_and_does_nothing_twice(
    settled: Machine, figure: Callable[[str], None]
) -> None:
    before = enqueue(settled)
    wait_until("some are done", lambda: jobs(settled)["tally"] > before + 50)
    pid = settled.status("taifish")["celery_worker"]["pid"]
    container = settled.container_of("taifish", "celery_worker")
    # All of it, the processes that do the work too: they end with their name space.
    settled.sh(f"kill -9 $(docker inspect -f '{{{{.State.Pid}}}}' {container})")
    assert jobs(settled)["tally"] < before + JOBS, "it was killed in the middle of it"
    wait_until("all are done", lambda: all_done(settled, before), seconds=240, every=1)
    assert settled.status("taifish")["celery_worker"]["pid"] != pid


def test_a_full_cache_takes_no_job_away(settled: Machine) -> None:
    settled.sh("moorage stop taifish celery_worker --reason 'a test'")
    try:
        before = int(queued(settled)["tally"])
        settled.sh(f"moorage exec taifish app python3 -m taifish.jobs enqueue-test {JOBS}")
        evicted = settled.sh(f'moorage exec taifish app python3 -c "{FILL}"')
        assert int(evicted) > 0, "the cache was filled beyond what Redis may take"
        assert queued(settled)["queue_length"] >= JOBS
    finally:
        settled.sh("moorage start taifish celery_worker")
    wait_until("all are done", lambda: all_done(settled, before), seconds=120, every=1)


def queued(machine: Machine) -> dict[str, int]:
    """Return what the front end says of jobs, also while no worker runs."""
    return jobs(machine, "app")
