"""The panel in an application of its own, on a real supervisor."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from control_rig import ControlRig, eventually
from flask.testing import FlaskClient
from panel_site import application, signed_in

from moorage.control import Action, ControlError, ServiceStatus
from moorage.control.process import ProcessBackend

JSON = {"Accept": "application/json"}


@pytest.fixture
def client(backend: ProcessBackend) -> FlaskClient:
    """Somebody who is signed in; their token goes with every request."""
    made: FlaskClient = signed_in(application(backend, own_service="steady"))
    return made


def test_nobody_gets_in_without_signing_in(backend: ProcessBackend, rig: ControlRig) -> None:
    client = application(backend).test_client()

    for path in ("/", "/status", "/talker/status", "/talker/log", "/talker/log/stream", "/events"):
        answer = client.get(f"/services{path}")
        assert (answer.status_code, answer.location) == (302, "/sign-in"), path
    assert client.post("/services/talker/stop").status_code == 400
    assert rig.state("talker") == "RUNNING"


def test_the_style_needs_no_signing_in(backend: ProcessBackend) -> None:
    answer = application(backend).test_client().get("/services/static/base.css")
    assert answer.status_code == 200


def test_the_page_shows_what_the_supervisor_says(
    client: FlaskClient, backend: ProcessBackend
) -> None:
    page = client.get("/services/").text

    for service in backend.services():
        row = re.search(rf'<tr data-service="{service.name}".*?</tr>', page, re.S)
        assert row is not None, service.name
        assert str(service.pid or "–") in row[0]
        assert f'data-state="{service.state}"' in row[0]
    assert "the disk is full" in page


def test_the_seed_s_status_route(client: FlaskClient, backend: ProcessBackend) -> None:
    body = client.get("/services/steady/status").get_json()

    assert body["status"] == "running"
    assert body["pid"] == backend.service("steady").pid
    assert body["port"] == 5000
    assert client.get("/services/broken/status").get_json()["status"] == "stopped"


def test_an_action_really_happens_and_says_so(client: FlaskClient, rig: ControlRig) -> None:
    stopped = client.post("/services/talker/stop", headers=JSON)
    assert (stopped.status_code, rig.state("talker")) == (200, "STOPPED")
    assert stopped.get_json()["message"] == "talker: stopped"

    started = client.post("/services/talker/start", headers=JSON)
    assert (started.status_code, rig.state("talker")) == (200, "RUNNING")
    assert f"PID {started.get_json()['pid']}" in started.get_json()["message"]


def test_a_form_without_script_is_answered_with_the_page(
    client: FlaskClient, rig: ControlRig
) -> None:
    answer = client.post("/services/talker/restart", follow_redirects=True)

    assert answer.request.path == "/services/"
    assert "talker: running, PID" in answer.text
    assert rig.state("talker") == "RUNNING"


@pytest.mark.parametrize("action", ["start", "stop", "restart"])
def test_a_question_comes_first_and_changes_nothing(
    client: FlaskClient, rig: ControlRig, action: str
) -> None:
    page = client.get(f"/services/talker/{action}").text
    assert f'action="/services/talker/{action}"' in page and 'name="reason"' in page
    assert "as done by ada" in page
    assert client.get(f"/services/-/{action}").status_code == 200
    assert client.get(f"/services/nobody/{action}").status_code == 404
    assert rig.state("talker") == "RUNNING"


def test_asked_about_its_own_service_the_page_warns(client: FlaskClient) -> None:
    assert "This page goes with it" in client.get("/services/steady/stop").text
    assert "This page goes with it" not in client.get("/services/talker/stop").text


def test_a_reason_is_one_line_of_text(client: FlaskClient, backend: ProcessBackend) -> None:
    reason = "new\r\n key \x1b[31m " + "x" * 300
    client.post("/services/talker/restart", data={"reason": reason}, headers=JSON)
    noted = next(e.reason for e in reversed(backend.events(limit=20)) if e.who == "ada")
    assert noted is not None
    assert noted.startswith("new key [31m xxx") and len(noted) == 200


def test_all_at_once(backend: ProcessBackend, rig: ControlRig) -> None:
    client = signed_in(application(backend, own_service="steady"))
    before = {s.name: s.pid for s in backend.services()}

    stopped = client.post("/services/-/stop", headers=JSON)
    body = stopped.get_json()
    # The one that shows the page goes on, and what does not run is left alone.
    assert stopped.status_code == 200
    assert [(r["service"], r["ok"]) for r in body["results"]] == [("talker", True)]
    assert "steady shows this page and goes on." in body["message"]
    assert backend.service("steady").pid == before["steady"]

    started = client.post("/services/-/start", headers=JSON).get_json()
    # The one-off that is done is not done again; the broken one is tried.
    assert {r["service"] for r in started["results"]} == {"broken", "talker"}
    assert rig.state("talker") == "RUNNING"

    eventually(lambda: rig.state("broken") == "FATAL", "broken again")
    talker = backend.service("talker").pid
    again = client.post("/services/-/restart", data={"reason": "patch day"}, headers=JSON)
    assert [r["service"] for r in again.get_json()["results"]] == ["talker", "steady"]
    assert backend.service("talker").pid not in (None, talker)
    eventually(lambda: backend.service("steady").pid not in (None, before["steady"]), "restarted")
    reasons = [e.reason for e in backend.events(limit=40) if e.who == "ada"]
    assert reasons.count("patch day") == 2


def test_all_at_once_says_what_failed(rig: ControlRig) -> None:
    class Refusing(ProcessBackend):
        def perform(
            self, action: Action, name: str, *, who: str, reason: str = ""
        ) -> ServiceStatus:
            if name == "steady":
                raise ControlError("conflict", "it is being moved", service=name)
            return super().perform(action, name, who=who, reason=reason)

    client = signed_in(application(Refusing(rig.socket)))
    answer = client.post("/services/-/restart", headers=JSON)
    assert answer.status_code == 409
    assert "Could not restart steady: it is being moved" in answer.get_json()["message"]
    assert "talker: running, PID" in answer.get_json()["message"]
    page = client.post("/services/-/restart", follow_redirects=True).text
    assert "it is being moved" in page and "flash--error" in page


def test_all_at_once_without_its_token_changes_nothing(
    client: FlaskClient, rig: ControlRig
) -> None:
    client.environ_base["HTTP_X_CSRF_TOKEN"] = ""
    assert client.post("/services/-/stop", headers=JSON).status_code == 400
    assert rig.state("talker") == "RUNNING"


def test_the_trail_by_service_and_with_results(
    client: FlaskClient, backend: ProcessBackend
) -> None:
    client.post("/services/talker/stop", data={"reason": "too loud"}, headers=JSON)
    client.post("/services/talker/start", headers=JSON)

    page = client.get("/services/events?service=talker&only=requests").text
    rows = re.findall(r'<tr data-sequence="\d+" class="asked">.*?</tr>', page, re.S)
    assert len(rows) >= 2 and page.count("<tr data-sequence") == len(rows)
    assert "Start" in rows[0] and ">running<" in rows[0]
    assert "Stop" in rows[1] and ">stopped<" in rows[1] and "too loud" in rows[1]
    assert not [row for row in rows if ">broken<" in row]
    body = client.get("/services/events?service=talker&only=requests", headers=JSON).get_json()
    assert body["events"][-1]["result"] == "running"
    assert body["last"] == backend.events(limit=1)[-1].sequence


def test_the_audit_trail_names_who_did_it(client: FlaskClient, backend: ProcessBackend) -> None:
    last = backend.events()[-1].sequence
    client.post("/services/talker/restart", data={"reason": "new key"}, headers=JSON)

    page = client.get("/services/events").text
    found = client.get(f"/services/events?since={last}", headers=JSON).get_json()["events"]
    assert "ada" in page and "new key" in page
    assert any(event["who"] == "ada" for event in found)


def test_without_its_token_a_request_changes_nothing(client: FlaskClient, rig: ControlRig) -> None:
    for token in ("", "another"):
        client.environ_base["HTTP_X_CSRF_TOKEN"] = token
        assert client.post("/services/talker/stop", headers=JSON).status_code == 400
    assert rig.state("talker") == "RUNNING"


@pytest.mark.parametrize("path", ["/talker/kill", "/talker/signal", "/talker/../stop", "/stop"])
def test_there_is_no_other_action(client: FlaskClient, path: str) -> None:
    assert client.post(f"/services{path}", headers=JSON).status_code in (404, 405)


def test_a_refusal_shows_the_reason(client: FlaskClient) -> None:
    answer = client.post("/services/nobody/start", headers=JSON)
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"
    assert "nobody" in answer.get_json()["detail"]

    page = client.post("/services/nobody/start", follow_redirects=True)
    assert page.status_code == 200
    assert "Could not start nobody" in page.text


def test_the_service_that_serves_the_panel_is_restarted_after_the_answer(
    client: FlaskClient, backend: ProcessBackend
) -> None:
    before = backend.service("steady").pid

    answer = client.post("/services/steady/restart", headers=JSON)

    assert answer.status_code == 202
    eventually(lambda: backend.service("steady").pid not in (None, before), "a new process")


def test_the_last_lines_of_a_log(client: FlaskClient) -> None:
    page = client.get("/services/talker/log").text
    assert 'data-text="two"' in page and "stdout" in page
    assert "problem" in client.get("/services/talker/log?stream=stderr").text
    tail = client.get("/services/talker/log/tail?lines=1").get_json()
    assert tail == {"lines": ["two"]}


def test_a_log_as_a_file(client: FlaskClient) -> None:
    answer = client.get("/services/talker/log/download")
    assert answer.text.splitlines()[:2] == ["one", "two"]
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.headers["Content-Disposition"] == "attachment; filename=talker.stdout.log"
    errors = client.get("/services/talker/log/download?stream=stderr")
    assert "problem" in errors.text.splitlines()
    assert client.get("/services/nobody/log/download").status_code == 404


def test_a_log_cannot_write_markup_into_the_page(client: FlaskClient, rig: ControlRig) -> None:
    rig.say("<script>alert(1)</script>")
    seen: Callable[[], bool] = lambda: (  # noqa: E731
        "&lt;script&gt;alert(1)" in client.get("/services/talker/log").text
    )
    eventually(seen, "the line")
    assert "<script>alert" not in client.get("/services/talker/log").text


def test_a_log_is_followed_as_server_sent_events(client: FlaskClient, rig: ControlRig) -> None:
    answer = client.get("/services/talker/log/stream?lines=1", buffered=False)
    assert answer.content_type == "text/event-stream"
    chunks = (str(chunk, "utf-8") for chunk in cast("Iterator[bytes]", iter(answer.response)))
    assert next(chunks) == "retry: 2000\n\n"
    assert next(chunks).startswith("event: line\n")
    rig.say('面板 says: "hello"')
    assert next(chunks) == ('event: line\ndata: {"at": "", "text": "面板 says: \\"hello\\""}\n\n')
    answer.close()


def test_streams_are_bounded_and_freed(backend: ProcessBackend) -> None:
    client = signed_in(application(backend, max_streams=1))
    first = client.get("/services/talker/log/stream", buffered=False)
    next(iter(first.response))

    refused = client.get("/services/talker/log/stream", headers=JSON)
    assert refused.status_code == 503
    first.close()
    again = client.get("/services/talker/log/stream", buffered=False)
    assert again.status_code == 200
    again.close()


def test_a_stream_that_nobody_began_to_read_is_freed(backend: ProcessBackend) -> None:
    client = signed_in(application(backend, max_streams=1))
    for _ in range(3):
        client.head("/services/talker/log/stream").close()
    assert client.get("/services/talker/log/stream", buffered=False).status_code == 200


def test_when_the_supervisor_is_away_the_panel_says_so(tmp_path: Path) -> None:
    client = signed_in(application(ProcessBackend(str(tmp_path / "gone.sock"))))

    page = client.get("/services/")
    assert page.status_code == 200
    assert "cannot be seen at the moment" in page.text and "gone.sock" in page.text
    status = client.get("/services/status", headers=JSON)
    assert (status.status_code, status.content_type) == (503, "application/problem+json")
    assert client.get("/services/talker/log").status_code == 503


def test_what_was_written_does_nothing_to_the_page(
    client: FlaskClient, backend: ProcessBackend
) -> None:
    reason = "see \u202egnp.exe\x1b[2J"
    # Not by the page's form: by whoever asks the control API.
    backend.perform("restart", "talker", who="ada", reason=reason)
    page = client.get("/services/events").text
    assert "\u202e" not in page and "\x1b" not in page
    assert r"see \u202egnp.exe" in page, page


def test_what_comes_after_a_slow_one_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("control.process", "panel.actions"):
        monkeypatch.setattr(f"moorage.{module}.PATIENCE_SECONDS", 0.5)
    go = tmp_path / "go"
    script = (
        f"trap 'while [ ! -e {go} ]; do sleep 0.05; done; exit 0' TERM; "
        "while :; do sleep 0.05; done"
    )
    rig = ControlRig(tmp_path, {"slow": {"command": ["sh", "-c", script], "stop_grace": 300}})
    try:
        rig.start()
        client = signed_in(application(ProcessBackend(rig.socket)))
        answer = client.post("/services/-/stop", headers=JSON)
        assert answer.status_code == 202
        assert "The others follow" in answer.get_json()["message"]
        assert rig.state("slow") == "STOPPING" and rig.state("talker") == "RUNNING"
        one = client.post("/services/slow/stop", headers=JSON)
        assert one.status_code == 200 and "slow is still ending" in one.get_json()["message"]
        assert "may take" in client.get("/services/slow/status").get_json()["texts"]["why"]
        assert client.post("/services/-/stop", headers=JSON).status_code == 409
        go.touch()
        eventually(lambda: rig.state("talker") == "STOPPED", "the next one's turn", 60)
        assert rig.state("slow") == "STOPPED"
    finally:
        go.touch()
        rig.stop()


def test_what_an_application_says_acts_on_no_page(tmp_path: Path) -> None:
    """Its last words, its log and whoever's reason: made visible in pages and for their scripts."""
    attack = "\x1b[2J gnp\u202egnp.exe"
    script = f"import sys; print({attack!r}, file=sys.stderr); sys.exit(3)"
    command = [sys.executable, "-X", "utf8", "-c", script]
    rig = ControlRig(tmp_path, {"evil": {"command": command, "restart_limit": 0}})
    try:
        rig.start()
        eventually(lambda: rig.state("evil") == "FATAL", "it gives up", 30)
        backend = ProcessBackend(rig.socket)
        assert attack in backend.service("evil").log_tail
        backend.perform("restart", "evil", who=attack, reason=attack)
        client = signed_in(application(backend))
        said = [
            client.get(f"/services{path}").text
            for path in ("/", "/events", "/evil/log?stream=stderr", f"/{attack}/log")
        ]
        found = client.get("/services/status").get_json()
        said += [found["html"], *found["services"][-1]["log_tail"]]
        problem = client.post(f"/services/{attack}/stop", headers=JSON).get_json()
        said.append(problem.get("detail", ""))
        assert any(r"\x1b[2J gnp\u202egnp.exe" in text for text in said)
        for text in said:
            assert "\x1b" not in text and "\u202e" not in text
    finally:
        rig.stop()
