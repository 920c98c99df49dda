"""Many requests at once on non-blocking sockets, in one thread, each with a deadline."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from moorage.probe.answer import Answer, ProtocolError
from moorage.probe.target import Sample, Target

# RFC 9110 §9.2.2: these may be sent again when it is unknown whether they arrived.
_IDEMPOTENT = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}
_RECEIVE_BYTES = 64 << 10
# Whoever is not turned for so long did not get to run.
_STALL_SECONDS = 0.5
_READ = select.EPOLLIN | select.EPOLLRDHUP
# socket(7): with each piece of an answer comes when it arrived (asm-generic/socket.h, of the clock
# of the day; Python knows no name of it). So an answer that is read late is no late answer.
_SO_TIMESTAMPNS = 35
_MOMENT = struct.Struct("qq")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_MOMENT.size)


class _Exchange:
    """One request that is under way on one socket."""

    __slots__ = (
        "answer",
        "arrived",
        "heard",
        "index",
        "kept",
        "outgoing",
        "patience",
        "retried",
        "reused",
        "sent",
        "sock",
    )

    def __init__(
        self, index: int, sent: float, patience: float, kept: bool, bodiless: bool
    ) -> None:
        self.index = index
        self.sent = sent
        self.patience = patience
        # When the last piece of the answer came, and when it was read.
        self.arrived: float | None = None
        self.heard = sent
        self.kept = kept
        self.reused = False
        self.retried = False
        self.outgoing = b""
        self.answer = Answer(bodiless=bodiless)
        self.sock: socket.socket

    @property
    def deadline(self) -> float:
        """When the answer has to be there."""
        return self.sent + self.patience


class Client:
    """Sends requests to targets and reports a `Sample` when each has ended, well or not.

    A request ends ``timeout_seconds`` after it was sent at the latest, however many connections
    it took. A kept-alive connection that turns out to be closed is tried once more on a fresh one
    for idempotent methods, as every HTTP client does (RFC 9110 §9.2.2). What counts is when the
    kernel had sent and received, not when this process got to run.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        timeout_seconds: float,
        report: Callable[[Sample], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._targets = targets
        self._timeout = timeout_seconds
        self._report = report
        self._clock = clock
        # When it was last looked whether something has happened.
        self._asked = clock()
        self._epoll = select.epoll()
        self._requests = [
            (target.request(keep_alive=False), target.request(keep_alive=True))
            for target in targets
        ]
        self._places = [_resolve(target) for target in targets]
        self._busy: dict[int, _Exchange] = {}
        self._idle: dict[int, tuple[socket.socket, object]] = {}
        self._readers: dict[int, Callable[[], None]] = {}

    def __len__(self) -> int:
        """How many requests are under way."""
        return len(self._busy)

    def oldest(self) -> float | None:
        """When the request was sent that has been under way the longest; None without any."""
        return min((exchange.sent for exchange in self._busy.values()), default=None)

    def wait_for_answers(self, timeout_seconds: float) -> None:
        """Have every answer from now on, and those under way, take so long at the most.

        When that is shorter than it was, what is under way has so long from this moment.
        """
        shorter, self._timeout = timeout_seconds < self._timeout, timeout_seconds
        for exchange in self._busy.values():
            if shorter:
                left = self._clock() - exchange.sent + timeout_seconds
                exchange.patience = min(exchange.patience, left)
            else:
                exchange.patience = max(exchange.patience, timeout_seconds)

    def watch(self, fd: int, reader: Callable[[], None]) -> None:
        """Call ``reader`` whenever a file descriptor can be read."""
        self._readers[fd] = reader
        self._epoll.register(fd, select.EPOLLIN)

    def begin(self, index: int, *, kept: bool) -> None:
        """Send a request to a target, on a connection that is kept open or on a fresh one."""
        target = self._targets[index]
        bodiless = target.method == "HEAD"
        exchange = _Exchange(index, self._clock(), self._timeout, kept, bodiless)
        sock = self._take_idle(index) if kept else None
        exchange.outgoing = self._requests[index][kept]
        if sock is None:
            self._connect(exchange)
            return
        exchange.sock, exchange.reused = sock, True
        self._busy[sock.fileno()] = exchange
        exchange.sent = self._clock()
        self._send(exchange)

    def turn(self, wait_seconds: float) -> None:
        """Wait for something to happen, at most that long, and do what follows from it."""
        asked = self._clock()
        deadline = min((e.deadline for e in self._busy.values()), default=None)
        if deadline is not None:
            wait_seconds = min(wait_seconds, deadline - asked)
        for fd, events in self._epoll.poll(max(0.0, wait_seconds)):
            if fd in self._busy:
                self._happened(self._busy[fd], events)
            elif fd in self._idle:
                self._drop_idle(fd)
            elif fd in self._readers:
                self._readers[fd]()
        self._asked = asked
        self._expire(asked)

    def close(self) -> None:
        """Give up what is under way, without a report, and close everything."""
        for exchange in self._busy.values():
            exchange.sock.close()
        for sock, _ in self._idle.values():
            sock.close()
        self._busy.clear()
        self._idle.clear()
        self._epoll.close()

    def _connect(self, exchange: _Exchange) -> None:
        place = self._places[exchange.index]
        if isinstance(place, str):
            self._finish(exchange, "other", place)
            return
        family, address = place
        try:
            exchange.sock = sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self._finish(exchange, "other", error.strerror or str(error))
            return
        exchange.reused = False
        self._busy[sock.fileno()] = exchange
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        code = sock.connect_ex(address)
        self._epoll.register(sock, select.EPOLLOUT)
        if code not in (0, errno.EINPROGRESS):
            self._broken(exchange, OSError(code, os.strerror(code)))
        elif _stands(sock):
            # On one host it stands at once, and what is sent now was sent now.
            if not exchange.retried:
                exchange.sent = self._clock()
            self._happened(exchange, select.EPOLLOUT)

    def _happened(self, exchange: _Exchange, events: int) -> None:
        if exchange.outgoing and not events & (select.EPOLLIN | select.EPOLLRDHUP):
            code = exchange.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._broken(exchange, OSError(code, os.strerror(code)))
            else:
                # What this process did not get to send could not be answered.
                unused = self._clock() - max(self._asked, exchange.sent)
                exchange.sent += unused if unused > _STALL_SECONDS else 0.0
                self._send(exchange)
            return
        try:
            data, said, _, _ = exchange.sock.recvmsg(_RECEIVE_BYTES, _ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._broken(exchange, error)
            return
        exchange.heard = self._clock()
        exchange.arrived = self._arrival(exchange, said)
        self._received(exchange, data)

    def _arrival(self, exchange: _Exchange, said: list[tuple[int, int, bytes]]) -> float:
        """Return when a piece of an answer came, by the kernel where it says so."""
        now = self._clock()
        for level, kind, data in said:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) == _MOMENT.size:
                seconds, nanoseconds = _MOMENT.unpack(data)
                ago = time.time() - (seconds + nanoseconds / 1e9)
                # The clock of the day may be set meanwhile.
                return float(min(now, max(exchange.sent, now - ago)))
        return now

    def _send(self, exchange: _Exchange) -> None:
        try:
            count = exchange.sock.send(exchange.outgoing, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            count = 0
        except OSError as error:
            self._broken(exchange, error)
            return
        exchange.outgoing = exchange.outgoing[count:]
        wanted = _READ | (select.EPOLLOUT if exchange.outgoing else 0)
        self._epoll.modify(exchange.sock, wanted)

    def _received(self, exchange: _Exchange, data: bytes) -> None:
        answer = exchange.answer
        try:
            complete = answer.feed(data) if data else answer.end()
        except ProtocolError as error:
            self._finish(exchange, "protocol", str(error))
            return
        if complete:
            self._complete(exchange)
        elif not data:
            self._broken(exchange, None)

    def _complete(self, exchange: _Exchange) -> None:
        answer, (low, high) = exchange.answer, self._targets[exchange.index].expect
        if low <= answer.status <= high:
            self._finish(exchange, "", "")
            return
        said = " ".join(answer.excerpt.decode("utf-8", "replace").split())
        kind = "timeout" if answer.late else "status"
        self._finish(exchange, kind, f"answered {answer.status}" + (f": {said}" * bool(said)))

    def _broken(self, exchange: _Exchange, error: OSError | None) -> None:
        """The connection failed, or (without an error) was closed before the answer ended."""
        method = self._targets[exchange.index].method
        if exchange.reused and not exchange.answer.started and method in _IDEMPOTENT:
            self._release(exchange)
            exchange.retried, exchange.arrived = True, None
            exchange.outgoing = self._requests[exchange.index][exchange.kept]
            self._connect(exchange)
        elif isinstance(error, ConnectionRefusedError):
            self._finish(exchange, "refused", "connection refused")
        elif isinstance(error, TimeoutError):
            self._finish(exchange, "timeout", "no connection: the kernel gave up")
        elif isinstance(error, ConnectionError) or error is None:
            when = "in the middle of the answer" if exchange.answer.started else "unanswered"
            how = "closed" if error is None else "reset"
            self._finish(exchange, "reset", f"connection {how} {when}")
        else:
            self._finish(exchange, "other", error.strerror or str(error))

    def _expire(self, asked: float) -> None:
        """Give up what had no answer when it was last asked for, and should have had.

        Not by the clock of now: what came since then, while this process did not run, is there.
        """
        for exchange in list(self._busy.values()):
            in_time = exchange.arrived is not None and exchange.arrived < exchange.deadline
            if asked >= exchange.deadline and not (in_time and exchange.heard >= asked):
                when = "the answer did not end" if exchange.answer.started else "no answer"
                self._finish(exchange, "timeout", f"{when} within {exchange.patience:g} s")

    def _finish(self, exchange: _Exchange, kind: str, detail: str) -> None:
        late = kind == "timeout" or exchange.arrived is None
        ended = self._clock() if late else exchange.arrived
        assert ended is not None
        keep = not kind and exchange.kept and exchange.answer.reusable
        self._release(exchange, keep=keep)
        seen = (exchange.sent, ended, exchange.index, kind, exchange.retried, detail)
        self._report(Sample(*seen, exchange.answer.peer))

    def _release(self, exchange: _Exchange, *, keep: bool = False) -> None:
        sock = getattr(exchange, "sock", None)
        if sock is None:
            return
        self._busy.pop(sock.fileno(), None)
        if keep:
            # Watched while idle: a server that closes it is seen before it is used again.
            self._idle[sock.fileno()] = (sock, self._places[exchange.index])
        else:
            sock.close()

    def _take_idle(self, index: int) -> socket.socket | None:
        place = self._places[index]
        for fd in [fd for fd, (_, where) in self._idle.items() if where == place]:
            sock, _ = self._idle.pop(fd)
            if _is_quiet(sock):
                return sock
            # It was closed while this process did not get to run, and to look.
            sock.close()
        return None

    def _drop_idle(self, fd: int) -> None:
        self._idle.pop(fd)[0].close()


def _is_quiet(sock: socket.socket) -> bool:
    """Tell whether an idle connection is still one: nothing has come, and it was not closed."""
    look = select.poll()
    look.register(sock, select.POLLIN | select.POLLRDHUP)
    return not look.poll(0)


def _stands(sock: socket.socket) -> bool:
    """Tell whether a connection is made, or has failed already."""
    look = select.poll()
    look.register(sock, select.POLLOUT)
    return bool(look.poll(0))


def _resolve(target: Target) -> tuple[socket.AddressFamily, tuple[Any, ...]] | str:
    """Return the family and address to connect to, or why there is none."""
    try:
        found = socket.getaddrinfo(target.address, target.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return f"no address of {target.address}: {error.strerror or error}"
    return found[0][0], found[0][4]
