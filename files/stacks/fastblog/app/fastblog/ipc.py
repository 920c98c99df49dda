"""Messages between processes: frames of JSON over TCP, and a client that blocks.

A frame is its length, four bytes in network order, then as many bytes of UTF-8 JSON, an object. The
first one is `{"op": "hello", "name": NAME, "token": TOKEN}`. After the server's
`{"op": "welcome"}` a client sends, each with an `id` of its own that the answer repeats:

- `subscribe` with `topics` and `publish` with `topic` and `data`: subscribers get `event` with
  `topic`, `data` and `from`;
- `request` with `to` and `data`: who has that name gets `request` with `id`, `from` and `data`, and
  sends `reply` with that id and `data` or `error`;
- `status`: who is connected, and what waits for them.
"""

import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from moorage.application.environment import ConfigurationError, read_secret
from moorage.common import readers

MOST_BYTES = 262_144
# Of the first frame: who has not shown the token yet has little to say.
MOST_HELLO = 4_096
DEFAULT_PORT = 12345
_LENGTH = struct.Struct("!I")
Message = dict[str, Any]


class IpcError(Exception):
    """The server cannot be reached, has refused, or nobody has answered; the text says why."""


class BadFrame(IpcError):
    """What came is no frame of this protocol."""


def encode(message: Mapping[str, Any]) -> bytes:
    """Return a frame; raises BadFrame for one that is too long."""
    try:
        body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise BadFrame(f"this cannot be sent: {error}") from None
    if len(body) > MOST_BYTES:
        raise BadFrame(f"a message of {len(body)} bytes; {MOST_BYTES} are the most")
    return _LENGTH.pack(len(body)) + body


def length(head: bytes, most: int = MOST_BYTES) -> int:
    """Return the length that a frame's head says; raises BadFrame."""
    size = int(_LENGTH.unpack(head)[0])
    if not 0 < size <= most:
        raise BadFrame(f"a frame of {size} bytes; from 1 to {most} are allowed")
    return size


def decode(body: bytes) -> Message:
    """Return a frame's object; raises BadFrame."""
    try:
        found = readers.decode(body)
    except ValueError as error:
        raise BadFrame(f"not JSON that is taken: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("op"), str):
        raise BadFrame("not an object with op")
    return found


def address(env: Mapping[str, str], variable: str) -> tuple[str, int]:
    """Return host and port of a variable such as `127.0.0.1:12345`; raises ConfigurationError."""
    host, _, port = (env.get(variable, "") or f"127.0.0.1:{DEFAULT_PORT}").rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(f"{variable} must be HOST:PORT, not {env.get(variable)!r}")
    return host, int(port)


class Client:
    """One connection, with a thread that reads. Safe to share between threads."""

    def __init__(
        self,
        name: str,
        *,
        handlers: Mapping[str, Callable[[Any, str], None]] | None = None,
        serve: Callable[[Any, str], Any] | None = None,
        seconds: float = 5.0,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Connect as IPC_ADDRESS and IPC_TOKEN_FILE say; raises IpcError and ConfigurationError.

        `handlers` are called with data and sender of an event, by topic; `serve` answers requests.
        Both run in the reading thread: what takes long belongs elsewhere.
        """
        env = os.environ if environ is None else environ
        self._handlers, self._serve, self._seconds = dict(handlers or {}), serve, seconds
        self._sending, self._waiting = threading.Lock(), threading.Condition()
        self._answers: dict[int, Message | None] = {}
        self._number = 0
        self.closed = False
        where = address(env, "IPC_ADDRESS")
        try:
            self._socket = socket.create_connection(where, timeout=seconds)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            token = read_secret(env, "IPC_TOKEN")
            self._socket.sendall(encode({"op": "hello", "name": name, "token": token}))
            welcome = self._receive()
        except (OSError, IpcError) as error:
            raise IpcError(f"no message server at {where[0]}:{where[1]}: {error}") from None
        if welcome["op"] != "welcome":
            self.close()
            raise IpcError(f"the message server refuses: {welcome.get('error', welcome)}")
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._read, name=f"ipc-{name}", daemon=True)
        self._thread.start()
        try:
            if self._handlers:
                self._ask({"op": "subscribe", "topics": sorted(self._handlers)})
        except IpcError:
            self.close()
            raise

    def publish(self, topic: str, data: Any = None) -> int:
        """Send an event; return how many got it."""
        return int(self._ask({"op": "publish", "topic": topic, "data": data})["delivered"])

    def request(self, to: str, data: Any = None, seconds: float | None = None) -> Any:
        """Return what another client answers; raises IpcError, also with its own words."""
        return self._ask({"op": "request", "to": to, "data": data}, seconds).get("data")

    def status(self) -> Message:
        """Return who is connected."""
        return self._ask({"op": "status"})

    def wait_closed(self, seconds: float | None = None) -> bool:
        """Wait for the connection's end; say whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def close(self) -> None:
        """End it."""
        self.closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _ask(self, message: Message, seconds: float | None = None) -> Message:
        deadline = time.monotonic() + (self._seconds if seconds is None else seconds)
        with self._waiting:
            self._number += 1
            number = self._number
            self._answers[number] = None
        try:
            self._send({**message, "id": number})
            with self._waiting:
                while (answer := self._answers[number]) is None:
                    left = deadline - time.monotonic()
                    if self.closed or left <= 0:
                        why = "the connection has ended" if self.closed else "no answer in time"
                        raise IpcError(why)
                    self._waiting.wait(left)
        finally:
            with self._waiting:
                del self._answers[number]
        if "error" in answer:
            raise IpcError(str(answer["error"]))
        return answer

    def _send(self, message: Message) -> None:
        try:
            with self._sending:
                self._socket.sendall(encode(message))
        except OSError as error:
            raise IpcError(f"the connection has ended: {error}") from None

    def _receive(self) -> Message:
        return decode(self._exactly(length(self._exactly(_LENGTH.size))))

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            piece = self._socket.recv(size - len(found))
            if not piece:
                raise IpcError("it closed the connection")
            found += piece
        return found

    def _read(self) -> None:
        try:
            while True:
                message = self._receive()
                if message["op"] == "event":
                    if handler := self._handlers.get(str(message.get("topic"))):
                        handler(message.get("data"), str(message.get("from")))
                elif message["op"] == "request":
                    self._answer(message)
                else:
                    with self._waiting:
                        if message.get("id") in self._answers:
                            self._answers[message["id"]] = message
                            self._waiting.notify_all()
        except (OSError, IpcError):
            pass
        finally:
            with self._waiting:
                self.close()
                self._waiting.notify_all()

    def _answer(self, message: Message) -> None:
        reply: Message = {"op": "reply", "id": message.get("id")}
        try:
            if self._serve is None:
                raise IpcError("takes no requests")
            reply["data"] = self._serve(message.get("data"), str(message.get("from")))
        except Exception as error:
            # Whoever has asked is told.
            reply["error"] = f"{type(error).__name__}: {error}"[:1000]
        self._send(reply)


class Member:
    """A client that comes back after the server was away, in a thread of its own."""

    def __init__(
        self,
        name: str,
        *,
        handlers: Mapping[str, Callable[[Any, str], None]] | None = None,
        serve: Callable[[Any, str], Any] | None = None,
    ) -> None:
        """Go on until the process ends."""
        self._name, self._handlers, self._serve = name, handlers, serve
        self.client: Client | None = None
        threading.Thread(target=self._run, name=f"ipc-member-{name}", daemon=True).start()

    def publish(self, topic: str, data: Any = None) -> None:
        """Send an event if there is a server; whoever subscribes later asks anyway."""
        with suppress(IpcError):
            if client := self.client:
                client.publish(topic, data)

    def _run(self) -> None:
        pause = 0.1
        while True:
            with suppress(IpcError, ConfigurationError):
                self.client = Client(self._name, handlers=self._handlers, serve=self._serve)
                pause = 0.1
                self.client.wait_closed()
            self.client = None
            time.sleep(pause)
            pause = min(pause * 2, 5.0)


def main() -> int:
    """Check a server's health for `python3 -m fastblog.ipc`; return the exit status."""
    env = {
        **os.environ,
        "IPC_ADDRESS": os.environ.get("LISTEN", "").replace("0.0.0.0", "127.0.0.1"),
    }
    try:
        with Client("health", environ=env) as client:
            print(json.dumps(client.status()))
    except (IpcError, ConfigurationError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
