"""The panel by itself, as a process: who gets in, and what it says of itself."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from control_rig import SOURCES, ControlRig, eventually
from running_panel import PASSWORD, RunningPanel, Visitor, path_of

from moorage.control.process import ProcessBackend


@pytest.fixture(scope="module")
def panel(rig: ControlRig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPanel]:
    """A panel on the supervisor; the proxy that it trusts is this machine."""
    directory = tmp_path_factory.mktemp("p")
    key = str(directory / "key")
    made = RunningPanel(
        directory, rig.socket, "--session-key-file", key, "--trusted-proxy", "127.0.0.1"
    )
    try:
        made.start()
        yield made
    finally:
        assert made.stop() == 0


def visitor(panel: RunningPanel, address: str) -> Visitor:
    """Somebody who comes through the proxy from this address."""
    return Visitor(panel, **{"X-Forwarded-For": address, "X-Forwarded-Proto": "https"})


def test_signing_in_and_out(panel: RunningPanel) -> None:
    ada = visitor(panel, "192.0.2.1")
    asked = ada.get("/services/talker/log")
    assert path_of(asked.headers["Location"]) == "/sign-in?next=/services/talker/log"
    assert ada.get("/services/status", Accept="application/json").status == 401

    signed = ada.sign_in()
    assert (signed.status, path_of(signed.headers["Location"])) == (303, "/services/")
    page = ada.get("/services/").text
    assert "steady" in page and ">admin<" in page and "demo" in page

    ada.post("/sign-out", {"csrf_token": ada.token("/services/")})
    assert ada.get("/services/").status == 302


def test_the_cookie_and_the_headers(panel: RunningPanel) -> None:
    ada = visitor(panel, "192.0.2.2")
    cookie = ada.get("/sign-in").headers["Set-Cookie"]
    for attribute in ("Secure", "HttpOnly", "SameSite=Strict"):
        assert attribute in cookie
    headers = ada.get("/sign-in").headers
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY" and headers["Cache-Control"] == "no-store"
    assert "max-age" in headers["Strict-Transport-Security"]
    assert "Server" not in headers
    # Whoever comes to it directly, by plain HTTP, gets a cookie that comes back.
    assert "Secure" not in Visitor(panel).get("/sign-in").headers["Set-Cookie"]


def test_guessing_is_limited_for_each_address(panel: RunningPanel) -> None:
    eve = visitor(panel, "192.0.2.3")
    for _ in range(5):
        assert eve.sign_in("not this one").status == 401
    refused = eve.sign_in()
    assert refused.status == 429 and 0 < int(refused.headers["Retry-After"]) <= 900
    assert visitor(panel, "192.0.2.4").sign_in().status == 303
    # One network of IPv6 addresses is one caller.
    for number in range(5):
        assert visitor(panel, f"2001:db8::{number + 1}").sign_in("not this one").status == 401
    assert visitor(panel, "2001:db8::ffff").sign_in().status == 429
    assert visitor(panel, "2001:db8:0:1::1").sign_in().status == 303
    assert PASSWORD not in panel.log.read_text()
    assert "192.0.2.3 as 'admin': wrong name or password" in panel.log.read_text()


@contextmanager
def running(rig: ControlRig, directory: Path, *options: str) -> Iterator[RunningPanel]:
    """A panel of a test's own, whose sessions outlive a restart."""
    key = str(directory / "session-key")
    made = RunningPanel(directory, rig.socket, "--session-key-file", key, *options)
    made.start()
    try:
        yield made
    finally:
        assert made.stop() == 0


def test_guesses_of_many_addresses_keep_nobody_out(rig: ControlRig, tmp_path: Path) -> None:
    with running(rig, tmp_path, "--trusted-proxy", "127.0.0.1") as panel:
        owner = visitor(panel, "192.0.2.1")
        assert owner.sign_in().status == 303
        owner.post("/sign-out", {"csrf_token": owner.token("/services/")})
        for number in range(1, 12):
            guesser = visitor(panel, f"192.0.2.{number}")
            assert {guesser.sign_in("not this one").status for _ in range(5)} == {401}
        # Known by its cookie, though nobody else of its address is let in; slowly from elsewhere.
        assert visitor(panel, "192.0.2.1").sign_in().status == 429
        assert owner.sign_in().status == 303
        assert visitor(panel, "198.51.100.1").sign_in().status == 303


def test_signing_out_ends_copies_of_the_cookie(rig: ControlRig, tmp_path: Path) -> None:
    with running(rig, tmp_path) as panel:
        ada, other, eve = Visitor(panel), Visitor(panel), Visitor(panel)
        ada.sign_in()
        other.sign_in()
        eve.cookies = dict(ada.cookies)
        assert eve.get("/services/").status == 200
        ada.post("/sign-out", {"csrf_token": ada.token("/services/")})
        assert eve.get("/services/").status == 302
        # Another sign-in of the same account goes on, and what was ended stays so.
        assert other.get("/services/").status == 200
        panel.stop()
        panel.start()
        assert other.get("/services/").status == 200
        assert eve.get("/services/").status == 302


def test_without_a_token_nothing_is_changed(panel: RunningPanel, rig: ControlRig) -> None:
    ada = visitor(panel, "192.0.2.5")
    ada.sign_in()
    for token in ({}, {"csrf_token": "another"}):
        assert ada.post("/services/talker/stop", token).status == 400
    assert ada.post("/sign-in", {"username": "admin", "password": PASSWORD}).status == 400
    assert rig.state("talker") == "RUNNING"


def test_no_way_to_another_site(panel: RunningPanel) -> None:
    for target in ("//evil.example/", "https://evil.example/", "/\\evil.example", "/%0d%0aX: y"):
        ada = visitor(panel, "192.0.2.6")
        token = ada.token()
        fields = {"username": "admin", "password": PASSWORD, "csrf_token": token, "next": target}
        location = ada.post("/sign-in", fields).headers["Location"]
        assert location.startswith("/") and location[1] not in "/\\" and "\n" not in location


def test_an_action_without_a_script(
    panel: RunningPanel, rig: ControlRig, backend: ProcessBackend
) -> None:
    ada = visitor(panel, "192.0.2.7")
    ada.sign_in()
    page = ada.get("/services/talker/restart").text
    assert "Restart talker?" in page
    before = backend.service("talker").pid
    token = ada.token("/services/talker/restart")
    done = ada.post("/services/talker/restart", {"csrf_token": token, "reason": "换证书"})
    assert done.status == 303
    assert "talker: running, PID" in ada.get("/services/").text
    assert backend.service("talker").pid != before
    noted = [e for e in backend.events(limit=20) if e.who == "admin"]
    assert noted[-1].reason == "换证书"
    eventually(lambda: "admin: restart talker: running" in panel.log.read_text(), "noted")


def test_in_chinese(panel: RunningPanel) -> None:
    wang = visitor(panel, "192.0.2.8")
    assert "登录" in wang.get("/sign-in", **{"Accept-Language": "zh-CN,zh;q=0.9"}).text
    assert "Sign in" in wang.get("/sign-in").text
    wang.get("/language/zh?next=/sign-in")
    assert "登录" in wang.get("/sign-in").text
    assert wang.get("/language/fr").status == 404


def test_what_is_not_there(panel: RunningPanel) -> None:
    ada = visitor(panel, "192.0.2.9")
    missing = ada.get("/nowhere", Accept="application/json")
    assert (missing.status, json.loads(missing.text)["status"]) == (404, 404)
    assert "There is nothing at this address." in ada.get("/nowhere").text


def test_it_streams_and_ends_in_time(rig: ControlRig, tmp_path: Path) -> None:
    panel = RunningPanel(tmp_path, f"unix+supervisor://{rig.socket}")
    panel.start()
    ada = Visitor(panel)
    ada.sign_in()
    cookie = f"moorage_panel={ada.cookies['moorage_panel']}"
    with socket.create_connection(("127.0.0.1", panel.port), timeout=10) as stream:
        request = f"GET /services/live HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n"
        stream.sendall(request.encode())
        received = b""
        while b"event: services" not in received:
            received += stream.recv(65536)
        begun = time.monotonic()
        assert panel.stop() == 0
        assert time.monotonic() - begun < 20


def test_sessions_outlive_a_restart_with_a_key_file(rig: ControlRig, tmp_path: Path) -> None:
    key = tmp_path / "key"
    panel = RunningPanel(tmp_path, rig.socket, "--session-key-file", str(key))
    panel.start()
    ada = Visitor(panel)
    ada.sign_in()
    assert key.stat().st_mode & 0o777 == 0o600
    panel.stop()
    panel.start()
    assert ada.get("/services/").status == 200
    (tmp_path / "panel-password").write_text("quite another password")
    assert ada.get("/services/").status == 302
    assert panel.stop() == 0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--listen", "0.0.0.0:9000"], "passwords would pass the network in the clear"),
        (["--listen", "9000"], "ADDRESS:PORT"),
        (["--control", "tcp://somewhere"], "neither a path nor"),
        (["--password-file", "/nowhere"], "No such file"),
    ],
)
def test_what_it_refuses_to_start_with(tmp_path: Path, options: list[str], why: str) -> None:
    command = [*RunningPanel(tmp_path, "/run/none.sock").command, *options]
    ended = subprocess.run(
        command, env={"PYTHONPATH": str(SOURCES)}, capture_output=True, text=True, timeout=20
    )
    assert ended.returncode == 1 and why in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    panel = RunningPanel(tmp_path, "/run/none.sock")
    panel.start()
    ended = subprocess.run(
        panel.command, env={"PYTHONPATH": str(SOURCES)}, capture_output=True, text=True, timeout=20
    )
    panel.stop()
    listen = panel.command[panel.command.index("--listen") + 1]
    assert (ended.returncode, f"Address already in use: '{listen}'" in ended.stderr) == (1, True)
