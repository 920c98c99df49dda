"""Bodies that wait at a real edge: how much of them, how slowly, and what is left of them."""

from __future__ import annotations

import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest
from edge_rig import Application, EdgeRig, docker, get, until

from moorage.edge import EdgeError
from moorage.edge.control import ask

Start = Callable[..., Application]
MB = 2**20
LENGTH = "Content-Length: {}"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, image: str) -> Iterator[EdgeRig]:
    """An edge that keeps 16 MiB of bodies, and is patient with slow ones."""
    assert image
    made = EdgeRig(tmp_path_factory.mktemp("b"), tls="selfsigned", bodies_mb=16)
    try:
        made.provision(body_grace_seconds=60)
        yield made
    finally:
        made.remove()


def kept(rig: EdgeRig, scope: str = "host") -> int:
    """Return how many bytes the edge counts; -1 while it does not answer."""
    try:
        return int(ask(rig.edge.store.socket)["bodies"].get(scope, 0))
    except EdgeError:
        return -1


def on_disk(rig: EdgeRig) -> int:
    """Return how many bytes of bodies lie in files."""
    argv = ("exec", rig.container, "du", "-s", "-B1", str(rig.directory / "cache" / "body"))
    return int(docker(*argv).split()[0])


def begin(port: int, length: str, body: bytes = b"") -> socket.socket:
    """Send the head of a POST and a part of its body."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(f"POST / HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
    send(connection, body)
    return connection


def send(connection: socket.socket, body: bytes) -> bool:
    """Send more, for as long as somebody takes it."""
    try:
        connection.sendall(body)
    except OSError:
        return False
    return True


def status(connection: socket.socket) -> str:
    """Return the status of an answer that has to come; nothing when it is cut off."""
    try:
        return connection.recv(65536).decode("latin-1").split(" ")[1]
    except (OSError, IndexError):
        return ""


def chunks(size: int) -> bytes:
    """Return a body of unknown length that is not at its end."""
    return (b"10000\r\n" + b"x" * 65536 + b"\r\n") * (size // 65536)


def upload(rig: EdgeRig, *argv: str) -> subprocess.Popen[bytes]:
    """Start an upload by HTTP/2 of what is written to it; it prints the status."""
    place = f"www.example.com:{rig.https}"
    command = ["curl", "--silent", "--insecure", "--http2", "--output", "/dev/null"]
    command += ["--write-out", "%{http_code}", "--resolve", f"{place}:127.0.0.1", *argv]
    command.append(f"https://{place}/")
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def said(upload: subprocess.Popen[bytes], body: bytes = b"") -> str:
    """Send the rest of an upload and return its status."""
    return str(upload.communicate(body, timeout=60)[0], "ascii")


def site(rig: EdgeRig, name: str, peer: str, **options: object) -> int:
    """Have a stack that HTTP/2 reaches too; one at a time."""
    for stack in rig.edge.store.all_facts():
        rig.edge.forget(stack.stack)
    routes = [{"path": "/", "pool": "web:80"}]
    facts = {"domains": ["www.example.com"], "routes": routes, "options": options}
    return int(rig.stack(name, peer, **facts))


def test_stalled_bodies_of_all_visitors_are_bounded(narrow: EdgeRig, application: Start) -> None:
    port = site(narrow, "stalled", application().peer)
    held = [begin(port, LENGTH.format(6 * MB), b"x" * 5 * MB) for _ in range(5)]
    # Two of them fit, and are still waited for; the others were told at once.
    until(lambda: len(select.select(held, [], [], 0)[0]) == 3)
    refused = select.select(held, [], [], 0)[0]
    assert kept(narrow) == 12 * MB
    assert on_disk(narrow) <= 12 * MB
    found = {status(connection) for connection in refused}
    assert "503" in found
    assert found <= {"503", ""}
    # Large ones leave room for small ones.
    assert get(port, method="POST", body=b"x" * 100_000).status == 200
    assert get(port, method="POST", body=b"x" * 3 * MB).status == 503
    for connection in held:
        if connection not in refused:
            connection.sendall(b"x" * MB)
            assert status(connection) == "200"
        connection.close()
    until(lambda: kept(narrow) == kept(narrow, "stalled/web:80") == 0)


def test_who_is_refused_is_told_when_to_come_again_and_keeps_his_connection(
    narrow: EdgeRig, application: Start
) -> None:
    server = application()
    port = site(narrow, "again", server.peer)
    first = begin(port, LENGTH.format(13 * MB))
    until(lambda: kept(narrow) > 0)
    with first, begin(port, LENGTH.format(3 * MB)) as second:
        assert second.recv(12) == b"HTTP/1.1 503"
        assert b"\r\nRetry-After: 5\r\n" in second.recv(65536)
        # What comes then is still the body, and not another request.
        second.sendall(b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n")
        first.close()
        until(lambda: kept(narrow) == 0)
    assert server.asked == []


def test_bodies_without_a_length_are_weighed_as_they_come(
    narrow: EdgeRig, application: Start
) -> None:
    port = site(narrow, "chunked", application().peer)
    with begin(port, CHUNKED, chunks(MB) + b"0\r\n\r\n") as whole:
        assert status(whole) == "200"
    until(lambda: kept(narrow) == 0)
    with begin(port, CHUNKED, chunks(8 * MB)) as first:
        until(lambda: kept(narrow) > 8 * MB)
        with begin(port, CHUNKED, chunks(8 * MB)) as second:
            assert status(second) in {"503", ""}
        first.sendall(b"0\r\n\r\n")
        assert status(first) == "200"
    until(lambda: kept(narrow) == 0)


def test_bodies_that_nginx_reads_by_itself_are_counted_before_they_come(
    narrow: EdgeRig, application: Start
) -> None:
    server = application()
    site(narrow, "http2", server.peer, max_body_bytes=6 * MB)
    assert said(upload(narrow, "-T", "-"), b"x" * 5 * MB) == "200"
    until(lambda: kept(narrow) == 0)
    first = upload(narrow, "-T", "-")
    assert first.stdin
    first.stdin.write(b"x" * 1000)
    first.stdin.flush()
    until(lambda: kept(narrow) == 6 * MB)
    assert said(upload(narrow, "-T", "-"), b"x" * MB) == "503"
    # They leave room for those with a length, for small ones, and for who has no body.
    assert said(upload(narrow, "--data-binary", "@-"), b"x" * MB) == "200"
    assert said(upload(narrow, "-X", "PATCH")) == "200"
    assert said(upload(narrow, "-T", "-"), b"x" * 1000) == "200"
    assert said(upload(narrow, "-X", "GET", "-T", "-"), b"x" * 1000) == "200"
    assert said(first) == "200"
    until(lambda: kept(narrow) == 0)


def test_a_service_has_a_bound_of_its_own_and_leaves_others_the_rest(
    narrow: EdgeRig, application: Start
) -> None:
    services = {"web": {"max_bodies_bytes": 4 * MB, "max_body_bytes": 3 * MB}}
    port = site(narrow, "beset", application().peer, services=services)
    other = narrow.stack("other", application().peer)
    with begin(port, LENGTH.format(3 * MB)):
        until(lambda: kept(narrow, "beset/web:80") == 3 * MB)
        assert get(port, method="POST", body=b"x" * MB).status == 503
        assert get(other, method="POST", body=b"x" * 6 * MB).status == 200
    assert get(port, method="POST", body=b"x" * 4 * MB).status == 413
    until(lambda: kept(narrow) == 0)


def test_one_that_is_larger_than_all_gets_through_alone(
    narrow: EdgeRig, application: Start
) -> None:
    port = site(narrow, "alone", application().peer, max_body_bytes=0)
    assert get(port, method="POST", body=b"x" * 20 * MB).json()["received"] == 20 * MB
    # A worker counts off what it has answered a little later than the answer is here.
    until(lambda: kept(narrow) == 0)
    with begin(port, LENGTH.format(20 * MB)):
        until(lambda: kept(narrow) > 0)
        assert get(port, method="POST", body=b"x" * 20 * MB).status == 503
    until(lambda: kept(narrow) == 0)


@pytest.fixture
def impatient(narrow: EdgeRig) -> Iterator[EdgeRig]:
    """The same edge, less patient for a test."""
    narrow.provision(body_grace_seconds=6)
    yield narrow
    narrow.provision(body_grace_seconds=60)


@pytest.mark.parametrize(
    ("length", "part"), [(LENGTH.format(10**6), b"x"), (CHUNKED, b"1\r\nx\r\n")]
)
def test_who_sends_too_slowly_is_told_so(
    impatient: EdgeRig, application: Start, length: str, part: bytes
) -> None:
    server = application()
    port = site(impatient, "slow", server.peer)
    with begin(port, length) as connection:
        connection.settimeout(0.1)
        answer = b""

        def answered() -> bytes:
            nonlocal answer
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                connection.sendall(part)
            return answer

        until(answered, 60)
        assert answer.startswith(b"HTTP/1.1 408")
    until(lambda: kept(impatient) == 0)
    assert server.asked == []


def test_a_slow_line_gets_through(impatient: EdgeRig, application: Start) -> None:
    port = site(impatient, "phone", application().peer)
    phone = upload(impatient, "--data-binary", "@-", "--limit-rate", "20k")
    with begin(port, CHUNKED) as connection:
        pause = threading.Event()
        for _ in range(40):
            connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            pause.wait(0.2)
        connection.sendall(b"0\r\n\r\n")
        assert status(connection) == "200"
    assert said(phone, b"x" * 180_000) == "200"
    until(lambda: kept(impatient) == 0)


def test_nothing_is_counted_any_more_of_who_went_or_was_killed(
    narrow: EdgeRig, application: Start
) -> None:
    port = site(narrow, "gone", application().peer)
    held = [begin(port, LENGTH.format(MB)) for _ in range(12)]
    until(lambda: kept(narrow) == 12 * MB)
    for connection in held[:2]:
        connection.close()
    until(lambda: kept(narrow) == 10 * MB)
    narrow.edge.reload()
    assert kept(narrow) == 10 * MB
    # The old workers go on with these, and are replaced by none when they are killed.
    top = docker("top", narrow.container, "-eo", "pid,args").splitlines()
    old = [line.split()[0] for line in top if "shutting down" in line]
    subprocess.run(["kill", "-KILL", *old], check=True)
    until(lambda: get(port, method="POST", body=b"x" * 6 * MB).status == 200)
    # A worker counts off what it has answered a little later than the answer is here.
    until(lambda: kept(narrow) == 0)
    held += [begin(port, LENGTH.format(MB)) for _ in range(8)]
    until(lambda: kept(narrow) == 8 * MB)
    top = docker("top", narrow.container, "-eo", "pid,args").splitlines()
    workers = [line.split()[0] for line in top if "worker process" in line]
    subprocess.run(["kill", "-KILL", *workers], check=True)
    until(lambda: kept(narrow) == 0)
    for connection in held:
        connection.close()
    assert get(port, method="POST", body=b"x" * MB).status == 200
