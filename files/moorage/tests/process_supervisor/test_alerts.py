"""Alerts: when somebody is told, as a pure machine; and that they arrive, at real receivers."""

from __future__ import annotations

import json
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from process_supervisor.alerts.alerts import Alerts
from process_supervisor.alerts.channels import Mail, post
from process_supervisor.alerts.policy import EVERYTHING, Policy
from process_supervisor.common.events import Events
from process_supervisor.common.loop import EventLoop
from process_supervisor.config.plugins import AlertsConfig, PluginConfig
from process_supervisor.config.reader import ConfigError, Reader
from process_supervisor.config.settings import Config
from process_supervisor.plugins.helper import Helper, Trouble
from process_supervisor.plugins.plugins import Plugins

if TYPE_CHECKING:
    from files.moorage.tests.process_supervisor.conftest import Rig

SOURCES = Path(__file__).parents[2] / "src"


def policy(**settings: Any) -> Policy:
    problems: list[str] = []
    made = Policy(AlertsConfig(Reader(settings, "alerts", problems), "."))
    assert not problems
    return made


def step(machine: Policy, at: float, to: str, name: str = "web", **facts: Any) -> None:
    machine.happened({"event": "state", "at": at, "process": name, "from": "X", "to": to, **facts})


def told(machine: Policy, at: float, arrived: bool = True) -> list[str]:
    """What is told at a moment, and arrives or not."""
    messages = machine.due(at)
    for message in messages:
        machine.told(message["keys"], at, arrived)
    return [f"{message['state']}: {message['summary']}" for message in messages]


FATAL = "firing: web is not restarted any more"
OVER = "resolved: over: web is not restarted any more"


def test_it_is_told_once_then_now_and_then_and_when_it_is_over() -> None:
    machine = policy(repeat_seconds=1000, settle_seconds=60)
    step(machine, 0, "FATAL")
    assert told(machine, 0) == [FATAL]
    step(machine, 5, "FATAL")
    assert told(machine, 5) == told(machine, 999) == []
    assert machine.next(5) == 1000
    assert told(machine, 1000) == [FATAL]
    step(machine, 1100, "RUNNING")
    assert told(machine, 1100) == [] and machine.next(1100) == 1160
    # What comes and goes is not over.
    step(machine, 1110, "FATAL")
    step(machine, 1120, "RUNNING")
    assert told(machine, 1160) == []
    assert told(machine, 1180) == [OVER]
    assert told(machine, 9999) == [] and machine.alerts == {}


def test_what_was_over_before_anybody_heard_of_it_is_not_told() -> None:
    machine = policy(settle_seconds=60)
    machine.silence("web", 50)
    step(machine, 0, "FATAL")
    step(machine, 10, "RUNNING")
    assert told(machine, 20) == []
    assert told(machine, 80) == [] and machine.alerts == {}


def test_an_operator_who_stops_it_ends_it() -> None:
    machine = policy(settle_seconds=60)
    step(machine, 0, "FATAL")
    assert told(machine, 0) == [FATAL]
    step(machine, 5, "STOPPED")
    assert told(machine, 5) == [OVER]


def test_what_did_not_arrive_is_told_again() -> None:
    machine = policy()
    step(machine, 0, "FATAL")
    assert told(machine, 0, arrived=False) == [FATAL]
    assert told(machine, 1) == [FATAL]
    assert told(machine, 2) == []


def test_what_arrives_late_does_not_hide_what_came_meanwhile() -> None:
    machine = policy(settle_seconds=60)
    step(machine, 0, "FATAL")
    (late,) = machine.due(0)
    step(machine, 10, "RUNNING")
    assert told(machine, 100) == []
    machine.told(late["keys"], 200, True)
    (late,) = machine.due(200)
    assert late["summary"] == "over: web is not restarted any more"
    step(machine, 210, "FATAL")
    assert told(machine, 210) == []
    machine.told(late["keys"], 300, True)
    assert told(machine, 300) == [FATAL]


def test_what_happens_again_and_again_is_told_now_and_then() -> None:
    machine = policy(repeat_seconds=14_400)
    moments = []
    for hour in range(9):
        machine.happened({"event": "oom", "at": hour * 3600, "process": "web", "reason": "x"})
        moments += [hour] * len(told(machine, hour * 3600))
    assert moments == [0, 4, 8]


def test_a_clock_that_is_set_back_silences_nobody_for_long() -> None:
    machine = policy(per_hour=1, repeat_seconds=1000)
    step(machine, 1e6, "FATAL")
    assert told(machine, 1e6) == [FATAL]
    step(machine, 5, "RUNNING")
    step(machine, 5, "FATAL", "other")
    assert told(machine, 5) == []
    assert told(machine, 3605) != []


def test_restarts_count_where_they_are_many() -> None:
    machine = policy(restarts=3, restarts_seconds=100)
    for at in (0, 60, 120, 140):
        assert told(machine, at) == []
        step(machine, at, "BACKOFF", reason="exit status 1")
    assert told(machine, 169) == [] and machine.next(169) == 170
    assert told(machine, 170) == ["firing: web is restarted again and again: exit status 1"]
    step(machine, 200, "BACKOFF")
    assert told(machine, 251) == []
    assert told(machine, 301) == ["resolved: over: web is restarted again and again"]


def test_what_fails_at_once_is_told_of_once() -> None:
    machine = policy(restarts=3)
    for at in (0, 1, 3, 7, 15):
        step(machine, at, "BACKOFF")
        assert told(machine, at) == []
    step(machine, 20, "FATAL")
    assert told(machine, 20) == [FATAL]
    assert told(machine, 60) == []
    # Who restarted for long before has been told of.
    machine = policy(restarts=3, restarts_seconds=100)
    for at in (0, 10, 20, 50):
        step(machine, at, "BACKOFF", reason="exit status 1")
    assert told(machine, 50) == ["firing: web is restarted again and again: exit status 1"]
    step(machine, 60, "FATAL")
    assert told(machine, 60) == [FATAL]


def test_silence_holds_for_a_time_and_for_whom_it_is_meant() -> None:
    machine = policy()
    machine.silence("web", 100)
    step(machine, 0, "FATAL")
    step(machine, 0, "FATAL", "other")
    assert told(machine, 0) == ["firing: other is not restarted any more"]
    assert machine.next(0) == 100
    assert told(machine, 100) == [FATAL]
    machine.silence(EVERYTHING, 300)
    step(machine, 200, "FATAL", "third")
    assert told(machine, 200) == []
    machine.silence(EVERYTHING, 0)
    assert told(machine, 201) == ["firing: third is not restarted any more"]


def test_a_flood_is_told_in_one_message() -> None:
    machine = policy(per_hour=3)
    for number in range(100):
        step(machine, 0, "FATAL", f"p{number}", reason="\N{ANCHOR}" * 500)
    found = machine.due(0)
    assert [item["state"] for item in found] == ["firing", "firing", "many"]
    assert len(json.dumps(found[2])) < 60_000  # as much as a helper is told at once
    assert found[2]["count"] == 98 and "p2 is not restarted" in found[2]["reason"]
    for message in found:
        machine.told(message["keys"], 0, True)
    step(machine, 10, "FATAL", "late")
    assert told(machine, 10) == [] and machine.next(10) == 3600
    assert told(machine, 3600) == ["firing: late is not restarted any more"]


def test_events_and_what_they_mean() -> None:
    machine = policy(settle_seconds=0)
    machine.happened({"event": "health", "at": 0, "process": "a", "to": "unhealthy", "reason": "x"})
    machine.happened({"event": "oom", "at": 0, "process": "b", "reason": "y"})
    machine.happened({"event": "error", "at": 0, "reason": "cannot save state: no space"})
    machine.happened({"event": "plugin", "at": 0, "plugin": "q", "reason": "it has ended"})
    machine.happened({"event": "supervisor resumed", "at": 0})
    step(machine, 0, "EXITED", "c", exit={"code": 3}, reason="exit status 3")
    step(machine, 0, "EXITED", "d", exit={"code": 0})
    assert sorted(told(machine, 0)) == [
        "firing: a is unhealthy: x",
        "firing: b was killed for want of memory: y",
        "firing: c has ended with a failure: exit status 3",
        "firing: plug-in q does not work: it has ended",
        "firing: supervisor had ended and was started again",
        "firing: supervisor has trouble: cannot save state: no space",
    ]
    machine.happened({"event": "health", "at": 9, "process": "a", "to": "healthy"})
    machine.happened({"event": "plugin", "at": 9, "plugin": "q"})
    machine.happened({"event": "reloaded", "at": 9, "removed": ["c"]})
    assert sorted(told(machine, 10)) == [
        "resolved: over: a is unhealthy",
        "resolved: over: c has ended with a failure",
        "resolved: over: plug-in q does not work",
    ]


def test_the_next_supervisor_goes_on() -> None:
    machine = policy()
    step(machine, 0, "FATAL")
    step(machine, 0, "FATAL", "other")
    machine.silence("other", 1000)
    assert told(machine, 0) == [FATAL]
    following = policy()
    following.restore(json.loads(json.dumps(machine.as_dict())))
    assert told(following, 5) == []
    assert told(following, 1000) == ["firing: other is not restarted any more"]
    following.restore(machine.as_dict())
    following.began(9, {"other"})
    assert [(item.subject, item.over) for item in following.alerts.values()] == [
        ("web", 9), ("other", None),
    ]  # fmt: skip
    all_damaged: list[dict[str, Any]]
    whole = machine.as_dict()["alerts"][0]
    all_damaged = [
        {"alerts": [{**whole, "over": "x"}]},
        {"alerts": 3},
        {"alerts": [{}]},
        {"silences": {"a": "x"}},
        {"left": None},
    ]
    for damaged in all_damaged:
        following.restore(damaged)
        assert following.alerts == {}


class Receiver:
    """A web server and a mail server that keep what they are given."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, str], Any]] = []
        self.mails: list[str] = []
        self.status = 200
        receiver = self

        class Web(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if receiver.status == 200:
                    receiver.posts.append((self.path, dict(self.headers), body))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Mail(socketserver.StreamRequestHandler):
            """As much of SMTP (RFC 5321) as a client without extensions says."""

            def handle(self) -> None:
                self.wfile.write(b"220 here\r\n")
                while line := self.rfile.readline().strip().upper():
                    if line.startswith(b"DATA"):
                        self.wfile.write(b"354 go on\r\n")
                        text = b""
                        while (part := self.rfile.readline()) != b".\r\n":
                            text += part
                        receiver.mails.append(text.decode())
                    if line.startswith(b"QUIT"):
                        self.wfile.write(b"221 bye\r\n")
                        return
                    self.wfile.write(b"250 yes\r\n")

        self.web = ThreadingHTTPServer(("127.0.0.1", 0), Web)
        self.mail = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)
        for server in (self.web, self.mail):
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def end(self) -> None:
        for server in (self.web, self.mail):
            server.shutdown()
            server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.end()


def told_by(rig: Rig, receiver: Receiver) -> list[dict[str, Any]]:
    """Channels of each kind."""
    web, mail = (server.server_address[1] for server in (receiver.web, receiver.mail))
    secret = rig.path("token")
    secret.write_text("12:secret\n")
    script = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10))"
    return [
        {"name": "hook", "type": "webhook", "url": f"http://127.0.0.1:{web}/hook"},
        {
            "name": "sms", "type": "webhook", "url": f"http://127.0.0.1:{web}/sms",
            "headers": {"X-Key": "k"}, "body": {"to": ["+49"], "text": "$host: $summary"},
        },
        {
            "name": "post", "type": "mail", "from": "moorage@example.com",
            "to": "ops@example.com", "host": "127.0.0.1", "port": mail,
        },
        {
            "name": "bot", "type": "telegram", "token_file": "token", "chat_id": 7,
            "url": f"http://127.0.0.1:{web}",
        },
        {
            "name": "script", "type": "command",
            "command": [sys.executable, "-c", script, str(rig.path("said"))],
        },
    ]  # fmt: skip


def test_every_channel_is_told_and_hears_when_it_is_over(rig: Rig, receiver: Receiver) -> None:
    alerts = {"channels": told_by(rig, receiver), "settle_seconds": 0.1}
    rig.more = {"alerts": alerts}
    crash = {"command": ["sh", "-c", "test -e go && exec sleep 1000; exit 9"], "restart_limit": 1,
             "restart_backoff": 1, "working_dir": str(rig.directory)}  # fmt: skip
    rig.start({"name": "web", **crash})
    line = "web is not restarted any more: "

    def heard() -> bool:
        said = rig.path("said").read_text() if rig.path("said").exists() else ""
        paths = {path for path, _, _ in receiver.posts}
        return line in said and len(paths) == 3 and bool(receiver.mails)

    rig.until(heard, "all channels were told")
    bodies = {path: body for path, _, body in receiver.posts}
    assert bodies["/hook"]["kind"] == "fatal" and bodies["/hook"]["process"] == "web"
    assert bodies["/sms"].keys() == {"to", "text"} and line in bodies["/sms"]["text"]
    assert bodies["/bot12:secret/sendMessage"]["chat_id"] == 7
    assert next(head["X-Key"] for path, head, _ in receiver.posts if path == "/sms") == "k"
    assert (
        "Subject: [" in receiver.mails[0] and line.split(": ", maxsplit=1)[0] in receiver.mails[0]
    )
    (rig.directory / "go").touch()
    rig.client.start("web")

    def states() -> set[str]:
        return {body["state"] for path, _, body in receiver.posts if path == "/hook"}

    rig.until(lambda: "resolved" in states(), "it is over")
    # Nobody who looks at events or logs sees a secret.
    for path in (rig.path("supervisor.log"), rig.path("state") / "events.jsonl"):
        assert "12:secret" not in path.read_text()


def test_what_a_receiver_refuses_comes_later_and_once(rig: Rig, receiver: Receiver) -> None:
    rig.more = {"alerts": {"channels": told_by(rig, receiver)[:1]}}
    receiver.status = 503
    rig.start({"name": "web", "command": ["false"], "restart_limit": 0})
    refused = rig.until(lambda: rig.client.alerts()["channels"][0]["trouble"], "it was refused")
    assert "HTTP status 503" in refused
    assert rig.client.alerts()["alerts"][0]["sent"] is None
    receiver.status = 200
    rig.until(lambda: receiver.posts, "it was told after all")
    rig.until(lambda: rig.client.alerts()["alerts"][0]["sent"], "that is noted")
    # Over a restart of the supervisor nobody is told of it again.
    rig.kill_supervisor()
    rig.until(lambda: len(receiver.posts) == 2, "of the restart somebody is told")
    assert [body["kind"] for _, _, body in receiver.posts] == ["fatal", "supervisor"]


def test_no_redirect_is_followed_and_no_secret_is_told(receiver: Receiver) -> None:
    receiver.status = 302
    base = f"http://127.0.0.1:{receiver.web.server_address[1]}"
    with pytest.raises(OSError, match="HTTP status 302"):
        post(base, b"{}", {"X-Key": "k"})
    for url, key in ((f"{base}/12:secret word", "k"), (base, "secret\nword")):
        with pytest.raises(OSError, match="characters that it cannot have") as caught:
            post(url, b"{}", {"X-Key": key})
        assert "secret" not in str(caught.value)


def test_a_reason_of_any_characters_can_be_mailed(receiver: Receiver) -> None:
    machine = policy()
    step(machine, 0, "FATAL", reason="a\udcff\0\x1b\r\nBcc: x@example.com\r\n.\r\nz")
    host, port = "127.0.0.1", receiver.mail.server_address[1]
    settings = {"from": "a@example.com", "to": "b@example.com", "host": host, "port": port}
    (message,) = machine.due(0)
    Mail(settings).send({**message, "host": "here"})
    head, _, body = receiver.mails[0].partition("\r\n\r\n")
    assert "\nBcc" not in head and body


def run(rig: Rig, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "process_supervisor", "-s", rig.client.path, *words]
    return subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, check=False)


def test_by_command_a_channel_is_tried_and_silence_is_had(rig: Rig, receiver: Receiver) -> None:
    rig.more = {"alerts": {"channels": told_by(rig, receiver)}}
    rig.start({"name": "web", "command": ["sleep", "1000"], "autorestart": "never"})
    for name in ("hook", "sms", "post", "bot", "script"):
        done = run(rig, "alerts", "--test", name)
        assert (done.returncode, done.stdout) == (0, f"{name}: sent\n"), done.stderr
    receiver.status = 404
    done = run(rig, "alerts", "--test", "hook")
    assert done.returncode == 1 and "HTTP status 404" in done.stdout
    done = run(rig, "alerts", "--test", "absent")
    assert (
        done.returncode == 1 and "there is no channel absent (there are: hook, sms" in done.stderr
    )
    receiver.status, receiver.posts = 200, []
    assert "silenced until" in run(rig, "alerts", "--silence", "web", "--for", "2h").stdout
    rig.client.signal("web", signal.SIGKILL.name)
    rig.in_state("web", "EXITED")
    shown = run(rig, "alerts").stdout
    assert "web has ended with a failure" in shown and "not told" in shown
    assert run(rig, "alerts", "--silence", "web", "--for", "0").returncode == 0
    rig.until(lambda: receiver.posts, "it is told when silence ends")


def test_who_was_taken_away_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("process_supervisor.alerts.alerts.RETRIES", (0.01,))
    loop = EventLoop()
    events = Events(str(tmp_path / "events"))
    plugins = Plugins(loop, "key", events, list)
    data = {"name": "sms", "class": "absent:Absent"}
    plugins.helpers["sms"] = plugins.helper(PluginConfig(Reader(data, "sms", []), "."))
    plugins.helpers["sms"].end()
    made = Alerts(
        loop, events, str(tmp_path / "alerts"), plugins.helper, plugins.helpers.__getitem__, dict
    )
    channels = [{"name": "sms", "type": "plugin", "plugin": "sms"}]
    made.configure(AlertsConfig(Reader({"channels": channels}, "alerts", []), "."))
    made.happened({"event": "oom", "at": time.time(), "process": "web", "reason": "x"})
    channel = made.channels["sms"]
    for _ in range(20):
        if not channel.failed:
            loop.run_once(0.01)
    plugins.end()
    made.end()
    for _ in range(20):
        loop.run_once(0.01)
    loop.close()
    assert channel.failed == 1 and "KeyError" not in capsys.readouterr().err


class Refusing:
    """A helper of a channel that takes nothing until it is told to."""

    def __init__(self) -> None:
        self.takes = False
        self.told: list[str] = []

    def call(self, method: str, args: list[Any], done: Callable[[object, Any], None]) -> None:
        self.told += [args[0]["state"]] if self.takes else []
        done(None, None if self.takes else Trouble("not now"))


def test_what_is_over_is_not_told_as_new_by_a_channel_that_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("process_supervisor.alerts.alerts.RETRIES", (0.05,) * 100)
    loop, helpers = EventLoop(), {"here": Refusing(), "away": Refusing()}
    path = tmp_path / "alerts"
    made = Alerts(
        loop, Events(str(tmp_path / "events")), str(path), lambda *_: None,  # type: ignore[arg-type]
        lambda name: cast(Helper, helpers[name]), dict,
    )  # fmt: skip
    channels = [{"name": name, "type": "plugin", "plugin": name} for name in helpers]
    settings = {"channels": channels, "settle_seconds": 0}
    made.configure(AlertsConfig(Reader(settings, "alerts", []), "."))
    helpers["here"].takes = True

    def until(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            loop.run_once(0.01)

    def step(state: str) -> None:
        facts = {"event": "state", "at": time.time(), "process": "web", "from": "BACKOFF"}
        made.happened({**facts, "to": state, "reason": "x"})

    step("FATAL")
    until(lambda: helpers["here"].told == ["firing"])
    step("RUNNING")
    until(lambda: helpers["here"].told == ["firing", "resolved"])
    helpers["away"].takes = True
    until(lambda: helpers["away"].told)
    for _ in range(30):
        loop.run_once(0.01)
    assert helpers["away"].told == ["resolved"]
    assert made.as_dict()["alerts"] == []

    # Events in a row are one file written at once and one a second later.
    written: list[str] = []
    monkeypatch.setattr("process_supervisor.alerts.alerts.SAVE_SECONDS", 1000)
    monkeypatch.setattr("process_supervisor.alerts.alerts.write_atomic",
                        lambda path, text: written.append(text))  # fmt: skip
    made.silence("web", 3600)
    for number in range(50):
        made.happened({"event": "oom", "at": time.time(), "process": f"p{number}", "reason": "x"})
        made.silence(f"p{number}", 3600)
        loop.run_once(0.001)
    made.end()
    assert 1 <= len(written) <= 3
    assert '"p49"' in written[-1]
    loop.close()


def test_a_job_that_failed_is_well_when_a_later_run_was() -> None:
    machine = policy(settle_seconds=0)
    job: dict[str, Any] = {"name": "job", "scheduled": True}
    step(machine, 1, "EXITED", exit={"code": 1}, **job)
    (message,) = machine.due(1)
    machine.told(message["keys"], 1, True)
    step(machine, 100, "RUNNING", **job)
    assert machine.due(200) == []
    step(machine, 300, "EXITED", exit={"code": 0}, **job)
    assert machine.due(300)[0]["summary"] == "over: job has ended with a failure"


def test_a_run_that_was_missed_is_told_unless_it_was_done_later() -> None:
    machine = policy()
    missed = {"event": "missed", "at": 5.0, "process": "job", "reason": "missed 3"}
    machine.happened({**missed, "done": True})
    assert machine.due(5.0) == []
    machine.happened(missed)
    (message,) = machine.due(5.0)
    assert message["summary"] == "job has not run when its schedule says: missed 3"
    machine.happened({**missed, "event": "skipped", "process": "other", "at": 6.0})
    assert [item["process"] for item in machine.due(6.0)] == ["other"]


def test_mistakes_are_named() -> None:
    channels = [
        {"name": "a", "type": "webhook"},
        {"name": "b", "type": "telegram", "chat_id": 1},
        {"name": "c", "type": "pigeon"},
        {"name": "d", "type": "plugin", "plugin": "absent"},
    ]
    alerts = {"channels": channels, "per_hour": 0}
    with pytest.raises(ConfigError) as caught:
        Config({"version": 1, "supervisor": {"alerts": alerts}})
    text = str(caught.value)
    assert "channels a: url: or url_file is required" in text
    assert "channels b: token_file: is required" in text
    assert "channels c: type: must be one of webhook, mail" in text
    assert "channels d: there is no plug-in absent" in text
    assert "alerts: per_hour: must be a whole number of at least 1" in text
