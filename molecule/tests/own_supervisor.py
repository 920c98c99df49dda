"""Our own supervisor on a host: its parts, what runs below it, and how it is killed."""

from __future__ import annotations

from chatbot_site import STACK as CHATBOT
from support import Machine, wait_until
from update_site import STACK as HARBOUR

OWN_USER = 10001
NAMES = {CHATBOT: {"server-1", "task-1", "task-2"}, HARBOUR: {"web-1", "worker-1"}}
WORKER = {CHATBOT: "task", HARBOUR: "worker"}


def unit(stack: str) -> str:
    """Return the one service of systemd that runs a stack's processes."""
    return f"moorage-supervisor-{stack}.service"


def run_dir(stack: str) -> str:
    """Return where the supervisor keeps what is true of this boot."""
    return f"/run/moorage/{stack}/supervisor"


def told(machine: Machine, stack: str, *words: str) -> str:
    """Give the stack's supervisor a command of its own; return what it says."""
    program = "env PYTHONPATH=/usr/local/lib/moorage python3 -P -m process_supervisor"
    return machine.sh(f"{program} -s {run_dir(stack)}/control.sock {' '.join(words)}")


def parts(machine: Machine, stack: str) -> tuple[int, int]:
    """Return the process ids of guardian and supervisor; those that systemd knows of."""
    supervisor = int(told(machine, stack, "pid"))
    guardian = int(machine.sh(f"ps -o ppid= -p {supervisor}"))
    shown = machine.sh(f"systemctl show --property MainPID --value {unit(stack)}")
    assert shown == str(guardian), (shown, guardian)
    return guardian, supervisor


def kill(machine: Machine, stack: str, *which: int, meanwhile: str = "true") -> None:
    """Kill these of guardian (0) and supervisor (1), and wait until there are others.

    Between the last moment of those and the first one of these a shell command is run.
    """
    before = parts(machine, stack)
    victims = " ".join(str(before[number]) for number in which)
    machine.sh(f"kill -STOP {victims} && {{ {meanwhile}; }}; kill -KILL {victims}")

    def back() -> bool:
        now = parts(machine, stack)
        assert all(now[number] != before[number] for number in which), (before, now)
        return True

    wait_until("there are others", back, seconds=60)


def tops(machine: Machine) -> set[int]:
    """Return what runs as the stacks' user and not below another process of theirs."""
    lines = machine.sh(f"ps -o pid=,ppid= -u {OWN_USER}").splitlines()
    found = {int(pid): int(parent) for pid, parent in map(str.split, lines)}
    return {pid for pid, parent in found.items() if parent not in found}


def own_runs(machine: Machine) -> set[int]:
    """Return the main processes of both stacks, data services apart."""
    found = [i for stack in NAMES for i in machine.instances(stack).values()]
    return {i["pid"] for i in found if i["pid"] and "@" not in i["id"]}


def nothing_beside(machine: Machine) -> bool:
    """Make sure that of each there is one: health checks come and go."""
    found, wanted = tops(machine), own_runs(machine)
    assert found == wanted, (found, wanted)
    return True


def assert_untouched(machine: Machine, before: dict[str, dict[str, str]]) -> None:
    """Make sure that all run on that ran, and nothing beside them."""
    assert {stack: machine.runs(stack) for stack in before} == before
    wait_until("nothing runs twice", lambda: nothing_beside(machine))


def assert_watched(machine: Machine) -> None:
    """Make sure that supervisors that came back notice an end."""
    before = {f"{stack}-{name}": stack for stack, name in WORKER.items()}
    pids = {name: machine.instances(stack)[name]["pid"] for name, stack in before.items()}
    machine.sh(f"kill -KILL {' '.join(map(str, pids.values()))}")

    def back() -> bool:
        now = {name: machine.instances(stack)[name]["pid"] for name, stack in before.items()}
        assert all(now[name] not in (0, pid) for name, pid in pids.items()), (pids, now)
        return nothing_beside(machine)

    wait_until("others run, and nothing twice", back, seconds=60)
