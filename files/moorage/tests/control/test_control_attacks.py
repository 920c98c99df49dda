"""What whoever can open the gateway's socket tries beyond what it offers, against a real engine.

A tap between gateway and engine shows each request that the gateway makes: whatever is sent to
it, these are all of a few forms, and name containers of the stack alone.
"""

import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from control_rig import eventually
from docker.models.containers import Container
from gateway_rig import STACK, EngineTap, Gateway, Stack, answer, ask, labels, receive, send

WHO = {"who": "mallory"}
BODY = b'{"who":"mallory"}'
HEAD = b"Host: x\r\nContent-Type: application/json\r\n"
STOP = b"POST /v1/services/web/stop HTTP/1.1\r\n"


@pytest.fixture(scope="module")
def web(stack: Stack) -> Container:
    """The stack's one service."""
    made: Container = stack.add("web")
    return made


@pytest.fixture(scope="module")
def strangers(stack: Stack, web: Container) -> dict[str, Container]:
    """Containers that the stack must not reach, each with a reason to be taken for its own."""
    other = f"{STACK}-other"
    sleep = "sleep 600"
    found = {
        "other": stack.make(f"{other}-web", sleep, labels("web", other)),
        "spoofed": stack.make(f"{STACK}-spoofed", sleep, labels("spoofed")),
        "twin": stack.make(f"{STACK}-web2", sleep, labels("web")),
        "unlabelled": stack.make(f"{STACK}-unlabelled", sleep, {}),
        "project": stack.make(
            f"{STACK}-project", sleep, {**labels("project"), "com.docker.compose.project": other}
        ),
        "service": stack.make(f"{STACK}-service", sleep, labels("another")),
    }
    for name in ("unlabelled", "project", "service"):
        stack.name_in_release(name, f"{STACK}-{name}")
    stack.name_in_release("prefix", str(found["other"].id)[:12])
    return found


@pytest.fixture(scope="module", autouse=True)
def untouched(strangers: dict[str, Container], tap: EngineTap, web: Container) -> Iterator[None]:
    """After all of it: the strangers are as they were, and the engine was asked nothing else."""
    before = {name: _facts(container) for name, container in strangers.items()}
    yield
    assert {name: _facts(container) for name, container in strangers.items()} == before
    own = re.escape(str(web.id))
    names = f"{STACK}-(web|unlabelled|project|service)|{str(strangers['other'].id)[:12]}"
    allowed = (
        r"GET /_ping",
        rf"GET /v1\.\d+/containers/({names})/json",
        rf"GET /v1\.\d+/containers/{own}/logs\?[a-z0-9=&.]+",
        rf"POST /v1\.\d+/containers/{own}/(start|stop|restart)",
        r"GET /v1\.\d+/events\?since=[0-9.]+&filters=[A-Za-z0-9%._-]+",
    )
    forms = re.compile(f"({'|'.join(allowed)}) HTTP/1.0")
    assert tap.lines and [line for line in tap.lines if not forms.fullmatch(line)] == []


def _facts(container: Container) -> tuple[Any, ...]:
    container.reload()
    state = container.attrs["State"]
    return container.name, state["Status"], state["Pid"], state["StartedAt"]


ENGINE_REQUESTS = [
    ("POST", "/containers/create"),
    ("POST", "/v1.41/containers/create"),
    ("POST", "/v1.41/containers/create?name=x"),
    ("GET", "/v1.41/containers/json"),
    ("GET", "/containers/json"),
    ("POST", "/containers/{web}/exec"),
    ("POST", "/v1.41/containers/{web}/exec"),
    ("POST", "/v1/services/web/exec"),
    ("GET", "/v1/services/web/archive?path=/etc"),
    ("PUT", "/v1/services/web/archive?path=/etc"),
    ("GET", "/v1.41/containers/{web}/archive?path=/etc"),
    ("HEAD", "/v1.41/containers/{web}/archive?path=/etc"),
    ("GET", "/v1.41/containers/{web}/export"),
    ("GET", "/v1/services/web/export"),
    ("POST", "/v1/services/web/kill"),
    ("POST", "/v1/services/web/update"),
    ("POST", "/v1/services/web/attach?stream=1"),
    ("DELETE", "/v1/services/web"),
    ("DELETE", "/v1.41/containers/{web}"),
    ("POST", "/v1.41/build"),
    ("GET", "/v1.41/images/json"),
    ("GET", "/v1.41/secrets"),
    ("POST", "/grpc"),
    ("POST", "/session"),
]


@pytest.mark.parametrize(("method", "target"), ENGINE_REQUESTS)
def test_the_engines_own_requests_are_none_here(
    gateway: Gateway, web: Container, method: str, target: str
) -> None:
    for content in (None, WHO, {"Image": "x", "HostConfig": {"Privileged": True}}):
        if content is not None and method != "POST":
            continue
        path = target.replace("{web}", str(web.id))
        status, headers, problem = ask(gateway.socket, method, path, content)
        assert status in (400, 404, 405), problem
        assert headers["content-type"] == "application/problem+json"


def test_strangers_are_no_services(gateway: Gateway, strangers: dict[str, Container]) -> None:
    names = [s["name"] for s in ask(gateway.socket, "GET", "/v1/services")[2]["services"]]
    assert names == ["web", "unlabelled", "project", "service", "prefix"]
    for container in strangers.values():
        ident = str(container.id)
        for name in (container.name, ident, ident[:12], ident[:1], f"{container.name}"[:-1]):
            for action in ("start", "stop", "restart"):
                path = f"/v1/services/{name}/{action}"
                assert ask(gateway.socket, "POST", path, WHO)[0] == 404
            for what in ("", "/logs", "/logs/follow"):
                assert ask(gateway.socket, "GET", f"/v1/services/{name}{what}")[0] == 404


def test_the_own_container_has_no_second_name(gateway: Gateway, web: Container) -> None:
    for name in (web.name, web.id, str(web.id)[:12], "WEB", "web.", "web-", "we"):
        assert ask(gateway.socket, "POST", f"/v1/services/{name}/stop", WHO)[0] == 404


@pytest.mark.parametrize("name", ["unlabelled", "project", "service", "prefix"])
def test_a_name_in_the_release_is_not_enough(gateway: Gateway, name: str) -> None:
    """Somebody else's container took the name, or an id begins with it."""
    _, _, found = ask(gateway.socket, "GET", f"/v1/services/{name}")
    assert (found["state"], found["pid"], found["memory_bytes"]) == ("stopped", None, None)
    for action in ("start", "stop", "restart"):
        status, _, problem = ask(gateway.socket, "POST", f"/v1/services/{name}/{action}", WHO)
        assert (status, problem["code"]) == (409, "no_container")
    assert ask(gateway.socket, "GET", f"/v1/services/{name}/logs")[0] == 409


PATHS = [
    "/v1/services/web/../../containers/json",
    "/v1/services/../services/web",
    "/v1/services/./web",
    "/v1/services/%2e%2e/web",
    "/v1/services/web%2fstop",
    "/v1/services/web%00",
    "/v1/services/web;x=1",
    "/v1/services/web\\stop",
    "/v1//services",
    "//v1/services",
    "/v1/services/",
    "/v1/services//stop",
    "/v1/services/web/stop/",
    "/v1/services/web/stop/x",
    "/V1/services",
    "/v1.41/services",
    "/v2/services",
    "/v1.41/v1/services",
    "v1/services",
    "*",
    "http://docker/containers/json",
    "http://x/v1/services",
    "docker:80",
    "/v1/services#x",
    "/v1/services?x=1",
    "/v1/services/web/logs?lines=-1",
    "/v1/services/web/logs?lines=9999999",
    "/v1/services/web/logs?lines=1&lines=2",
    "/v1/services/web/logs?lines=1%26follow=1",
    "/v1/services/web/logs?stream=stdout&tail=1",
    "/v1/services/web/logs?stream=../../x",
    "/v1/events?since=1e3",
    "/v1/services/wéb",
]


@pytest.mark.parametrize("target", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_tricks_with_paths(gateway: Gateway, method: str, target: str) -> None:
    status, _, problem = ask(gateway.socket, method, target, WHO if method == "POST" else None)
    assert status in (400, 404, 405) and problem["detail"]


CHUNKED = b"11\r\n" + BODY + b"\r\n0\r\n\r\n"
LENGTH = b"Content-Length: 17\r\n"
SMUGGLED = {
    "length and coding": STOP + HEAD + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED,
    "coding alone": STOP + HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED,
    "unknown coding": STOP + HEAD + b"Transfer-Encoding: xchunked\r\n" + LENGTH + b"\r\n" + BODY,
    "coding with a tab": STOP + HEAD + b"Transfer-Encoding:\tchunked\r\n" + LENGTH + b"\r\n" + BODY,
    "two lengths": STOP + HEAD + LENGTH + b"Content-Length: 0\r\n\r\n" + BODY,
    "two equal lengths": STOP + HEAD + LENGTH + LENGTH + b"\r\n" + BODY,
    "list of lengths": STOP + HEAD + b"Content-Length: 17, 17\r\n\r\n" + BODY,
    "signed length": STOP + HEAD + b"Content-Length: +17\r\n\r\n" + BODY,
    "negative length": STOP + HEAD + b"Content-Length: -1\r\n\r\n" + BODY,
    "hexadecimal length": STOP + HEAD + b"Content-Length: 0x11\r\n\r\n" + BODY,
    "empty length": STOP + HEAD + b"Content-Length:\r\n\r\n" + BODY,
    "length with a space before": STOP + HEAD + b"Content-Length : 17\r\n\r\n" + BODY,
    "too short a length": STOP + HEAD + b"Content-Length: 5\r\n\r\n" + BODY,
    "no length": STOP + HEAD + b"\r\n" + BODY,
    "folded header": STOP + b"Host: x\r\n y: z\r\nContent-Type: application/json\r\n" + LENGTH
    + b"\r\n" + BODY,
    "fold of the length": STOP + HEAD + b"Content-Length:\r\n 17\r\n\r\n" + BODY,
    "first header folded": STOP + b" Host: x\r\n" + HEAD + LENGTH + b"\r\n" + BODY,
    "bare line feeds": (STOP + HEAD + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY,
    "one bare line feed": STOP + b"Host: x\nX: y\r\n" + HEAD[9:] + LENGTH + b"\r\n" + BODY,
    "bare carriage return": STOP + b"Host: x\rX: y\r\n" + HEAD[9:] + LENGTH + b"\r\n" + BODY,
    "NUL in a header": STOP + b"X: \0\r\n" + HEAD + LENGTH + b"\r\n" + BODY,
    "no colon": STOP + b"X\r\n" + HEAD + LENGTH + b"\r\n" + BODY,
    "empty name": STOP + b": x\r\n" + HEAD + LENGTH + b"\r\n" + BODY,
    "name that is none": STOP + b"X(y): z\r\n" + HEAD + LENGTH + b"\r\n" + BODY,
    "two hosts": STOP + b"Host: y\r\n" + HEAD + LENGTH + b"\r\n" + BODY,
    "no host": STOP + HEAD[9:] + LENGTH + b"\r\n" + BODY,
    "empty line first": b"\r\n" + STOP + HEAD + LENGTH + b"\r\n" + BODY,
    "two spaces": STOP.replace(b" ", b"  ") + HEAD + LENGTH + b"\r\n" + BODY,
    "tab for a space": STOP.replace(b" ", b"\t") + HEAD + LENGTH + b"\r\n" + BODY,
    "small letters": STOP.replace(b"POST", b"post") + HEAD + LENGTH + b"\r\n" + BODY,
    "no version": STOP.replace(b" HTTP/1.1", b"") + HEAD + LENGTH + b"\r\n" + BODY,
    "older version": STOP.replace(b"1.1", b"1.0") + HEAD + LENGTH + b"\r\n" + BODY,
    "two digits of it": STOP.replace(b"1.1", b"1.10") + HEAD + LENGTH + b"\r\n" + BODY,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
    "expectation": STOP + HEAD + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n" + BODY,
    "pipelined": (STOP + HEAD + LENGTH + b"\r\n" + BODY) * 2,
    "engine's request behind": STOP + HEAD + LENGTH + b"\r\n" + BODY
    + b"GET /containers/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "engine's request as a body": b"GET /v1/services HTTP/1.1\r\nHost: x\r\nContent-Length: 42\r\n"
    b"\r\nGET /containers/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "line break in the path": b"POST /v1/services/web/stop\r\nX: /stop HTTP/1.1\r\n" + HEAD + LENGTH
    + b"\r\n" + BODY,
    "another form": STOP + b"Host: x\r\nContent-Type: text/plain\r\n" + LENGTH + b"\r\n" + BODY,
    "no form": STOP + b"Host: x\r\n" + LENGTH + b"\r\n" + BODY,
}  # fmt: skip


@pytest.mark.parametrize("attack", SMUGGLED)
def test_requests_that_two_readers_would_read_differently(
    gateway: Gateway, web: Container, attack: str
) -> None:
    before = _facts(web)
    status, _, problem = answer(send(gateway.socket, SMUGGLED[attack]))
    assert status in (400, 415, 417, 505), problem
    assert _facts(web) == before


def test_an_upgrade_is_not_made(gateway: Gateway) -> None:
    extra = b"Connection: Upgrade\r\nUpgrade: tcp\r\n"
    request = b"GET /v1/health HTTP/1.1\r\nHost: x\r\n" + extra + b"\r\n"
    status, headers, _ = answer(send(gateway.socket, request))
    assert (status, headers["connection"]) == (200, "close")


@pytest.mark.parametrize(
    ("status", "request_bytes"),
    [
        (413, STOP + HEAD + b"Content-Length: 8193\r\n\r\n" + b" " * 8193),
        (413, STOP + HEAD + b"Content-Length: 999999999\r\n\r\n"),
        (400, STOP + HEAD + b"Content-Length: 99999999999999999999\r\n\r\n"),
        (431, STOP + b"X: " + b"y" * 9000 + b"\r\n" + HEAD + LENGTH + b"\r\n" + BODY),
        (431, STOP + b"X: y\r\n" * 40 + HEAD + LENGTH + b"\r\n" + BODY),
        (431, b"GET /" + b"a" * 100_000),
        (414, b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
        (400, STOP + HEAD + b"Content-Length: 8000\r\n\r\n" + b"[" * 8000),
    ],
)
def test_oversized_requests(gateway: Gateway, status: int, request_bytes: bytes) -> None:
    assert answer(send(gateway.socket, request_bytes))[0] == status


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        None,
        "web",
        {"who": ""},
        {"who": 1},
        {"who": None},
        {"who": "x" * 65},
        {"who": "a\nb"},
        {"who": "a\x1b[31m"},
        {"who": "\ud800"},
        {"who": "a\u2028b"},
        {"who": "ada", "reason": "x" * 201},
        {"who": "ada", "reason": ["x"]},
        {"who": "ada", "Image": "x"},
        {"who": "ada", "HostConfig": {"Privileged": True}},
    ],
)
def test_bodies_that_are_none_of_the_contract(gateway: Gateway, content: object) -> None:
    status, _, problem = ask(gateway.socket, "POST", "/v1/services/web/restart", content)
    assert status in (400, 415), problem


def test_repeated_names_in_a_body(gateway: Gateway) -> None:
    body = b'{"who":"ada","who":"mallory"}'
    head = STOP + HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    assert answer(send(gateway.socket, head + body))[0] == 400


def test_denials_are_in_the_audit_log(gateway: Gateway) -> None:
    _, _, problem = ask(gateway.socket, "POST", "/v1/services/nobody/stop", WHO)
    noted = gateway.audit()[-1]
    assert (noted["who"], noted["action"], noted["service"]) == ("mallory", "stop", "nobody")
    assert (noted["result"], noted["status"], noted["detail"]) == ("denied", 404, problem["detail"])
    assert noted["peer"]["uid"] == 0 and noted["peer"]["pid"] > 0


def test_a_slow_client_holds_nobody_up(gateway: Gateway) -> None:
    with socket.socket(socket.AF_UNIX) as slow, socket.socket(socket.AF_UNIX) as silent:
        for client in (slow, silent):
            client.settimeout(10)
            client.connect(gateway.socket)
        slow.sendall(b"POST /v1/serv")
        begun = time.monotonic()
        times = []
        while not _readable(slow):
            at = time.monotonic()
            assert ask(gateway.socket, "GET", "/v1/services/web")[0] == 200
            times.append(time.monotonic() - at)
            if len(times) < 1000:
                slow.sendall(b"i")
            assert time.monotonic() - begun < 60
        assert answer(receive(slow))[0] == 408
        assert answer(receive(silent))[0] == 408
        assert sorted(times)[len(times) // 2] < 0.5


def test_a_thousand_calls_at_once(gateway: Gateway, tap: EngineTap) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    before = len(tap.lines)
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(1000)]
        for client in clients:
            client.settimeout(20)
            client.connect(gateway.socket)
            client.sendall(b"GET /v1/services HTTP/1.1\r\n")
        status, headers, problem = eventually(lambda: _refused(gateway), "all places are taken")
        assert (status, problem["code"]) == (503, "busy")
        assert headers["content-type"] == "application/problem+json"
        for client in clients:
            client.sendall(b"Host: x\r\n\r\n")
        found = [answer(receive(client)) for client in clients]
    assert {status for status, _, _ in found} == {200}
    assert all(len(content["services"]) == 5 for _, _, content in found)
    # Five requests for each call, were not those of one moment answered together.
    assert len(tap.lines) - before < 2500
    assert gateway.process.poll() is None and gateway.resident() < 64 << 20
    assert ask(gateway.socket, "GET", "/v1/health")[0] == 200


def _refused(gateway: Gateway) -> tuple[int, dict[str, str], Any] | None:
    found = ask(gateway.socket, "GET", "/v1/health")
    return found if found[0] == 503 else None


def _readable(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return bool(client.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        client.settimeout(10)
