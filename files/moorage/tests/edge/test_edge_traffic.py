"""What reaches applications through a real edge, and what comes back."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from edge_rig import Application, EdgeRig, get, until

Start = Callable[..., Application]


def test_peers_take_turns_and_learn_who_asks(rig: EdgeRig, application: Start) -> None:
    one, two = application(), application()
    port = rig.stack("turns", one.peer, two.peer)
    answers = [get(port, X_Forwarded_For="6.6.6.6", X_Forwarded_Proto="https") for _ in range(8)]
    assert {answer.json()["port"] for answer in answers} == {one.port, two.port}
    seen = answers[0].json()["headers"]
    assert seen["x-forwarded-for"] == seen["x-real-ip"] == "127.0.0.1"
    assert seen["x-forwarded-proto"] == "http"
    assert seen["host"] == seen["x-forwarded-host"] == f"127.0.0.1:{port}"
    assert seen["x-request-id"] == answers[0].headers["X-Request-Id"]
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == 8


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-Prefix", "X-Forwarded-Server"])
def test_what_strangers_claim_of_themselves_is_dropped(
    rig: EdgeRig, application: Start, name: str
) -> None:
    port = rig.stack("strangers", application().peer)
    assert name.lower() not in get(port, **{name: "for=6.6.6.6"}).json()["headers"]


def test_headers_are_added_where_the_application_sets_none(
    rig: EdgeRig, application: Start
) -> None:
    port = rig.stack("headers", application().peer)
    plain, own = get(port).headers, get(port, "/framed").headers
    assert plain.get_all("X-Frame-Options") == ["SAMEORIGIN"]
    assert plain.get_all("X-Content-Type-Options") == ["nosniff"]
    assert plain.get_all("Referrer-Policy") == ["strict-origin-when-cross-origin"]
    assert plain.get_all("Strict-Transport-Security") is None
    assert own.get_all("X-Frame-Options") == ["DENY"]
    assert own.get_all("X-Content-Type-Options") == ["nosniff"]
    assert not re.search(r"\d", plain["Server"])


def test_texts_are_compressed_for_who_accepts_it(rig: EdgeRig, application: Start) -> None:
    port = rig.stack("gzip", application().peer)
    answer = get(port, "/text", Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(answer.body) < 1000
    assert get(port, "/text").headers["Content-Encoding"] is None


def test_uploads_have_a_limit(rig: EdgeRig, application: Start) -> None:
    server = application()
    port = rig.stack("uploads", server.peer, options={"max_body_bytes": 300_000})
    assert get(port, method="POST", body=b"x" * 300_000).json()["received"] == 300_000
    assert get(port, method="POST", body=b"x" * 300_001).status == 413
    assert server.asked == ["POST /"]


def test_static_files_are_kept_but_private_ones_are_not(rig: EdgeRig, application: Start) -> None:
    server = application()
    options = {"static_paths": ["/static/"], "static_max_age_seconds": 600}
    port = rig.stack("static", server.peer, options=options)
    answers = [get(port, "/static/site.css") for _ in range(3)]
    assert {a.headers["Cache-Control"] for a in answers} == {"public, max-age=600"}
    assert server.asked.count("GET /static/site.css") == 1
    private = [get(port, "/static/private.css") for _ in range(2)]
    assert {a.headers["Cache-Control"] for a in private} == {"private"}
    assert server.asked.count("GET /static/private.css") == 2
    # Another release has other peers, and nothing of the old one is served from then on.
    new = application()
    rig.edge.switch("static", {"web:80": [new.peer]})
    get(port, "/static/site.css")
    assert new.asked == ["GET /static/site.css"]


def test_files_that_never_change_are_said_to_be_immutable(rig: EdgeRig, application: Start) -> None:
    server = application()
    options = {
        "static_paths": ["/static/"],
        "static_max_age_seconds": 31536000,
        "static_immutable": True,
    }
    port = rig.stack("immutable", server.peer, options=options)

    def said(path: str, **headers: str) -> Any:
        return get(port, path, **headers).headers["Cache-Control"]

    assert said("/static/site.css") == "public, max-age=31536000, immutable"
    # With a cookie it goes past the cache, and his own browser may keep it.
    assert said("/static/site.css", Cookie="a=b") == "private, max-age=31536000, immutable"
    assert said("/static/private.css", Cookie="a=b") == "private"
    # What the application says itself counts, and pages are none.
    assert said("/static/private.css") == "private"
    assert said("/static/public.css") == "public, max-age=60"
    assert said("/static/broken.css") == "public, max-age=60"
    assert said("/") is None


@pytest.mark.parametrize(
    ("path", "accept"),
    [("/stream/events", "text/event-stream"), ("/stream/events", "*/*"), ("/stream/text", "*/*")],
)
def test_each_part_of_a_stream_comes_when_it_is_sent(
    rig: EdgeRig, application: Start, path: str, accept: str
) -> None:
    server = application()
    port = rig.stack("streams", server.peer)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nAccept-Encoding: gzip\r\n"
        connection.sendall(f"{request}\r\n".encode())
        received = b""
        while b"data: 1" not in received:
            received += connection.recv(4096)
        assert b"data: 2" not in received
        assert rig.edge.in_flight([server.peer]) == {server.peer: 1}
        server.gate.set()
        while b"data: 2" not in received:
            received += connection.recv(4096)
    until(lambda: rig.edge.in_flight([server.peer]) == {server.peer: 0})


def test_a_websocket_passes_and_counts_until_it_ends(rig: EdgeRig, application: Start) -> None:
    server = application()
    port = rig.stack("sockets", server.peer)
    key = base64.b64encode(os.urandom(16)).decode()
    head = "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    head += f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head.encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(4096)
        assert received.startswith(b"HTTP/1.1 101 ")
        for word in (b"hello", b"again"):
            connection.sendall(word)
            assert connection.recv(4096) == word
        assert rig.edge.in_flight([server.peer]) == {server.peer: 1}
    until(lambda: rig.edge.in_flight([server.peer]) == {server.peer: 0})


def test_only_websockets_may_upgrade(rig: EdgeRig, application: Start) -> None:
    port = rig.stack("upgrades", application().peer)
    seen = get(port, Connection="Upgrade", Upgrade="h2c").json()["headers"]
    assert "upgrade" not in seen


def test_the_log_is_json_without_query_strings(rig: EdgeRig, application: Start) -> None:
    server = application()
    port = rig.stack("logs", server.peer)
    answer = get(port, "/a%22b?pass=hidden", User_Agent='curious "agent" \\x')
    line = rig.access_log(answer.headers["X-Request-Id"])
    assert (line["status"], line["stack"], line["pool"]) == (200, "logs", "logs/web:80")
    assert line["path"] == '/a"b'
    assert line["peer"] == server.peer
    assert line["agent"] == 'curious "agent" \\x'
    assert line["seconds"] >= 0
    assert "hidden" not in (rig.log / "access.json").read_text()


def test_logs_are_opened_anew_after_a_rotation(rig: EdgeRig, application: Start) -> None:
    port = rig.stack("rotation", application().peer)
    get(port)
    log = rig.log / "access.json"
    log.rename(rig.log / "access.json.1")
    log.touch(0o640)
    os.chown(log, 33, 4)
    rig.edge.nginx().reopen()

    def written() -> bool:
        get(port)
        return bool(log.stat().st_size)

    until(written)
    # The files are the workers' now; the master has to be able to open them at a reload.
    rig.edge.reload()
    assert get(port).status == 200


def test_routes_of_several_stacks_share_a_domain(rig: EdgeRig, application: Start) -> None:
    shop, blog = application(), application()
    domain = {"domains": ["www.example.com"]}
    rig.stack("shop", shop.peer, **domain, routes=[{"path": "/", "pool": "web:80"}])
    rig.stack("blog", blog.peer, **domain, routes=[{"path": "/blog", "pool": "web:80"}])

    def port_of(path: str) -> int:
        return int(get(rig.http, path, Host="www.example.com").json()["port"])

    assert [port_of(p) for p in ("/", "/blogger", "/x/blog")] == [shop.port] * 3
    assert [port_of(p) for p in ("/blog", "/blog/", "/blog/1?a=b")] == [blog.port] * 3
    seen = get(rig.http, "/blog/1?a=b", Host="www.example.com").json()
    assert seen["path"] == "/blog/1?a=b"
    nobody = get(rig.http, Host="other.example.com")
    assert nobody.status == 404
    assert b"example.com" not in nobody.body
    rig.edge.forget("blog")
    assert port_of("/blog") == shop.port
    rig.edge.forget("shop")


def test_a_slow_sender_is_not_in_flight(rig: EdgeRig, application: Start) -> None:
    server = application()
    port = rig.stack("sender", server.peer)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf ")
        answer: list[bytes] = []
        reader = threading.Thread(target=lambda: answer.append(connection.recv(65536)))
        reader.start()
        assert rig.edge.in_flight([server.peer]) == {server.peer: 0}
        new = application()
        rig.edge.switch("sender", {"web:80": [new.peer]})
        connection.sendall(b"half.")
        reader.join(20)
    assert json.loads(answer[0].partition(b"\r\n\r\n")[2])["port"] == new.port


def test_a_rollout_learns_who_has_answered_and_visitors_do_not(
    rig: EdgeRig, application: Start
) -> None:
    server = application()
    port = rig.stack("who", server.peer)
    assert get(port, User_Agent="moorage-probe").headers["X-Moorage-Peer"] == server.peer
    assert get(port).headers["X-Moorage-Peer"] is None
    rig.edge.switch("who", {"web:80": []})
    page = get(port, User_Agent="moorage-probe")
    assert (page.status, page.headers["X-Moorage-Peer"]) == (503, None)


def test_a_rollout_learns_that_nobody_has_answered_in_time(rig: EdgeRig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        peer = f"127.0.0.1:{silent.getsockname()[1]}"
        port = rig.stack("silent", peer, options={"read_timeout_seconds": 0.2})
        page = get(port, User_Agent="moorage-probe")
        assert (page.status, page.headers["X-Moorage-Late"]) == (504, "1")
        assert get(port).headers["X-Moorage-Late"] is None

        def answer() -> None:
            connection = silent.accept()[0]
            while connection.recv(4096).endswith(b"\r\n\r\n"):
                lines = ("HTTP/1.1 504 Mine", "X-Moorage-Late: 1", "Content-Length: 0", "", "")
                connection.sendall("\r\n".join(lines).encode())

    with socket.create_server(("127.0.0.1", 0)) as silent:
        threading.Thread(target=answer, daemon=True).start()
        rig.edge.switch("silent", {"web:80": [f"127.0.0.1:{silent.getsockname()[1]}"]})
        own = get(port, User_Agent="moorage-probe")
    assert (own.status, own.headers["X-Moorage-Late"]) == (504, None)


def test_private_paths_are_for_the_host_and_named_networks(
    rig: EdgeRig, application: Start
) -> None:
    server = application()
    options = {"private_paths": ["/metrics"], "static_max_age_seconds": 0}
    rig.provision(trusted_proxies=["127.0.0.1"])
    try:
        port = rig.stack("private", server.peer, options=options)
        assert get(port, "/metrics").status == 200
        for path in ("/metrics", "/metrics/", "/metrics/x?y", "/%6detrics", "/metrics%2Fx"):
            assert get(port, path, X_Forwarded_For="203.0.113.9").status == 404, path
        # Applications differ in whether these are the same, so that nobody is asked.
        for path in ("//metrics", "/metrics;x", "//metrics;x/y"):
            assert get(port, path, X_Forwarded_For="203.0.113.9").status == 400, path
        assert get(port, "/metricsx", X_Forwarded_For="203.0.113.9").status == 200
        assert server.asked == ["GET /metrics", "GET /metricsx"]
        options["private_networks"] = ["203.0.113.0/24"]
        facts = rig.edge.facts("private") or {}
        rig.edge.apply("private", {**facts, "options": options})
        assert get(port, "/metrics", X_Forwarded_For="203.0.113.9").status == 200
    finally:
        rig.provision(trusted_proxies=[])


@pytest.mark.parametrize("kind", ["websocket", "events"])
def test_a_silent_stream_lasts_as_long_as_its_own_setting(
    rig: EdgeRig, application: Start, kind: str
) -> None:
    server = application()
    limits = {"read_timeout_seconds": 0.5, "stream_timeout_seconds": 4}
    port = rig.stack("silent", server.peer, options=limits)
    lines = {
        "websocket": [
            "GET /socket HTTP/1.1",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: c2lsZW50",
        ],
        "events": ["GET /stream/events HTTP/1.1", "Accept: text/event-stream"],
    }[kind]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "Host: x\r\n\r\n"]).encode())
        began = time.monotonic()
        while connection.recv(4096):
            pass
    # Neither said anything: the application's own connection is ended too.
    assert 2 < time.monotonic() - began < 20
    assert get(port, "/wait").status == 504
    server.gate.set()
    until(lambda: rig.edge.in_flight([server.peer]) == {server.peer: 0})
