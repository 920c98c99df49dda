"""What a supervisor decides of its processes, with stand-ins for them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from process_supervisor.config.settings import ProcessConfig, parse
from process_supervisor.service.main_process import Ending
from process_supervisor.service.process import Process as RealProcess
from process_supervisor.service.states import Health, State
from process_supervisor.supervisor import reload, resume
from process_supervisor.supervisor.supervisor import Supervisor, met, saved, stoppable


def config(command: str = "serve", **settings: Any) -> ProcessConfig:
    entry = {"name": "web", "command": [command], **settings}
    return parse(json.dumps({"version": 1, "processes": [entry]})).processes["web"]


class Process:
    """A process that only says what was asked of it."""

    def __init__(self, config: ProcessConfig, _: Any = None, wanted: bool = True) -> None:
        self.config, self.wanted = config, wanted
        self.state = State.RUNNING if wanted else State.STOPPED
        self.asked: list[str] = []

    def start(self) -> None:
        self.asked.append("start")

    def stop(self, then_start: bool = False) -> None:
        self.asked.append("restart" if then_start else "stop")

    def reconfigure(self, config: ProcessConfig) -> None:
        self.config = config
        self.asked.append("take")


class World:
    """What `apply` sees of a supervisor."""

    def __init__(self, *processes: Process) -> None:
        self.processes = {process.config.name: process for process in processes}
        self.leaving: set[str] = set()
        self.stopped_by_operator: set[str] = set()
        self.uncompleted: list[str] = []

    def note_completed(self, name: str, done: bool) -> None:
        assert not done
        self.uncompleted.append(name)

    def apply(self, new: ProcessConfig) -> tuple[str, list[str], list[str]]:
        """Return the list of the result, what was asked of the process, and who restarts."""
        restarted: list[str] = []
        found = reload.apply(cast(Supervisor, self), "web", new, restarted)
        process = self.processes["web"]
        assert process.config == new
        return found, process.asked, restarted


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "Process", Process)


def test_what_is_new_starts_unless_it_shall_not_or_somebody_has_stopped_it() -> None:
    assert World().apply(config()) == ("added", ["start"], [])
    assert World().apply(config(autostart=False)) == ("added", [], [])
    world = World()
    world.stopped_by_operator.add("web")
    assert world.apply(config()) == ("added", [], [])


def test_what_is_the_same_is_left_alone() -> None:
    assert World(Process(config())).apply(config()) == ("unchanged", [], [])


def test_another_command_is_a_restart_of_what_shall_run_alone() -> None:
    world = World(Process(config()))
    assert world.apply(config("other")) == ("changed", ["take", "restart"], ["web"])
    # What waits for its end waits for that of the new one.
    assert world.uncompleted == ["web"]
    stopped = World(Process(config(), wanted=False))
    assert stopped.apply(config("other")) == ("changed", ["take"], [])


def test_other_keys_apply_to_what_runs() -> None:
    world = World(Process(config()))
    assert world.apply(config(stop_grace=77)) == ("changed", ["take"], [])
    assert world.uncompleted == []


def test_what_may_start_now_does_unless_somebody_has_stopped_it() -> None:
    def world() -> World:
        return World(Process(config(autostart=False), wanted=False))

    assert world().apply(config()) == ("changed", ["take", "start"], [])
    held = world()
    held.stopped_by_operator.add("web")
    assert held.apply(config()) == ("changed", ["take"], [])
    over = world()
    over.processes["web"].state = State.EXITED  # it was started by hand, and that was its turn
    assert over.apply(config()) == ("changed", ["take"], [])


def test_what_was_taken_out_and_comes_back_starts_when_it_has_ended() -> None:
    for autostart, asked in ((True, "restart"), (False, "stop")):
        world = World(Process(config()))
        world.leaving.add("web")
        new = config(autostart=autostart)
        assert world.apply(new) == ("added", ["take", asked], [])
        assert world.leaving == set()


RUNS = {"state": State.RUNNING, "health": Health.NONE, "exit": None}


@pytest.mark.parametrize(
    ("facts", "started", "healthy", "completed"),
    [
        (RUNS, True, False, False),
        ({**RUNS, "health": Health.HEALTHY}, True, True, False),
        ({**RUNS, "health": Health.UNHEALTHY}, True, False, False),
        ({**RUNS, "state": State.STARTING, "health": Health.HEALTHY}, False, False, False),
        ({**RUNS, "state": State.EXITED, "exit": {"code": 0}}, True, False, True),
        ({**RUNS, "state": State.EXITED, "exit": {"code": 1}}, False, False, False),
        ({**RUNS, "state": State.EXITED, "exit": {"code": None}}, False, False, False),
        ({**RUNS, "state": State.EXITED}, False, False, False),
        ({**RUNS, "state": State.STOPPED, "exit": {"code": 0}}, False, False, False),
    ],
)
def test_a_dependency_is_met_by_what_is_true_now(
    facts: dict[str, Any], started: bool, healthy: bool, completed: bool
) -> None:
    other: Any = SimpleNamespace(**facts)
    found = [met(other, condition) for condition in ("started", "healthy", "completed")]
    assert found == [started, healthy, completed]


def process(state: State, *needs: str, quiet: bool = False) -> Any:
    return SimpleNamespace(
        state=state, quiet=quiet, config=SimpleNamespace(depends_on=dict.fromkeys(needs, "x"))
    )


def test_nothing_is_stopped_before_what_stands_on_it() -> None:
    web, db = process(State.RUNNING, "db"), process(State.RUNNING)
    assert list(stoppable({"db": db, "web": web})) == ["web"]
    ended = process(State.STOPPED, "db", quiet=True)
    assert list(stoppable({"db": db, "web": ended})) == ["db"]
    # What waits for a restart is stopped too, what has ended is not.
    waits = process(State.BACKOFF)
    assert list(stoppable({"a": waits, "b": process(State.EXITED, quiet=True)})) == ["a"]


# -- going on after a supervisor that was killed --------------------------------------------


class Survivor:
    """A process of which the next supervisor finds what the last one has saved."""

    def __init__(self, found: bool) -> None:
        self.name, self.mark, self.found = "web", 1, found
        self.state, self.config = State.STOPPED, config()
        self.did: list[Any] = []
        self.supervisor: Any = SimpleNamespace(
            events=SimpleNamespace(add=lambda *_, **__: None),
            orphans=list,
            guardian=SimpleNamespace(ended=lambda pid, start: (9, 5.0) if pid == 7 else None),
            stopped_by_operator=set(),
        )

    def adopt(self, pid: int, start: int, health: Health) -> bool:
        self.did.append(("adopt", pid, start, health))
        return self.found

    def continue_stop(self) -> None:
        self.did.append("continue stop")

    def ended(self, ending: Any) -> None:
        self.did.append(ending.describe())


STATE: dict[str, Any] = {
    "state": "RUNNING", "wanted": True, "reason": "why", "pid": 7, "start_ticks": 70,
    "started_at": 1.0, "started": 2.0, "restarts": 3, "failures": 4, "exit": {"code": 5},
    "log_tail": ["last"], "health": "healthy", "retry_at": 6.0, "lacked_memory": 8.0,
    "memory_kills": 9, "turn": True,
}  # fmt: skip


def restored(found: bool, **change: Any) -> tuple[Any, list[Any]]:
    process: Any = Survivor(found)
    resume.restore(cast(RealProcess, process), STATE | change)
    return process, process.did


ADOPT = ("adopt", 7, 70, Health.HEALTHY)


def test_what_runs_on_is_adopted_with_all_that_was_known_of_it() -> None:
    process, did = restored(True)
    assert did == [ADOPT]
    process.pid, process.main = 7, SimpleNamespace(start_ticks=70)
    process.health = Health.HEALTHY
    assert saved(process) == STATE


def test_a_stop_that_was_under_way_goes_on() -> None:
    assert restored(True, state="STOPPING")[1] == [ADOPT, "continue stop"]


def test_what_has_ended_meanwhile_ended_as_the_guardian_saw_it() -> None:
    assert restored(False)[1] == [ADOPT, "killed by SIGKILL"]
    assert restored(False, state="STOPPING")[1] == [ADOPT, "killed by SIGKILL"]
    unknown = restored(False, pid=8)[1]
    assert "exit status unknown" in unknown[1]


@pytest.mark.parametrize("state", ["STOPPED", "EXITED", "FATAL", "BACKOFF", "STARTING"])
def test_what_had_no_process_gets_none(state: str) -> None:
    process, did = restored(True, state=state)
    assert did == [] and process.state == state


@pytest.mark.parametrize(
    ("state", "wanted", "autostart", "held", "shall"),
    [
        ("STARTING", True, False, False, True),
        ("BACKOFF", True, True, False, True),
        ("STOPPED", False, True, False, True),
        ("STOPPED", False, False, False, False),
        ("STOPPED", False, True, True, False),
        ("FATAL", True, True, False, False),
        ("EXITED", True, True, False, False),
    ],
)
def test_what_is_found_without_a_record_runs_on_if_it_would_be_started(
    state: str, wanted: bool, autostart: bool, held: bool, shall: bool
) -> None:
    process: Any = Survivor(True)
    process.state, process.wanted = State(state), wanted
    process.config = config(autostart=autostart)
    process.supervisor.stopped_by_operator = {"web"} if held else set()
    assert resume.shall_run(process) is shall


@pytest.mark.parametrize(
    ("code", "signal", "killed", "words"),
    [
        (None, 9, True, "killed by SIGKILL"),
        (137, None, True, "exited with status 137"),
        (None, 15, False, "killed by SIGTERM"),
        (None, 63, False, "killed by signal 63"),
        (0, None, False, "exited with status 0"),
        (9, None, False, "exited with status 9"),
        (None, None, False, "exit status unknown"),
    ],
)
def test_an_end_says_what_it_was(
    code: int | None, signal: int | None, killed: bool, words: str
) -> None:
    ending = Ending(code, signal, 5.0)
    assert ending.killed is killed and words in ending.describe()
    assert ending.as_dict() == {"code": code, "signal": signal, "at": 5.0}


def test_an_end_is_read_from_its_wait_status() -> None:
    assert vars_of(Ending.of_record((9, 5.0))) == (None, 9, 5.0)
    assert vars_of(Ending.of_record((3 << 8, 5.0))) == (3, None, 5.0)
    assert vars_of(Ending.of_record(None))[:2] == (None, None)


def vars_of(ending: Ending) -> tuple[int | None, int | None, float]:
    return ending.code, ending.signal, ending.at
