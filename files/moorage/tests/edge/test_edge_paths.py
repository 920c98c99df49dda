"""What is passed on as it is, what is refused, and what the cache may keep."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest
from edge_rig import Application, EdgeRig, get, until

Start = Callable[..., Application]
STATIC = {"static_paths": ["/static/"], "static_max_age_seconds": 600}


def raw(port: int, target: str, *lines: str, host: str = "x") -> bytes:
    """Send a request as it stands and return the whole answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = "\r\n".join([f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: close", *lines])
        connection.sendall(head.encode("latin-1") + b"\r\n\r\n")
        with connection.makefile("rb") as stream:
            return stream.read()


@pytest.mark.parametrize(
    "path",
    [
        "/up/..%2fstatic/app.js",
        "/up/../static/app.js",
        "/up/%2e%2e/static/app.js",
        "/up/..%5cstatic/app.js",
        "/up/..;x/static/app.js",
        "/up/%c0%ae%c0%ae/static/app.js",
        "/static%2fapp.js",
        "/%73tatic%2fapp.js",
        "/api%2Fusers",
        "/api;x/users",
        "//static/app.js",
        "/;x/static/app.js",
        "/a%00b",
        "/a\\b",
        "/static/x#/../../up",
    ],
)
def test_a_path_that_may_be_taken_for_another_reaches_nobody(
    rig: EdgeRig, application: Start, path: str
) -> None:
    server = application()
    routes = [{"path": "/api/", "pool": "web:80"}, {"path": "/", "pool": "web:80"}]
    domain = {"domains": ["paths.example.com"], "routes": routes, "options": STATIC}
    port = rig.stack("paths", server.peer, **domain)
    place = rig.http if path.startswith("/api") else port
    answer = raw(place, path, host="paths.example.com")
    assert answer.split()[1] == b"400" and server.asked == []


@pytest.mark.parametrize(
    "path",
    ["/a%2Fb", "/a//b", "/%7Euser", "/caf%C3%A9", "/caf%E9", "/a%252e", "/a;v=1/..b", "/%25"],
)
def test_any_other_path_is_passed_on_as_it_is(rig: EdgeRig, application: Start, path: str) -> None:
    server = application()
    port = rig.stack("asis", server.peer, options=STATIC)
    assert raw(port, f"{path}?q=..%2f").split()[1] == b"200"
    assert server.asked == [f"GET {path}?q=..%2f"]


@pytest.mark.parametrize("path", ["/static", "/pictures", "/static//x"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_edge_sends_nobody_elsewhere(
    rig: EdgeRig, application: Start, path: str, method: str
) -> None:
    server = application()
    routes = [{"path": "/pictures/", "pool": "web:80"}, {"path": "/", "pool": "web:80"}]
    facts = {"domains": ["slash.example.com"], "routes": routes, "options": STATIC}
    rig.stack("slash", server.peer, **facts)
    answer = get(rig.http, path, method, b"x", Host="slash.example.com")
    assert answer.status == 200 and server.asked == [f"{method} {path}"]


def test_names_of_headers_are_passed_on_unless_they_pose_as_ours(
    rig: EdgeRig, application: Start
) -> None:
    port = rig.stack("names", application().peer)
    given = {"api_key": "abc", "X.Build": "7"}
    false = ["X_Forwarded_For", "X_Forwarded_Proto", "X.Real.IP", "Transfer_Encoding", "X_Known"]
    lines = [f"{name}: {value}" for name, value in given.items()]
    answer = raw(port, "/", *lines, "X-Known: 1", *(f"{name}: 6.6.6.6" for name in false))
    assert b'"api_key": "abc"' in answer and b'"x.build": "7"' in answer
    assert b"6.6.6.6" not in answer


def test_what_is_for_the_edge_alone_ends_there(rig: EdgeRig, application: Start) -> None:
    port = rig.stack("hops", application().peer)
    named = "Connection: X-Hop, x_low , Host, Authorization, X-Forwarded-For"
    lines = ["X-Hop: gone", "X_Low: gone", "Proxy: http://gone", "Proxy-Connection: gone"]
    answer = raw(port, "/", named, *lines, "Authorization: stays", "X-End: stays")
    assert b"gone" not in answer
    assert answer.count(b"stays") == 2
    assert b'"host": "x"' in answer and b'"x-forwarded-for": "127.0.0.1"' in answer


@pytest.mark.parametrize("scheme", ["http", "HTTPS"])
def test_a_host_in_the_first_line_is_the_one_that_is_meant(
    rig: EdgeRig, application: Start, scheme: str
) -> None:
    port = rig.stack("named", application().peer)
    answer = raw(port, f"{scheme}://named.example.com:81/a?b=//c", host="other.example.com")
    assert b'"host": "named.example.com:81"' in answer
    assert b'"path": "/a?b=//c"' in answer and b"other" not in answer


def test_an_answer_that_is_not_final_ends_at_once(rig: EdgeRig, application: Start) -> None:
    server = application()
    port = rig.stack("early", server.peer)
    assert b"200" not in raw(port, "/early")
    until(lambda: rig.edge.in_flight([server.peer]) == {server.peer: 0})
    assert raw(port, "/").split()[1] == b"200"


@pytest.mark.parametrize(
    "name", ["private", "nocache", "nostore", "cookie", "vary", "pragma", "broken"]
)
def test_what_the_application_says_of_a_file_counts(
    rig: EdgeRig, application: Start, name: str
) -> None:
    server = application()
    port = rig.stack("says", server.peer, options=STATIC)
    answers = [get(port, f"/static/{name}.css") for _ in range(2)]
    assert len(server.asked) == 2
    # What it says nothing of to a browser gets the operator's age; all else is as it says.
    aged = [answer.headers["Cache-Control"] == "public, max-age=600" for answer in answers]
    assert aged == [name == "vary"] * 2


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "Range", "Cache_Control"])
def test_the_cache_neither_keeps_nor_answers_what_is_asked_personally(
    rig: EdgeRig, application: Start, name: str
) -> None:
    server = application()
    port = rig.stack("personal", server.peer, options=STATIC)
    value = {"Range": "bytes=0-1", "Cache_Control": "no-cache"}.get(name, "secret=1")
    get(port, "/static/public.css", **{name: value})
    get(port, "/static/public.css")
    get(port, "/static/public.css")
    assert len(server.asked) == 2
    get(port, "/static/public.css", **{name: value})
    assert len(server.asked) == 3


def test_nothing_of_an_older_release_is_served_by_the_same_address(
    rig: EdgeRig, application: Start
) -> None:
    server = application()
    port = rig.stack("again", server.peer, options=STATIC)
    for count in range(1, 4):
        rig.edge.switch("again", {"web:80": [server.peer]})
        get(port, "/static/public.css")
        get(port, "/static/public.css")
        assert len(server.asked) == count


def test_a_large_answer_is_whole_and_needs_no_disk(rig: EdgeRig, application: Start) -> None:
    server = application()
    port = rig.stack("large", server.peer)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = len(connection.recv(65536))
        before = -1

        def stands() -> bool:
            nonlocal before
            same, before = server.sent == before, server.sent
            return same or bool(threading.Event().wait(0.5))

        # A visitor who reads nothing stops the application; none of it goes to the disk meanwhile.
        until(stands, 60)
        assert server.sent < 64 * 2**20
        while part := connection.recv(2**20):
            received += len(part)
    assert received > 256 * 2**20
