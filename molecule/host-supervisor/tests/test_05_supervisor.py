"""What Supervisor knows of the stacks: docs/supervisor-commands.md, command by command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from chatbot_site import STACK as G
from chatbot_site import call, jobs, wait_until_done
from support import Machine, wait_until
from update_lost import STARTED_AS_PROCESS, recover
from update_site import Harbour, Operator, wait_for_phase

SERVICES = ("server", "task", "task-2")
# By the document that its operators have; the second slot of an update has a _b behind it.
NAMES = {"server": f"{G}_server", "task": f"{G}_task_00", "task-2": f"{G}_task_01"}
LOGS = Path("/var/log/supervisor")
CONFIGURATION = f"/etc/supervisor/conf.d/{G}.conf"
PROGRAMS = f"/opt/{G}/processes"


def ctl(machine: Machine, words: str) -> tuple[int, str]:
    """Give Supervisor's shell a command; return its status and what it says."""
    done = machine.host.run(f"supervisorctl {words}")
    return int(done.rc), str(done.stdout + done.stderr).strip()


def programs(machine: Machine) -> dict[str, str]:
    """Return the program of each service, which is the one of its slot."""
    found = machine.instances(G)
    return {service: found[f"{G}-{service}"]["id"] for service in SERVICES}


def pids(machine: Machine) -> dict[str, int]:
    """Return who runs of the group, as Supervisor has it."""
    said = ctl(machine, f"status '{G}:*'")[1]
    return {n: int(p) for n, p in re.findall(rf"^{G}:(\S+) +RUNNING +pid (\d+),", said, re.M)}


def own_pids(machine: Machine) -> set[int]:
    """Return every process that runs code of the stack, whoever has started it."""
    return {int(pid) for pid in machine.sh(f"pgrep -f '^/opt/{G}/environments' || true").split()}


def anew(machine: Machine, wanted: set[str], before: dict[str, int]) -> dict[str, int]:
    """Return who runs once that is who is wanted, none of them as before."""
    now = pids(machine)
    assert set(now) == wanted and not set(now.values()) & set(before.values()), now
    return now


def marked(machine: Machine, program: str) -> bool:
    """Tell whether a program is to start with the host."""
    return bool(machine.host.file(f"{PROGRAMS}/{program}.start").exists)


@pytest.fixture
def stopped(settled: Machine) -> Iterator[str]:
    """A worker that an operator has stopped by Supervisor's shell, and it is noted for good."""
    program = programs(settled)["task-2"]
    assert ctl(settled, f"stop {G}:{program}") == (0, f"{G}:{program}: stopped")
    try:
        wait_until("it is noted", lambda: not marked(settled, program))
        yield program
    finally:
        assert ctl(settled, f"start {G}:{program}") == (0, f"{G}:{program}: started")
        wait_until("it starts with the host again", lambda: marked(settled, program))


def test_group_programs_files_and_logs_are_those_of_the_document(settled: Machine) -> None:
    instances, found = settled.instances(G), programs(settled)
    assert {s: p.removesuffix("_b") for s, p in found.items()} == NAMES
    assert pids(settled) == {found[s]: instances[f"{G}-{s}"]["pid"] for s in SERVICES}
    kept = settled.sh(f"cat {CONFIGURATION}")
    assert f"[group:{G}]\nprograms=" in kept
    for program in NAMES.values():
        assert f"[program:{program}]\n" in kept
        assert settled.sh(f"cat {LOGS / program}.log"), program


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        # A service has programs in reserve, so there is always one that does not run.
        ("status", 3, r"^{G}:{server} +RUNNING +pid \d+, uptime (?s:.)*^harbour:harbour_web"),
        ("status '{G}:*'", 3, r"\A(?:{G}:\S+ +(?:RUNNING|STOPPED|EXITED) [^\n]*(?:\n|\Z))+\Z"),
        ("status {server}", 4, r"^{server}: ERROR \(no such process\)$"),
        ("status {G}:{server}", 0, r"^{G}:{server} +RUNNING "),
        ("restart {server}", 1, r"^{server}: ERROR \(no such process\)$"),
        ("restart {G}_task:{task}", 1, r"^{G}_task:{task}: ERROR \(no such process\)$"),
        ("logs {server}", 1, r"^\*\*\* Unknown syntax: logs {server}$"),
        ("logs {G}_task:{task}", 1, r"^\*\*\* Unknown syntax: logs "),
        ("logs {server} stderr", 1, r"^\*\*\* Unknown syntax: logs "),
        ("tail {server}", 1, r"^{server}: ERROR \(no such process name\)$"),
        ("tail {G}:{server}", 0, r"\S"),
        ("tail -100 {G}:{task}", 0, r"\A(?s:.){{1,100}}\Z"),
        ("tail {G}:{server} stderr", 1, r"^{G}:{server}: ERROR \(no log file\)$"),
        ("reread", 0, r"\ANo config updates to processes\Z"),
        ("update", 0, r"\A\Z"),
        ("avail", 0, r"^{G}:{server} +in use "),
    ],
)
def test_a_command_does_what_is_written_down(
    settled: Machine, words: str, status: int, said: str
) -> None:
    names = {"G": G, **{s.replace("-", ""): p for s, p in programs(settled).items()}}
    before = settled.runs(G) | settled.runs("harbour")
    found = ctl(settled, words.format(**names))
    assert found[0] == status, found
    assert re.search(said.format(**names), found[1], re.M), found[1]
    assert settled.runs(G) | settled.runs("harbour") == before, "nobody was touched"


def test_a_variable_of_the_shell_changes_nothing(settled: Machine) -> None:
    before = settled.runs(G)
    settled.sh("export WS=4; supervisorctl reread && supervisorctl update")
    assert settled.runs(G) == before


def test_a_log_is_followed(settled: Machine) -> None:
    program, path = programs(settled)["task"], "/tmp/followed"
    command = f"exec timeout 120 supervisorctl tail -f {G}:{program} >{path} 2>&1"
    pid = settled.sh(f"setsid sh -c '{command}' </dev/null >/dev/null 2>&1 & echo $!")
    try:
        wait_until("it follows", lambda: "Press Ctrl-C" in settled.sh(f"cat {path}"))
        assert ctl(settled, f"restart {G}:{program}")[0] == 0
        seen = settled.sh(f"cat {path}")
        wait_until("it shows what is new", lambda: len(settled.sh(f"cat {path}")) > len(seen))
    finally:
        settled.sh(f"kill {pid}; rm {path}")


def test_one_process_is_restarted_and_no_other(settled: Machine) -> None:
    before, program = pids(settled), programs(settled)["server"]
    words = f"{G}:{program}: stopped\n{G}:{program}: started"
    assert ctl(settled, f"restart {G}:{program}") == (0, words)
    after = pids(settled)
    assert {name for name in after if after[name] != before[name]} == {program}


def test_the_group_is_restarted_stopped_and_started(settled: Machine) -> None:
    tally, wanted = jobs(settled)["tally"], set(programs(settled).values())
    jobs(settled, "enqueue-test", "100")
    before = pids(settled)
    status, said = ctl(settled, f"restart '{G}:*'")
    assert status == 0, said
    # All are stopped before the first one starts.
    words = re.findall(r": (stopped|started)$", said, re.M)
    assert words == sorted(words, reverse=True) and len(words) > 2 * len(SERVICES), said
    now = wait_until("all run anew", lambda: anew(settled, wanted, before), seconds=90)
    # Those in reserve, which have nothing to run, were not started over and over.
    spare = settled.sh(f"cat {LOGS}/{G}_task_07.log").splitlines()
    nothing = {f"{G}_task_07{slot} has nothing to run" for slot in ("", "_b")}
    assert set(spare[-2:]) == nothing, spare

    assert ctl(settled, f"stop '{G}:*'")[0] == 0
    assert pids(settled) == {} and own_pids(settled) == set()
    shown = settled.status(G)
    assert {shown[service]["state"] for service in SERVICES} == {"STOPPED"}, shown
    assert ctl(settled, f"start '{G}:*'")[0] == 0
    wait_until("all run again", lambda: anew(settled, wanted, now), seconds=90)
    wait_until("it answers", lambda: call(settled, "/conversations"), seconds=90)
    wait_until("it starts with the host", lambda: all(marked(settled, name) for name in wanted))
    assert len(settled.sh(f"cat {LOGS}/{G}_task_07.log").splitlines()) == len(spare) + 2
    wait_until_done(settled, tally + 100)


def test_a_killed_supervisord_comes_back_with_one_set_of_processes(
    settled: Machine, stopped: str
) -> None:
    unit = settled.sh("systemctl show supervisor --property Restart,RestartUSec,KillMode").split()
    assert set(unit) == {"Restart=on-failure", "RestartUSec=1s", "KillMode=mixed"}
    before = pids(settled)
    assert set(before) == set(programs(settled).values()) - {stopped}
    settled.sh("kill -KILL $(systemctl show --property MainPID --value supervisor)")
    now = wait_until(
        "another one runs them", lambda: anew(settled, set(before), before), seconds=90
    )

    def alone() -> bool:
        there, main = own_pids(settled), set(now.values())
        parents = "".join(f"echo {pid} $(ps -o ppid= {pid});" for pid in there)
        pairs = [line.split() for line in settled.sh(parents).splitlines()]
        others = [pair for pair in pairs if not {int(pid) for pid in pair} & main]
        assert main <= there and not others, (now, pairs)
        return True

    # Whatever runs code of the stack is one of these, or a child of one.
    wait_until("what was left has ended", alone, seconds=90)
    assert call(settled, "/conversations")
    worker = settled.status(G)["task-2"]
    assert (worker["state"], worker["wanted"]) == ("STOPPED", "down"), worker


def test_a_reload_starts_all_that_ran_anew(settled: Machine, stopped: str) -> None:
    before = pids(settled)
    assert ctl(settled, "reload") == (0, "Restarted supervisord")
    wait_until("all run anew", lambda: anew(settled, set(before), before), seconds=90)
    assert not marked(settled, stopped)


def test_an_update_in_whose_midst_supervisord_was_killed_is_recovered(settled: Machine) -> None:
    site, operator = Harbour(settled.name), Operator("host")
    build = {"WEB_VERSION": "killed", "WORKER_VERSION": "killed"}
    with operator.updating(site.name, build) as process:
        wait_for_phase(site, process, "started", STARTED_AS_PROCESS)
        settled.sh("kill -KILL $(systemctl show --property MainPID --value supervisor)")
        process.wait(timeout=300)
    recover(site, operator, build)


def test_a_stop_lasts_over_a_restart_of_supervisord_and_of_the_host(
    settled: Machine, stopped: str
) -> None:
    program = programs(settled)
    settled.sh(f"moorage stop {G} task --reason 'a test'")
    try:
        for again in (lambda: settled.sh("systemctl restart supervisor"), settled.restart):
            assert set(pids(settled)) == {program["server"]}
            again()
            wait_until("it serves", lambda: call(settled, "/conversations"), seconds=120)
            assert set(pids(settled)) == {program["server"]} and not marked(settled, stopped)
            shown = settled.status(G)
            assert {shown[s]["wanted"] for s in ("task", "task-2")} == {"down"}, shown
    finally:
        settled.sh(f"moorage start {G} task")
    wait_until("it works", lambda: set(pids(settled)) == {program["server"], program["task"]})


def test_logs_are_rotated_and_go_on(settled: Machine) -> None:
    daemon = settled.sh("systemctl show --property MainPID --value supervisor")
    path = LOGS / f"{NAMES['task']}.log"
    said = settled.sh(f"cat {path}")
    settled.sh("logrotate --force /etc/logrotate.d/moorage-supervisor")
    assert settled.sh(f"cat {path}.1") == said
    wait_until(
        "supervisord writes to new files",
        lambda: not settled.sh(f"find /proc/{daemon}/fd -lname '{LOGS}/*.log.1'"),
    )
    assert ctl(settled, f"restart {G}:{programs(settled)['task']}")[0] == 0
    wait_until("it says that it starts", lambda: settled.sh(f"cat {path}"))
    assert settled.sh(f"cat {path}.1") == said


@pytest.mark.parametrize("user", [10001, 10004, 65534])
def test_nobody_but_root_commands_it_or_reads_its_logs(settled: Machine, user: int) -> None:
    # The application's, the database's and anybody's, on the host and in what processes see.
    enter = [f"setpriv --reuid {user} --regid {user} --clear-groups --"]
    for found in settled.instances(G).values():
        if found["pid"]:
            enter.append(f"nsenter -t {found['pid']} -m --setuid {user} --setgid {user} --")
    ask = "import socket; socket.socket(socket.AF_UNIX).connect('/run/supervisor.sock')"
    for inside in enter:
        for command in (f"cat {LOGS}/{NAMES['server']}.log", f'python3 -c "{ask}"'):
            done = settled.host.run(f"{inside} {command}")
            assert done.rc != 0 and re.search("denied|refused", done.stderr), (inside, done)
