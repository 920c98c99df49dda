"""What dies comes back and nobody beside it is touched; what cannot live ends visibly."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from chatbot_site import STACK, converse, jobs, said, wait_until_done
from support import Machine, wait_until
from update_site import STACK as HARBOUR
from update_site import Harbour

Figure = Callable[[str], None]


def back(machine: Machine, stack: str, name: str, pid: int) -> bool:
    """Tell whether an instance has another process, and is well."""
    now = machine.instances(stack)[name]
    assert now["pid"] not in (0, pid) and now["health"] in ("healthy", "none"), now
    return True


@pytest.mark.parametrize(
    "name",
    [f"{STACK}-task-2", f"{STACK}-server", f"{STACK}-postgres", "harbour-worker", "harbour-web"],
)
def test_a_killed_process_comes_back_and_nobody_else_is_touched(
    settled: Machine, name: str, figure: Figure
) -> None:
    stack = name.partition("-")[0]
    token = converse(settled, f"Who comes back? {name}")
    before = {s: settled.runs(s) for s in (STACK, HARBOUR)}
    pid = settled.instances(stack)[name]["pid"]
    began = time.monotonic()
    settled.sh(f"kill -KILL {pid}")
    wait_until(f"{name} is back", lambda: back(settled, stack, name, pid), seconds=60)
    figure(f"{name} killed: well again, as seen from here, after {time.monotonic() - began:.1f} s")
    after = {s: settled.runs(s) for s in (STACK, HARBOUR)}
    changed = {n for s in before for n in before[s] if after[s].get(n) != before[s][n]}
    assert changed == {name}
    # Of the killed one nothing is left that would go on beside the new one.
    assert settled.host.run(f"kill -0 {pid}").rc != 0
    wait_until("the conversation is there", lambda: said(settled, token), seconds=30)


def test_a_killed_worker_of_uwsgi_is_replaced_by_its_master(settled: Machine) -> None:
    master = settled.instances(STACK)[f"{STACK}-server"]["pid"]
    workers = settled.sh(f"pgrep -P {master}").split()
    assert len(workers) >= 2
    settled.sh(f"kill -KILL {workers[0]}")

    def replaced() -> bool:
        now = settled.sh(f"pgrep -P {master}").split()
        assert len(now) == len(workers) and workers[0] not in now, now
        return True

    wait_until("the master has another worker", replaced)
    assert settled.instances(STACK)[f"{STACK}-server"]["pid"] == master


def test_jobs_of_killed_workers_are_done_exactly_once(settled: Machine) -> None:
    tally = jobs(settled)["tally"]
    jobs(settled, "enqueue-test", "200")
    for name in (f"{STACK}-task", f"{STACK}-task-2"):
        pid = settled.instances(STACK)[name]["pid"]
        settled.sh(f"kill -KILL {pid}")
        wait_until(f"{name} is back", lambda n=name, p=pid: back(settled, STACK, n, p))  # type: ignore[misc]
    wait_until_done(settled, tally + 200)


def test_what_hangs_is_started_anew(site: Harbour) -> None:
    pid = site.instances(HARBOUR)["harbour-web"]["pid"]
    worker = site.instances(HARBOUR)["harbour-worker"]["pid"]
    # It is there and answers nobody: only its health check shows that.
    site.sh(f"kill -STOP {pid}")
    wait_until("it is started anew", lambda: back(site, HARBOUR, "harbour-web", pid), seconds=90)
    assert site.instances(HARBOUR)["harbour-worker"]["pid"] == worker
    wait_until("visitors are answered", site.version)


def test_what_takes_more_memory_than_it_may_is_killed_and_said(site: Harbour) -> None:
    before = site.instances(HARBOUR)["harbour-web"]
    # In the process's own group, where its limit holds.
    group = site.sh(f"grep -E ':memory:|^0::' /proc/{before['pid']}/cgroup | head -n 1")
    path = group.rpartition(":")[2]
    root = "/sys/fs/cgroup/memory" if ":memory:" in group else "/sys/fs/cgroup"
    limit = "memory.limit_in_bytes" if ":memory:" in group else "memory.max"
    assert int(site.sh(f"cat '{root}{path}/{limit}'")) == 128 * 1024 * 1024
    hoard = "import os; x = [bytearray(os.urandom(1024)) * 1024 for _ in range(400)]"
    script = f"echo $$ >'{root}{path}/cgroup.procs' && exec python3 -c '{hoard}'"
    done = site.host.run("sh -c %s", script)
    assert done.rc == 137, f"{done.rc}: {done.stdout}{done.stderr}"
    assert wait_until("it serves", site.version)
