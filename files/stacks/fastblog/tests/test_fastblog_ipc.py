"""The message server, as a process, and whatever may come to its port."""

import json
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fastblog import ipc
from fastblog_rig import Browser, Process, environment, eventually, free_port, main_app

TOKEN = "ipc-token-of-the-tests-0123456789"
Connect = Callable[..., ipc.Client]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of server and clients."""
    where = f"127.0.0.1:{free_port()}"
    made: dict[str, str] = environment(
        tmp_path_factory.mktemp("ipc"), LISTEN=where, IPC_ADDRESS=where
    )
    return made


@pytest.fixture(scope="module")
def server(given: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The server."""
    made = Process(tmp_path_factory.mktemp("server"), given, "fastblog_start", "ipc_server")
    eventually(lambda: "listening" in made.text(), made.text)
    yield made
    made.popen.send_signal(signal.SIGTERM)
    assert made.popen.wait(30) == 0, made.text()
    assert "Traceback" not in made.text(), made.text()


@pytest.fixture
def connect(server: Process, given: dict[str, str]) -> Iterator[Connect]:
    """Makes clients."""
    made: list[ipc.Client] = []

    def make(name: str, **options: Any) -> ipc.Client:
        made.append(ipc.Client(name, environ=given, seconds=30, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_events_reach_those_who_have_asked_for_them(connect: Connect) -> None:
    got: list[tuple[object, str]] = []
    connect("reader", handlers={"posts": lambda data, who: got.append((data, who))})
    connect("other", handlers={"comments": lambda data, who: got.append((data, who))})
    writer = connect("writer")
    assert writer.publish("posts", {"title": "部署"}) == 1
    assert writer.publish("nobody") == 0
    eventually(lambda: got == [({"title": "部署"}, "writer")], lambda: str(got))
    names = [found["name"] for found in writer.status()["clients"]]
    assert names == ["reader", "other", "writer"]


def test_requests_are_answered_by_the_newest_of_a_name(connect: Connect) -> None:
    def fails(_data: object, _who: str) -> object:
        raise ValueError("no such thing")

    connect("app", serve=lambda data, who: "the old one")
    app = connect("app", serve=lambda data, who: [data, who])
    asker = connect("asker")
    assert asker.request("app", 7) == [7, "asker"]
    threads = [threading.Thread(target=asker.request, args=("app", n)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    app.close()
    names = [found["name"] for found in asker.status()["clients"]]
    eventually(
        lambda: [c["name"] for c in asker.status()["clients"]].count("app") == 1, lambda: str(names)
    )
    assert asker.request("app", 7) == "the old one"
    connect("bad", serve=fails)
    with pytest.raises(ipc.IpcError, match="no such thing"):
        asker.request("bad")
    with pytest.raises(ipc.IpcError, match="nobody is called 'none'"):
        asker.request("none")
    with pytest.raises(ipc.BadFrame):
        asker.publish("posts", "x" * ipc.MOST_BYTES)
    with pytest.raises(ipc.BadFrame):
        asker.publish("posts", "\ud800")
    assert asker.publish("posts", "y") == 0, "it goes on"


def _raw(given: dict[str, str], *frames: bytes) -> socket.socket:
    host, port = ipc.address(given, "IPC_ADDRESS")
    made = socket.create_connection((host, port), timeout=30)
    for frame in frames:
        made.sendall(frame)
    return made


def test_only_who_has_the_token_is_let_in(
    server: Process, given: dict[str, str], connect: Connect
) -> None:
    for hello in ({"name": "x", "token": "wrong"}, {"name": "x"}, {"name": "\n", "token": TOKEN}):
        with _raw(given, ipc.encode({"op": "hello", **hello})) as stranger:
            assert b"refused" in stranger.recv(1000)
            assert stranger.recv(1000) == b""
    with _raw(given, ipc.encode({"op": "status", "id": 1})) as stranger:
        assert b"refused" in stranger.recv(1000)
    assert connect("one").status()["refused"] >= 4


def test_strangers_keep_nobody_out(given: dict[str, str], connect: Connect) -> None:
    strangers = [_raw(given) for _ in range(80)]
    try:
        assert connect("one").publish("posts") == 0
    finally:
        for stranger in strangers:
            stranger.close()


def test_a_member_does_the_others_no_harm(given: dict[str, str], connect: Connect) -> None:
    app = connect("app", serve=lambda data, who: "y" * 1000)
    asker = connect("asker")
    hello = ipc.encode({"op": "hello", "name": "evil" * 10, "token": TOKEN})
    # Nobody could be told anything by such an id.
    long = ipc.encode({"op": "request", "to": "app", "id": "x" * (ipc.MOST_BYTES - 50)})
    # With what is added to it, it is too long.
    most = ipc.encode({"op": "request", "to": "app", "id": 1, "data": "x" * (ipc.MOST_BYTES - 50)})
    topics = ["\1" * 100 + str(number) for number in range(32)]
    many = ipc.encode({"op": "subscribe", "id": 1, "topics": topics})
    with _raw(given, hello, long) as evil:
        assert b"welcome" in evil.recv(1000)
        assert evil.recv(1000) == b""
    with _raw(given, hello, most) as evil:
        eventually(lambda: b"too long" in evil.recv(1000), lambda: "no answer")
    for stranger in [_raw(given, hello, many) for _ in range(14)]:
        with stranger:
            while stranger.recv(1000):
                pass
    assert len(asker.status()["clients"]) == 2
    assert asker.request("app") == "y" * 1000 and not app.closed


def test_who_does_not_read_holds_nobody_up(given: dict[str, str], connect: Connect) -> None:
    hello = ipc.encode({"op": "hello", "name": "deaf", "token": TOKEN})
    with _raw(given, hello, ipc.encode({"op": "subscribe", "id": 1, "topics": ["flood"]})):
        got: list[object] = []
        connect("reader", handlers={"flood": lambda data, who: got.append(None)})
        writer = connect("writer")
        delivered = []
        for number in range(1, 201):
            delivered.append(writer.publish("flood", "x" * 100_000))
            eventually(lambda n=number: len(got) == n, lambda: str(len(got)))
        assert delivered[0] == 2 and delivered[-1] == 1
        deaf = next(c for c in writer.status()["clients"] if c["name"] == "deaf")
        assert deaf["dropped"] > 100 and deaf["waiting"] * 100_000 <= 2 * 2**20 + 100_000


def _odd_frames(chance: random.Random) -> Iterator[bytes]:
    """Yield what may come: torn, huge, deep, of other types, or just noise."""
    values: list[object] = [
        *(None, True, -1, 2**70, 1.5, "", "x" * 5000, [], {}, [[]], {"a": 1}, "\ud800", "\0"),
        *("posts", "app", "deaf", 7),
    ]
    ops = ["hello", "subscribe", "publish", "request", "reply", "status", "event", "?", ""]
    for _ in range(400):
        keys = ["id", "topic", "topics", "to", "data", "error", "name", "token", "op"]
        message = {key: chance.choice(values) for key in chance.sample(keys, chance.randint(0, 8))}
        if chance.random() < 0.9:
            message["op"] = chance.choice(ops)
        body = json.dumps(message).encode()
        match chance.randint(0, 11):
            case 0:
                body = chance.randbytes(chance.randint(1, 200))
            case 1:
                body = b"[" * 100_000
            case 2:
                body = b'{"op":"publish","topic":"a","data":' + b"[" * 900 + b"]" * 900 + b"}"
            case 3:
                body = b'{"op":"publish","data":NaN}'
            case 4:
                yield struct.pack("!I", chance.choice([0, 2**31, 2**32 - 1, ipc.MOST_BYTES + 1]))
                continue
            case 5:
                yield struct.pack("!I", len(body)) + body[: len(body) // 2]
                continue
        yield struct.pack("!I", len(body)) + body


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_noise_does_it_no_harm(
    server: Process, given: dict[str, str], connect: Connect, seed: int
) -> None:
    hello = ipc.encode({"op": "hello", "name": "noise", "token": TOKEN})
    chance = random.Random(seed)
    frames = list(_odd_frames(chance))
    while frames:
        several, frames = frames[:4], frames[4:]
        # Most of them say the right thing first.
        with _raw(given, *([hello] if chance.random() < 0.8 else [])) as stranger:
            with suppress(OSError):
                stranger.sendall(b"".join(several))
                stranger.shutdown(socket.SHUT_WR)
            # Whatever it was, the connection ends.
            with suppress(ConnectionError):
                while stranger.recv(65536):
                    pass
    connect("app", serve=lambda data, who: data)
    assert connect("asker").request("app", "still there") == "still there"
    assert "Traceback" not in server.text(), server.text()[-3000:]


def test_a_member_comes_back_when_the_server_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = f"127.0.0.1:{free_port()}"
    variables = environment(tmp_path, LISTEN=where, IPC_ADDRESS=where)
    for name in ("IPC_ADDRESS", "IPC_TOKEN_FILE"):
        monkeypatch.setenv(name, variables[name])
    ipc.Member("app", serve=lambda data, who: data)
    for round_ in (1, 2):
        made = Process(tmp_path, variables, "fastblog_start", "ipc_server")
        try:

            def answered(number: int = round_) -> bool:
                try:
                    with ipc.Client("asker", environ=variables) as asker:
                        return bool(asker.request("app", number) == number)
                except ipc.IpcError:
                    return False

            eventually(answered, made.text)
        finally:
            made.kill()


def test_the_site_tells_of_posts(tmp_path: Path, given: dict[str, str], connect: Connect) -> None:
    got: list[Any] = []
    connect("reader", handlers={"posts": lambda data, who: got.append((data, who))})
    port = free_port()
    made = main_app(tmp_path, given | environment(tmp_path, IPC_ADDRESS=given["IPC_ADDRESS"]), port)
    try:
        asker = connect("asker")

        def known() -> bool:
            return "main_app" in [found["name"] for found in asker.status()["clients"]]

        eventually(known, made.text)
        assert asker.request("main_app", "status")["port"] == port
        client = Browser(port)
        client.sign_in()
        client.send("/admin/posts/new", title="部署", body="x", action="publish")
        eventually(
            lambda: got == [({"slug": "部署", "title": "部署"}, "main_app")], lambda: str(got)
        )
        done = subprocess.run(
            [sys.executable, "-m", "fastblog.ipc"],
            env=given | {"IPC_TOKEN_FILE": given["IPC_TOKEN_FILE"]},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    finally:
        made.kill()
