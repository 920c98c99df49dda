"""What became of a request, read from the events that followed it."""

from pathlib import Path

import pytest
from flask import Flask
from flask_babel import Babel

import moorage.panel
from moorage.control import Event, State
from moorage.panel.presentation import details, reason
from moorage.panel.trail import chosen, entries


def request(sequence: int, at: float, action: str, service: str = "web") -> Event:
    """Somebody asks for something."""
    facts = f"op {action}, peer uid 0, pid 7"
    return Event(sequence, at, service, "request", facts, who="ada", reason="why not")


def state(sequence: int, at: float, target: str, service: str = "web") -> Event:
    """A service changes its state."""
    return Event(sequence, at, service, "state", f"starting → {target}, pid 9")


@pytest.mark.parametrize(
    ("action", "steps", "result"),
    [
        ("stop", [(0.1, "stopping"), (8.0, "stopped")], State.STOPPED),
        ("restart", [(0.1, "stopping"), (9.0, "stopped"), (9.1, "starting"), (9.2, "running")],
         State.RUNNING),
        # It ran for a moment: that is no success.
        ("start", [(0.1, "running"), (0.4, "backoff"), (0.5, "fatal")], State.FATAL),
        # What happens an hour later is another matter.
        ("start", [(0.1, "running"), (3600.0, "exited")], State.RUNNING),
        ("start", [], None),
    ],
)  # fmt: skip
def test_the_result_of_a_request(
    action: str, steps: list[tuple[float, str]], result: State | None
) -> None:
    events = [request(1, 0.0, action)]
    events += [state(n, at, target) for n, (at, target) in enumerate(steps, 2)]

    first = entries(events)[0]

    assert (first.action, first.result, first.requested) == (action, result, True)


def test_other_services_and_later_requests_do_not_count() -> None:
    events = [
        request(1, 0.0, "stop"),
        state(2, 0.1, "running", "other"),
        request(3, 0.2, "start"),
        state(4, 0.3, "running"),
    ]
    found = entries(events)
    assert [entry.result for entry in found] == [None, None, State.RUNNING, None]


def test_a_container_s_events_are_understood() -> None:
    asked = Event(1, 0.0, "web", "request", "op restart", who="ada")
    ended = Event(2, 1.0, "web", "state", "→ exited, code 137")
    begun = Event(3, 1.2, "web", "state", "→ running")
    assert entries([asked, ended, begun])[0].result is State.RUNNING


def test_choosing() -> None:
    found = entries(
        [request(1, 0.0, "stop"), state(2, 0.1, "stopped"), state(3, 1, "running", "b")]
    )
    assert [e.event.sequence for e in chosen(found, service="web")] == [1, 2]
    assert [e.event.sequence for e in chosen(found, requested_only=True)] == [1]


@pytest.mark.parametrize(
    ("message", "why", "details_said", "reason_said"),
    [
        ("→ exited, code 3", None, "→ 已结束, 以状态 3 结束", ""),
        ("running → backoff, delay 2.0", "exited with status 3",
         "运行中 → 等待重启, 2.0 秒后再试", "以状态 3 结束"),
        ("running → fatal", "killed by SIGKILL", "运行中 → 失败", "被信号 SIGKILL 终止"),
    ],
)  # fmt: skip
def test_how_it_ended_is_said_in_the_reader_s_language(
    message: str, why: str | None, details_said: str, reason_said: str
) -> None:
    app = Flask("panel")
    folder = Path(moorage.panel.__file__).parent / "translations"
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = str(folder)
    Babel(app, locale_selector=lambda: "zh")
    (entry,) = entries([Event(1, 0.0, "web", "state", message, reason=why)])
    with app.test_request_context():
        assert (details(entry), reason(entry)) == (details_said, reason_said)
