"""The message server: `python3 -m fastblog_start ipc_server` (the protocol: fastblog.ipc).

Everything has a bound: connections, the time to show the token, topics, requests under way, and
what waits for a client that does not read. Events that find no room there are dropped and counted;
who leaves no room for an answer is disconnected.
"""

import asyncio
import hmac
import os
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fastblog.ipc import MOST_BYTES, MOST_HELLO, BadFrame, Message, address, decode, encode, length
from moorage.application.environment import ConfigurationError, read_secret

_MOST_CLIENTS, _MOST_STRANGERS, _MOST_REQUESTS = 64, 64, 64
# All clients' topics together have to fit into one answer.
_MOST_TOPICS, _MOST_TOPIC_SIGNS = 32, 512
_MOST_WAITING, _MOST_WAITING_BYTES = 256, 2 * 2**20
_HELLO_SECONDS, _REPLY_SECONDS = 5.0, 15.0


@dataclass(eq=False)
class _Client:
    """A connection that has shown the token, and what waits to be sent to it."""

    name: str
    writer: asyncio.StreamWriter
    topics: set[str] = field(default_factory=set)
    waiting: deque[bytes] = field(default_factory=deque)
    waiting_bytes: int = 0
    dropped: int = 0
    # Of its own requests that nobody has answered yet.
    asked: int = 0
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, message: Message, *, event: bool = False) -> bool:
        """Have a message sent; False when there is no room for it, or it is too long."""
        try:
            frame = encode(message)
        except BadFrame:
            # With what is added to it, it is too long.
            if message["op"] != "done":
                self.dropped += 1
                return False
            frame = encode({"op": "done", "id": message.get("id"), "error": "too long to pass on"})
        full = len(self.waiting) >= _MOST_WAITING
        if full or self.waiting_bytes + len(frame) > _MOST_WAITING_BYTES:
            self.dropped += 1
            if not event:
                self.writer.transport.abort()
            return False
        self.waiting.append(frame)
        self.waiting_bytes += len(frame)
        self.more.set()
        return True

    async def send(self) -> None:
        """Send what waits, until the connection ends."""
        while True:
            await self.more.wait()
            self.more.clear()
            while self.waiting:
                frame = self.waiting.popleft()
                self.writer.write(frame)
                await self.writer.drain()
                self.waiting_bytes -= len(frame)


@dataclass
class _Asked:
    """A request that somebody is to answer."""

    by: _Client
    number: object
    to: _Client
    timer: asyncio.TimerHandle


class Server:
    """Everybody who is connected; of one loop alone."""

    def __init__(self, token: str) -> None:
        """Let in who shows this token."""
        self._token = token.encode()
        self._clients: list[_Client] = []
        self._requests: dict[int, _Asked] = {}
        # Who has not shown the token yet, oldest first.
        self._strangers: dict[asyncio.StreamWriter, None] = {}
        self._number = self._published = self._refused = 0
        self._begun = time.monotonic()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection until it ends."""
        self._strangers[writer] = None
        if len(self._strangers) > _MOST_STRANGERS:
            # Without the token nobody keeps those out who have it: they say so at once.
            next(iter(self._strangers)).transport.abort()
        try:
            client = await self._enter(reader, writer)
            if client:
                del self._strangers[writer]
                await self._member(client, reader)
        except (BadFrame, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            if not isinstance(error, asyncio.IncompleteReadError):
                print(f"a connection ends: {error or type(error).__name__}", file=sys.stderr)
        finally:
            self._strangers.pop(writer, None)
            # Not closed in order: who does not read would keep it.
            writer.transport.abort()

    async def _enter(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> _Client | None:
        async with asyncio.timeout(_HELLO_SECONDS):
            hello = await _frame(reader, MOST_HELLO)
            name, token = hello.get("name"), hello.get("token")
            why = ""
            if hello["op"] != "hello" or not isinstance(name, str) or not isinstance(token, str):
                why = "the first message is hello with name and token"
            elif not hmac.compare_digest(token.encode("utf-8", "replace"), self._token):
                why = "the token is another one"
            elif not 0 < len(name) <= 64 or not name.isprintable():
                why = "a name has 1 to 64 signs"
            elif len(self._clients) >= _MOST_CLIENTS:
                why = f"there are {_MOST_CLIENTS} connections already"
            if why:
                self._refused += 1
                writer.write(encode({"op": "refused", "error": why}))
                await writer.drain()
                return None
            writer.write(encode({"op": "welcome"}))
            await writer.drain()
        assert isinstance(name, str)
        return _Client(name, writer)

    async def _member(self, client: _Client, reader: asyncio.StreamReader) -> None:
        self._clients.append(client)
        sending = asyncio.create_task(client.send())
        try:
            while True:
                self._take(client, await _frame(reader, MOST_BYTES))
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await sending
            self._clients.remove(client)
            gone = [n for n, a in self._requests.items() if client in (a.by, a.to)]
            for number in gone:
                self._settle(number, {"error": f"{client.name} has gone"})

    def _take(self, client: _Client, message: Message) -> None:
        number = message.get("id")
        if not isinstance(number, int | None):
            raise BadFrame("an id is a whole number")
        match message["op"]:
            case "subscribe":
                topics = message.get("topics")
                if not isinstance(topics, list) or len(topics) > _MOST_TOPICS:
                    raise BadFrame(f"topics must be a list of at most {_MOST_TOPICS}")
                client.topics = {str(topic)[:128] for topic in topics}
                if sum(map(len, client.topics)) > _MOST_TOPIC_SIGNS:
                    raise BadFrame(f"topics have at most {_MOST_TOPIC_SIGNS} signs together")
                client.put({"op": "done", "id": number})
            case "publish":
                client.put({"op": "done", "id": number, **self._publish(client, message)})
            case "request":
                self._request(client, number, message)
            case "reply":
                found = None if number is None else self._requests.get(number)
                if number is not None and found and found.to is client:
                    self._settle(
                        number, {k: message[k] for k in message.keys() & {"data", "error"}}
                    )
            case "status":
                client.put({"op": "done", "id": number, **self.status()})
            case other:
                client.put({"op": "done", "id": number, "error": f"unknown op {other[:40]!r}"})

    def _publish(self, client: _Client, message: Message) -> Message:
        topic = str(message.get("topic"))[:128]
        event = {"op": "event", "topic": topic, "data": message.get("data"), "from": client.name}
        found = [other for other in self._clients if topic in other.topics]
        delivered = sum(other.put(event, event=True) for other in found)
        self._published += 1
        return {"delivered": delivered, "dropped": len(found) - delivered}

    def _request(self, client: _Client, number: object, message: Message) -> None:
        # The newest of several: during an exchange the old one is about to go.
        to = next((c for c in reversed(self._clients) if c.name == message.get("to")), None)
        why = "" if to else f"nobody is called {str(message.get('to'))[:64]!r}"
        if client.asked >= _MOST_REQUESTS:
            why = f"{_MOST_REQUESTS} of your requests are not answered yet"
        if why or to is None:
            client.put({"op": "done", "id": number, "error": why})
            return
        self._number += 1
        own, late = self._number, {"error": f"{to.name} does not answer"}
        timer = asyncio.get_running_loop().call_later(_REPLY_SECONDS, self._settle, own, late)
        self._requests[own] = _Asked(client, number, to, timer)
        client.asked += 1
        question = {"op": "request", "id": own, "from": client.name, "data": message.get("data")}
        if not to.put(question):
            self._settle(own, {"error": f"too long, or too much waits for {to.name}"})

    def _settle(self, number: int, answer: Message) -> None:
        if found := self._requests.pop(number, None):
            found.timer.cancel()
            found.by.asked -= 1
            found.by.put({"op": "done", "id": found.number, **answer})

    def status(self) -> Message:
        """Return who is connected, and figures since the start."""
        return {
            "uptime_seconds": round(time.monotonic() - self._begun, 1),
            "published": self._published,
            "refused": self._refused,
            "requests": len(self._requests),
            "clients": [
                {
                    "name": client.name,
                    "topics": sorted(client.topics),
                    "waiting": len(client.waiting),
                    "dropped": client.dropped,
                }
                for client in self._clients
            ],
        }


async def _frame(reader: asyncio.StreamReader, most: int) -> Message:
    return decode(await reader.readexactly(length(await reader.readexactly(4), most)))


async def run(host: str, port: int, token: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(Server(token).serve, host, port, limit=MOST_BYTES)
    print(f"listening on {host}:{port}", flush=True)
    await stop.wait()
    # Connections end with the loop.
    server.close()


def main(env: Any = os.environ) -> int:
    """Run; return the exit status."""
    try:
        token = read_secret(env, "IPC_TOKEN")
        if len(token) < 16:
            raise ConfigurationError("IPC_TOKEN must have at least 16 characters")
        asyncio.run(run(*address(env, "LISTEN"), token))
    except (ConfigurationError, OSError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 78 if isinstance(error, ConfigurationError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
