"""Replicas that are not well behind a real edge: visitors are kept from them, and come back."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edge_rig import Application, EdgeRig, docker, free_port, get, until

from moorage.cli.edge import text
from moorage.edge.report import report, troubles

Start = Callable[..., Application]
SCRIPT = Path(__file__).parent / "replica.py"
POOLS = {"web:80": {"health": "/health"}}


class Replica:
    """A process that answers at a port of its own."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.peer = f"127.0.0.1:{self.port}"
        self.ill = directory / f"ill-{self.port}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, str(SCRIPT), str(self.port), str(self.ill)]
        self.process = subprocess.Popen(command)
        until(self._listens)

    def signal(self, number: int) -> None:
        """Send it a signal; one that is killed is waited for."""
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[list[Replica]]:
    made = [Replica(tmp_path) for _ in range(3)]
    yield made
    for replica in made:
        replica.process.kill()
        replica.process.wait()


class Load:
    """Clients that ask without a pause; a request is a GET, which may be repeated."""

    def __init__(self, port: int, clients: int = 4) -> None:
        self.answers: list[tuple[float, float, str]] = []
        self.port, self.end = port, threading.Event()
        self.threads = [threading.Thread(target=self.ask) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.end.set()
        for thread in self.threads:
            thread.join(60)

    def ask(self) -> None:
        """Note of each request when it began and ended, and who answered it or what went wrong."""
        while not self.end.is_set():
            began = time.monotonic()
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                connection.request("GET", "/")
                answer = connection.getresponse()
                said = json.loads(answer.read())["port"] if answer.status == 200 else answer.status
                connection.close()
            except (OSError, http.client.HTTPException, ValueError) as error:
                said = repr(error)
            self.answers.append((began, time.monotonic(), str(said)))

    def said(self, since: float = 0.0) -> Counter[str]:
        """Return what the answers were to requests that began after a moment."""
        return Counter(said for began, _, said in list(self.answers) if began >= since)

    def more(self, count: int) -> None:
        """Wait for so many more answers."""
        wanted = len(self.answers) + count
        until(lambda: len(self.answers) >= wanted)


def aside(rig: EdgeRig, stack: str) -> dict[str, str]:
    (found,) = [entry for entry in report(rig.edge)["stacks"] if entry["stack"] == stack]
    return dict(found["aside"])


def kill(replica: Replica) -> None:
    replica.signal(signal.SIGKILL)


def stop(replica: Replica) -> None:
    replica.signal(signal.SIGSTOP)


def cont(replica: Replica) -> None:
    replica.signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("harm", "heal", "why"),
    [(kill, Replica.start, "connection refused"), (stop, cont, "timeout")],
    ids=["killed", "stopped"],
)
def test_a_replica_that_does_not_answer_loses_no_request(
    rig: EdgeRig,
    replicas: list[Replica],
    harm: Callable[[Replica], None],
    heal: Callable[[Replica], None],
    why: str,
) -> None:
    name = f"replicas-{harm.__name__}"
    peers = [replica.peer for replica in replicas]
    port = rig.stack(name, *peers, pools=POOLS, options={"read_timeout_seconds": 4})
    first = replicas[0]
    with Load(port) as load:
        until(lambda: len(load.said()) == 3)
        assert aside(rig, name) == {}
        harm(first)
        until(lambda: aside(rig, name) == {first.peer: why})
        since = time.monotonic()
        load.more(300)
        assert set(load.said(since)) == {str(replica.port) for replica in replicas[1:]}
        # Both others have the same share of what was its.
        assert min(load.said(since).values()) > 100
        heal(first)
        until(lambda: aside(rig, name) == {})
        since = time.monotonic()
        load.more(300)
        assert load.said(since)[str(first.port)] > 60
    # What it was sent and did not answer went to others.
    assert set(load.said()) == {str(replica.port) for replica in replicas}


def test_a_replica_that_says_it_is_not_well_gets_no_visitors(
    rig: EdgeRig, replicas: list[Replica]
) -> None:
    port = rig.stack("ill", *(replica.peer for replica in replicas), pools=POOLS)
    first, second, third = replicas
    with Load(port, clients=2) as load:
        first.ill.touch()
        until(lambda: aside(rig, "ill") == {first.peer: "answered 500"})
        told = text(report(rig.edge))
        said = f"{first.peer} is not well (answered 500): others get its visitors"
        assert f"ill: {said}" in told and troubles(rig.edge, "ill") == [said]
        since = time.monotonic()
        load.more(100)
        assert set(load.said(since)) == {str(second.port), str(third.port)}
        # A rollout's own requests learn what it answers.
        seen: set[str | None] = set()

        def seen_all() -> bool:
            seen.add(get(port, User_Agent="moorage-probe").headers["X-Moorage-Peer"])
            return seen == {replica.peer for replica in replicas}

        until(seen_all)
        # Where none is well, each is asked: what is said of all of them may be said wrongly.
        second.ill.touch()
        third.ill.touch()
        until(lambda: len(aside(rig, "ill")) == 3)
        since = time.monotonic()
        until(lambda: load.said(since)["500"] > 20)
        first.ill.unlink()
        until(lambda: first.peer not in aside(rig, "ill"))
        since = time.monotonic()
        load.more(50)
        assert set(load.said(since)) == {str(first.port)}


def test_a_switch_begins_with_all_peers_and_a_single_one_is_not_judged(
    rig: EdgeRig, replicas: list[Replica]
) -> None:
    first, second, _ = replicas
    port = rig.stack("switched", first.peer, second.peer, pools=POOLS)
    first.ill.touch()
    until(lambda: aside(rig, "switched") == {first.peer: "answered 500"})
    rig.edge.switch("switched", {"web:80": [first.peer]})
    assert aside(rig, "switched") == {}
    assert get(port).status == 500
    # Whoever leads visitors there knows better than what was seen before.
    rig.edge.switch("switched", {"web:80": [second.peer]})
    first.ill.unlink()
    rig.edge.switch("switched", {"web:80": [first.peer, second.peer]})
    assert aside(rig, "switched") == {}
    first.ill.touch()
    # A reload, as of another stack's, forgets nothing.
    until(lambda: aside(rig, "switched") == {first.peer: "answered 500"})
    rig.edge.reload()
    assert aside(rig, "switched") == {first.peer: "answered 500"}
    assert {get(port).status for _ in range(10)} == {200}


def test_somebody_looks_again_after_workers_were_killed(
    rig: EdgeRig, replicas: list[Replica]
) -> None:
    first, second, _ = replicas
    rig.stack("looked", first.peer, second.peer, pools=POOLS)
    top = docker("top", rig.container, "-eo", "pid,args").splitlines()
    workers = [line.split()[0] for line in top if "worker process" in line]
    subprocess.run(["kill", "-KILL", *workers], check=True)
    first.ill.touch()

    def seen() -> bool:
        # Until there are workers again, nobody tells.
        return report(rig.edge)["running"] and bool(aside(rig, "looked"))

    until(seen)


def test_without_a_path_of_health_only_connections_count(
    rig: EdgeRig, replicas: list[Replica]
) -> None:
    first, second, _ = replicas
    rig.stack("plain", *(replica.peer for replica in replicas))
    first.ill.touch()
    second.signal(signal.SIGKILL)
    until(lambda: aside(rig, "plain") == {second.peer: "connection refused"})


def test_what_must_not_be_repeated_is_not_and_slow_requests_of_a_well_peer_are_not(
    rig: EdgeRig, application: Start
) -> None:
    servers = [application(), application()]
    peers = [server.peer for server in servers]
    options = {"read_timeout_seconds": 1}
    port = rig.stack("once", *peers, pools=POOLS, options=options)

    def asked(line: str) -> int:
        return sum(server.asked.count(line) for server in servers)

    # Both are well: who was slow is asked no second time, by whatever method.
    assert get(port, "/wait").status == 504 and asked("GET /wait") == 1
    for server in servers:
        server.stuck.set()
    assert get(port, "/once", method="POST", body=b"x").status == 504
    assert asked("POST /once") == 1


def test_an_application_cannot_keep_the_edge_busy_with_what_it_says(
    rig: EdgeRig, application: Start
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = f"127.0.0.1:{listener.getsockname()[1]}"
        end = threading.Event()

        def pour() -> None:
            while not end.is_set():
                connection, _ = listener.accept()
                with connection:
                    try:
                        while not end.is_set():
                            connection.send(b"x" * 65536)
                    except OSError:
                        continue

        thread = threading.Thread(target=pour, daemon=True)
        thread.start()
        other = application()
        port = rig.stack("poured", peer, other.peer, pools=POOLS)
        until(lambda: aside(rig, "poured") == {peer: "answered no HTTP"})
        assert {get(port).status for _ in range(6)} == {200}
        end.set()
        socket.create_connection(listener.getsockname(), timeout=10).close()
        thread.join(30)
