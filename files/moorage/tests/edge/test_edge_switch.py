"""Pools that change beneath a real edge: nothing is dropped, and every request is counted."""

from __future__ import annotations

import http.client
import json
import select
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from edge_rig import Application, EdgeRig, docker, free_port, get, until

from moorage.edge import Edge, EdgeError

Start = Callable[..., Application]


class Load:
    """Clients that ask as fast as they get answers, half of them over kept connections."""

    def __init__(self, port: int, clients: int = 6) -> None:
        self.outcomes: Counter[str] = Counter()
        self.peers: set[int] = set()
        self._port = port
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._client, args=(number % 2 == 0,))
            for number in range(clients)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(30)

    def _client(self, kept: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        number = 0
        while not self._end.is_set():
            number += 1
            body = b"x" * 100 if number % 3 == 0 else None
            if connection.sock and select.select([connection.sock], [], [], 0)[0]:
                # Closed while nobody asked, as clients find out before they ask.
                connection.close()
            try:
                connection.request("POST" if body else "GET", f"/{number}", body=body)
                answer = connection.getresponse()
                self.peers.add(json.loads(answer.read())["port"])
                self.outcomes[str(answer.status)] += 1
            except Exception as error:
                self.outcomes[repr(error)] += 1
                connection.close()
            if not kept:
                connection.close()
        connection.close()


def test_nothing_is_dropped_while_pools_are_switched_and_nginx_reloads(
    rig: EdgeRig, application: Start
) -> None:
    old, new = application(), application()
    port = rig.stack("load", old.peer)
    with Load(port) as load:
        for round_ in range(20):
            peer = (old, new)[round_ % 2].peer
            rig.edge.switch("load", {"web:80": [peer]})
            sent = load.outcomes.total()
            until(lambda sent=sent: load.outcomes.total() > sent + 20)
            if round_ % 7 == 3:
                rig.edge.reload()
    assert set(load.outcomes) == {"200"}, load.outcomes
    assert load.peers == {old.port, new.port}
    until(lambda: set(rig.edge.in_flight([old.peer, new.peer]).values()) == {0})


def test_a_switched_pool_sends_nobody_to_the_old_peer(rig: EdgeRig, application: Start) -> None:
    old = application()
    port = rig.stack("drained", old.peer)
    with Load(port) as load:
        until(lambda: load.outcomes.total() > 50)
        new = application()
        rig.edge.switch("drained", {"web:80": [new.peer]})
        until(lambda: rig.edge.in_flight([old.peer]) == {old.peer: 0})
        # What a rollout does then: nobody may notice that the old one is gone.
        old.close()
        sent = load.outcomes.total()
        until(lambda: load.outcomes.total() > sent + 100)
    assert set(load.outcomes) == {"200"}, load.outcomes


def test_aborted_clients_are_counted_until_the_application_is_rid_of_them(
    rig: EdgeRig, application: Start
) -> None:
    server = application()
    port = rig.stack("aborts", server.peer)
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
    for connection in connections:
        connection.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: rig.edge.in_flight([server.peer]) == {server.peer: 5})
    for connection in connections[:3]:
        connection.close()
    until(lambda: rig.edge.in_flight([server.peer]) == {server.peer: 2})
    rig.edge.reload()
    assert rig.edge.in_flight([server.peer]) == {server.peer: 2}
    server.gate.set()
    until(lambda: rig.edge.in_flight([server.peer]) == {server.peer: 0})
    for connection in connections[3:]:
        connection.close()


def test_a_killed_worker_takes_its_counts_with_it(rig: EdgeRig, application: Start) -> None:
    server = application()
    port = rig.stack("killed", server.peer)
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
    for connection in connections:
        connection.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: rig.edge.in_flight([server.peer]) == {server.peer: 4})
    top = docker("top", rig.container, "-eo", "pid,args").splitlines()
    workers = [line.split()[0] for line in top if "worker process" in line]
    subprocess.run(["kill", "-KILL", *workers], check=True)

    def settled() -> bool:
        try:
            return bool(rig.edge.in_flight([server.peer]) == {server.peer: 0})
        except EdgeError:
            return False

    until(settled)
    server.gate.set()
    assert get(port).status == 200


def test_a_refused_connection_is_tried_elsewhere_whatever_the_method(
    rig: EdgeRig, application: Start
) -> None:
    server = application()
    dead = f"127.0.0.1:{free_port()}"
    port = rig.stack("refused", dead, server.peer)
    answers = [get(port, method=name, body=b"x") for name in ("POST", "PUT", "PATCH") * 8]
    assert {answer.status for answer in answers} == {200}
    until(lambda: rig.edge.in_flight([dead, server.peer]) == {dead: 0, server.peer: 0})
    # The peer that failed comes last for a second, so that few requests had to be repeated.
    lines = [rig.access_log(answer.headers["X-Request-Id"]) for answer in answers]
    assert sum("," in line["peer"] for line in lines) < len(lines) / 2


def test_what_was_sent_is_repeated_only_where_that_is_safe(
    rig: EdgeRig, application: Start
) -> None:
    one, two = application(), application()
    port = rig.stack("repeated", one.peer, two.peer)
    assert get(port, "/hang").status == 502
    assert len(one.asked) == len(two.asked) == 1
    assert get(port, "/hang", method="POST", body=b"pay").status == 502
    assert len(one.asked) + len(two.asked) == 3
    until(lambda: rig.edge.in_flight([one.peer, two.peer]) == {one.peer: 0, two.peer: 0})


@pytest.mark.parametrize("path", ["/", "/static/site.css", "/events"])
@pytest.mark.parametrize("peers", [1, 2])
def test_what_no_peer_was_sent_is_sent_when_one_can_be_reached(
    rig: EdgeRig, application: Start, path: str, peers: int
) -> None:
    ports = [free_port() for _ in range(peers)]
    options = {"static_paths": ["/static/"]}
    port = rig.stack("lost", *(f"127.0.0.1:{one}" for one in ports), options=options)
    statuses: list[int] = []

    def ask(method: str) -> None:
        kind = "text/event-stream" if path == "/events" else "*/*"
        body = None if method == "GET" else b"x" * 200_000
        statuses.append(get(port, path, method, body=body, Accept=kind).status)

    asking = [threading.Thread(target=ask, args=(m,)) for m in ("POST", "GET", "PATCH") * 4]
    for thread in asking:
        thread.start()
    refused = f":{ports[0]}{path}"
    until(lambda: refused in (rig.log / "error.log").read_text())
    server = application(port=ports[-1])
    for thread in asking:
        thread.join(30)
    assert statuses == [200] * 12
    wanted = {f"{m} {path}" for m in ("POST", "GET", "PATCH")}
    assert set(server.asked) == wanted
    if not path.startswith("/static"):
        assert len(server.asked) == 12, "none was sent twice"
    peer = server.peer
    until(lambda: rig.edge.in_flight([peer]) == {peer: 0})


def test_a_pool_that_stays_away_is_told_of_at_once_after_a_while(
    rig: EdgeRig, application: Start
) -> None:
    port = rig.stack("gone", f"127.0.0.1:{free_port()}")
    began = time.monotonic()
    assert get(port, User_Agent="moorage-probe").status == 502
    asked = time.monotonic()
    assert get(port).status == 502
    assert asked - began < (time.monotonic() - asked) / 2, "a rollout's own requests do not wait"
    waited = time.monotonic() - asked
    began = time.monotonic()
    assert get(port, method="POST", body=b"x").status == 502
    assert time.monotonic() - began < waited / 2


def test_visitors_wait_for_a_peer(rig: EdgeRig, application: Start) -> None:
    port = rig.stack("held")
    rig.edge.switch("held", {"web:80": []}, hold_seconds=30)
    answers: list[int] = []

    def ask(method: str) -> None:
        answers.append(get(port, method=method, body=b"x" * 50).status)

    waiting = [threading.Thread(target=ask, args=(m,)) for m in ("POST", "PUT", "POST")]
    for thread in waiting:
        thread.start()
    server = application()
    rig.edge.switch("held", {"web:80": [server.peer]})
    for thread in waiting:
        thread.join(20)
    assert answers == [200] * 3


def test_who_waited_long_enough_gets_a_page(rig: EdgeRig) -> None:
    port = rig.stack("paged")
    rig.edge.switch("paged", {"web:80": []}, hold_seconds=0.2)
    page = get(port, Accept="text/html,*/*")
    assert (page.status, page.headers["Retry-After"]) == (503, "5")
    assert page.headers["Cache-Control"] == "no-store"
    text = page.body.decode()
    assert "维护" in text
    assert "maintenance" in text
    data = get(port, Accept="application/json")
    assert data.headers["Content-Type"] == "application/json"
    assert data.json() == {"status": 503, "error": "unavailable", "retry_after_seconds": 5}


def test_only_so_many_visitors_wait(rig: EdgeRig) -> None:
    port = rig.stack("crowd")
    rig.provision(hold_waiters=2)
    rig.edge.switch("crowd", {"web:80": []}, hold_seconds=3)
    statuses: list[int] = []
    crowd = [threading.Thread(target=lambda: statuses.append(get(port).status)) for _ in range(40)]
    for thread in crowd:
        thread.start()
    # More than all workers let wait: some are answered while others still wait.
    until(lambda: 0 < len(statuses) < 40)
    rig.edge.switch("crowd", {"web:80": []}, hold_seconds=0)
    for thread in crowd:
        thread.join(20)
    assert statuses == [503] * 40
    rig.provision(hold_waiters=1000)


def test_maintenance_is_for_one_stack_and_outlives_a_reload(
    rig: EdgeRig, application: Start
) -> None:
    port, other = rig.stack("closed", application().peer), rig.stack("open", application().peer)
    rig.edge.maintenance("closed", True)
    rig.edge.reload()
    assert (get(port).status, get(other).status) == (503, 200)
    rig.edge.maintenance("closed", False)
    assert get(port).status == 200


def test_pools_survive_a_killed_edge(rig: EdgeRig, application: Start) -> None:
    server = application()
    port = rig.stack("survivor", server.peer)
    docker("kill", "--signal", "KILL", rig.container)
    docker("start", rig.container)
    until(lambda: _answers(port))
    assert rig.edge.pools("survivor") == {"web:80": [server.peer]}


def _answers(port: int) -> bool:
    try:
        return bool(get(port).status == 200)
    except OSError:
        return False


def test_a_pool_has_to_be_known_and_a_peer_to_be_one(rig: EdgeRig) -> None:
    rig.stack("strict")
    with pytest.raises(EdgeError, match="strict has no pool api:80 at the edge; it has web:80"):
        rig.edge.switch("strict", {"api:80": []})
    with pytest.raises(EdgeError, match="'localhost' is no peer"):
        rig.edge.switch("strict", {"web:80": ["localhost"]})
    assert rig.edge.pools("strict") == {"web:80": []}


def test_a_host_without_an_edge_says_so(rig: EdgeRig) -> None:
    edge = Edge.of(rig.directory / "nowhere", rig.directory / "nowhere")
    assert not edge.present()
    assert edge.pools("shop") == {}
    with pytest.raises(EdgeError, match="no edge"):
        edge.store.settings()


def test_a_pool_that_comes_into_being_is_served_from_the_first_moment(
    rig: EdgeRig, application: Start
) -> None:
    old, new = application(), application()
    port = rig.stack("load", old.peer)
    listener = {"port": port, "address": "127.0.0.1"}

    def named(pool: str) -> dict[str, object]:
        return {"pools": {pool: {}}, "listeners": [{**listener, "pool": pool}]}

    seen: list[tuple[int, object]] = []
    over = threading.Event()

    def visit() -> None:
        while not over.is_set():
            answer = get(port)
            seen.append((answer.status, answer.json()["port"] if answer.status == 200 else None))

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    try:
        # Whoever takes a door over has who is behind it, until told otherwise.
        rig.edge.apply("load", named("front:80"), hold_seconds=10)
        assert rig.edge.pools("load") == {"front:80": [old.peer]}
        rig.edge.apply("load", named("door:80"), {"door:80": [new.peer]}, 10)
        assert rig.edge.pools("load") == {"door:80": [new.peer]}
        until(lambda: seen[-1] == (200, new.port))
    finally:
        over.set()
        for visitor in visitors:
            visitor.join()
    assert set(seen) == {(200, old.port), (200, new.port)}, Counter(seen)
    # What a pool of that name had once is nobody's any more; who comes waits.
    other = {
        "pools": {"web:80": {}},
        "listeners": [{**listener, "pool": "web:80", "port": free_port()}],
    }
    rig.edge.apply("load", other, hold_seconds=10)
    assert rig.edge.pools("load") == {"web:80": []}
