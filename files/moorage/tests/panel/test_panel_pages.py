"""The panel in an application of its own, on a real supervisor."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from control_rig import ControlRig, eventually
from flask import Flask, redirect, session
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from flask_babel import Babel

from moorage.control import ControlBackend
from moorage.control.process import ProcessBackend
from moorage.panel import assets, create_blueprint, csrf

JSON = {"Accept": "application/json"}


def application(backend: ControlBackend, **options: Any) -> Flask:
    """An application that has nothing but the panel: whoever asks with `ada` is signed in."""
    app = Flask(__name__)
    app.secret_key = "for these tests"
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = str(Path(csrf.__file__).parent / "translations")
    Babel(app, locale_selector=lambda: "en")
    app.jinja_env.globals["language"] = lambda: "en"
    csrf.protect(app)
    assets.register(app)

    @app.get("/enter")
    def enter() -> str:
        session["user"] = "ada"
        return csrf.token()

    def authorize() -> ResponseReturnValue | None:
        return None if "user" in session else redirect("/sign-in")

    panel = create_blueprint(
        backend, authorize=authorize, current_user=lambda: session["user"], **options
    )
    app.register_blueprint(panel, url_prefix="/services")
    return app


@pytest.fixture
def client(backend: ProcessBackend) -> FlaskClient:
    """Somebody who is signed in; their token goes with every request."""
    return signed_in(application(backend, own_service="steady"))


def signed_in(app: Flask) -> FlaskClient:
    """Sign in and keep the token."""
    client = app.test_client()
    token = client.get("/enter").text
    client.environ_base["HTTP_X_CSRF_TOKEN"] = token
    return client


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
    assert next(chunks) == 'event: line\ndata: "面板 says: \\"hello\\""\n\n'
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
