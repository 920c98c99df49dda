"""The control API's server: one loop for all connections, threads only for what may take long.

A connection carries one request. Each has a deadline in every phase, so a slow client holds a
place for seconds and never a thread; beyond MAX_CONNECTIONS the answer is 503, at once.
"""

import os
import selectors
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator

from moorage.control.connection import Connection, listen, shutdown
from moorage.control.contract import ControlError
from moorage.control.pool import Pool
from moorage.control.serving import Application, Job, Limits
from moorage.control.wire import Response, bad_request, problem_response, response_head

_SWEEP_SECONDS = 0.25
_LINGERING_AT_MOST = 256
_LINGER_BYTES = 1 << 20


class Server:
    """Serves an application until `stop`."""

    def __init__(
        self,
        application: Application,
        place: str | tuple[str, int],
        *,
        mode: int = 0o660,
        limits: Limits | None = None,
    ) -> None:
        """Listen at once, at a path or a host and port; an older socket at the path is replaced."""
        self._application = application
        self._limits = limits or Limits()
        self._place = place
        self._pools = {
            "read": Pool("read", self._limits.reads, self._limits.connections),
            "act": Pool("act", self._limits.actions, self._limits.actions_waiting),
            "stream": Pool("stream", self._limits.streams, 0),
        }
        self._selector = selectors.DefaultSelector()
        self._connections: set[Connection] = set()
        self._refused: set[Connection] = set()
        self._finished: deque[tuple[Connection, bytes]] = deque()
        self._ending: float | None = None
        # Reentrant: a signal's handler may stop the server while the loop holds it.
        self._waking = threading.RLock()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)
        self._listener = listen(place, mode)
        self._accepting = False
        self._accept_again()

    def stop(self) -> None:
        """Take no more requests and let `serve` return; callable from anywhere, also a signal."""
        self._ending = time.monotonic() + self._limits.drain_seconds
        self._wake()

    def serve(self) -> None:
        """Serve until `stop`, and then until what is under way has its answer, within limits."""
        swept = 0.0
        while not self._done():
            busy = self._connections or self._refused or not self._accepting
            for key, _ in self._selector.select(_SWEEP_SECONDS if busy else None):
                if key.fd == self._wakeup:
                    os.eventfd_read(self._wakeup)
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    self._ready(key.data)
            while self._finished:
                self._send(*self._finished.popleft())
            if time.monotonic() - swept >= _SWEEP_SECONDS:
                swept = time.monotonic()
                self._sweep(swept)
        self._close_all()

    def _wake(self) -> None:
        # Threads that are still at it may come when the loop is over.
        with self._waking:
            if self._wakeup >= 0:
                os.eventfd_write(self._wakeup, 1)

    # Connections

    def _done(self) -> bool:
        if self._ending is None:
            return False
        if self._accepting:
            self._selector.unregister(self._listener)
            self._accepting = False
        waiting = any(c.phase in ("working", "writing") for c in self._connections)
        return not waiting or time.monotonic() > self._ending

    def _accept_again(self) -> None:
        if not self._accepting and self._ending is None:
            self._selector.register(self._listener, selectors.EVENT_READ, None)
            self._accepting = True

    def _accept(self) -> None:
        for _ in range(64):
            try:
                client, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:
                # Out of descriptors: the sweep takes this up again, and no loop turns meanwhile.
                self._selector.unregister(self._listener)
                self._accepting = False
                return
            client.setblocking(False)
            deadline = time.monotonic() + self._limits.read_seconds
            connection = Connection(client, address, deadline)
            self._selector.register(client, selectors.EVENT_READ, connection)
            if len(self._connections) < self._limits.connections:
                self._connections.add(connection)
            elif len(self._refused) < _LINGERING_AT_MOST:
                self._refused.add(connection)
                detail = f"{self._limits.connections} calls are being served already"
                self._refuse(connection, ControlError("busy", detail, status=503))
            else:
                self._drop(connection)

    def _ready(self, connection: Connection) -> None:
        if connection.phase == "writing":
            self._flush(connection)
            return
        try:
            data = connection.socket.recv(16384)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
        elif connection.phase == "lingering":
            connection.drained += len(data)
            if connection.drained > _LINGER_BYTES:
                self._drop(connection)
        else:
            connection.received += data
            self._advance(connection)

    def _advance(self, connection: Connection) -> None:
        try:
            request = connection.parse()
            if request is not None:
                connection.head = request
                self._start(connection, self._application.resolve(request))
        except ControlError as error:
            self._refuse(connection, error)
        except Exception:
            sys.excepthook(*sys.exc_info())
            self._refuse(connection, _internal())

    def _sweep(self, now: float) -> None:
        for connection in [*self._connections, *self._refused]:
            if now < connection.deadline:
                continue
            if connection.phase == "reading":
                self._refuse(
                    connection, bad_request("the request took too long", 408, "request_timeout")
                )
            elif connection.phase == "streaming":
                # Its thread finds out at its next write; the reader need not wait for that.
                shutdown(connection.socket, socket.SHUT_RDWR)
            elif connection.phase != "working":
                self._drop(connection)
        self._accept_again()

    def _drop(self, connection: Connection) -> None:
        if connection.phase not in ("working", "streaming"):
            self._selector.unregister(connection.socket)
        connection.socket.close()
        self._connections.discard(connection)
        self._refused.discard(connection)

    def _close_all(self) -> None:
        for connection in [*self._connections, *self._refused]:
            shutdown(connection.socket, socket.SHUT_RDWR)
        self._selector.close()
        self._listener.close()
        with self._waking:
            os.close(self._wakeup)
            self._wakeup = -1
        if isinstance(self._place, str) and os.path.exists(self._place):
            os.unlink(self._place)

    # Answers

    def _start(self, connection: Connection, job: Job) -> None:
        run = self._stream if job.kind == "stream" else self._work
        connection.phase = "streaming" if job.kind == "stream" else "working"
        limit = min(job.seconds, self._limits.stream_seconds)
        connection.deadline = time.monotonic() + limit
        self._selector.unregister(connection.socket)
        if not self._pools[job.kind].submit(lambda: run(connection, job)):
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.phase = "reading"
            detail = f"too many requests of this kind ({job.kind}) are under way"
            self._refuse(connection, ControlError("busy", detail, status=503))

    def _work(self, connection: Connection, job: Job) -> None:
        try:
            result = job.run()
            assert isinstance(result, Response)
            answer = result
            self._application.answered(connection.peer, connection.head, answer.status, None)
        except ControlError as error:
            answer = self._problem(connection, error)
        except Exception:
            sys.excepthook(*sys.exc_info())
            answer = self._problem(connection, _internal())
        self._hand_over(connection, answer.encode())

    def _stream(self, connection: Connection, job: Job) -> None:
        pieces: Iterator[bytes] = iter(())
        try:
            result = job.run()
            assert not isinstance(result, Response)
            pieces = result
            self._application.answered(connection.peer, connection.head, 200, None)
            connection.socket.settimeout(self._limits.write_seconds)
            connection.socket.sendall(response_head(200, "text/event-stream", {}, None))
            for piece in pieces:
                connection.socket.sendall(piece)
            self._hand_over(connection, b"")
        except OSError:
            self._hand_over(connection, b"")
        except ControlError as error:
            self._hand_over(connection, self._problem(connection, error).encode())
        except Exception:
            sys.excepthook(*sys.exc_info())
            self._hand_over(connection, b"")
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    def _hand_over(self, connection: Connection, answer: bytes) -> None:
        self._finished.append((connection, answer))
        self._wake()

    def _problem(self, connection: Connection, error: ControlError) -> Response:
        self._application.answered(connection.peer, connection.head, error.status, error)
        return problem_response(error)

    def _refuse(self, connection: Connection, error: ControlError) -> None:
        answer = self._problem(connection, error).encode()
        self._selector.unregister(connection.socket)
        connection.phase = "working"
        self._send(connection, answer)

    def _send(self, connection: Connection, answer: bytes) -> None:
        connection.socket.setblocking(False)
        connection.phase = "writing"
        connection.unsent = answer
        connection.deadline = time.monotonic() + self._limits.write_seconds
        self._selector.register(connection.socket, selectors.EVENT_WRITE, connection)
        self._flush(connection)

    def _flush(self, connection: Connection) -> None:
        try:
            sent = connection.socket.send(connection.unsent) if connection.unsent else 0
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection)
            return
        connection.unsent = connection.unsent[sent:]
        if not connection.unsent:
            # Closed with unread data the client would see a reset in place of its answer.
            shutdown(connection.socket, socket.SHUT_WR)
            connection.phase = "lingering"
            connection.received = b""
            connection.deadline = time.monotonic() + self._limits.linger_seconds
            self._selector.modify(connection.socket, selectors.EVENT_READ, connection)


def _internal() -> ControlError:
    return ControlError("internal", "this failed for a reason that the log tells", status=500)
