"""The control socket's server: many clients, none of which can hold up the loop."""

from __future__ import annotations

import os
import socket
import struct
import sys

from process_supervisor.control.protocol import MAX_REQUEST, ControlError, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from process_supervisor.supervisor.supervisor import Supervisor

    Dispatch = Callable[["Connection", object, object, object], None]

MAX_CLIENTS = 64
BACKLOG = 1024
LONGEST_PATH = 107
MAX_UNSENT = 16 << 20  # a client that asks and never reads is cut off beyond this
ENOUGH_UNSENT = 1 << 18  # a follower gets no more lines while it has this much to read
CREDENTIALS = struct.Struct("iII")


class Connection:
    """One client."""

    def __init__(self, server: Server, client: socket.socket) -> None:
        self.server = server
        self.supervisor = server.supervisor
        self._socket = client
        self._received = b""
        self._unsent = b""
        self._closing = False
        self.closed = False
        self.on_close: list[Callable[[], None]] = []
        self.on_room: Callable[[], None] | None = None
        client.setblocking(False)
        raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        pid, uid, _ = CREDENTIALS.unpack(raw)
        self.peer = f"uid {uid}, pid {pid}"
        self.supervisor.loop.watch(client.fileno(), self._readable)

    @property
    def has_room(self) -> bool:
        """Whether a stream should send more now."""
        return len(self._unsent) < ENOUGH_UNSENT

    def answer(self, request_id: object, result: object) -> None:
        """Send a result."""
        self.send({"id": request_id, "ok": True, "result": result})

    def refuse(self, request_id: object, error: ControlError) -> None:
        """Send an error."""
        details = {"code": error.code, "message": error.message}
        self.send({"id": request_id, "ok": False, "error": details})

    def send(self, message: dict[str, object]) -> None:
        """Send a message as far as the client takes it now, the rest when it does."""
        if self.closed:
            return
        self._unsent += encode(message)
        if len(self._unsent) > MAX_UNSENT:
            self.close()
            return
        self._flush()

    def close(self) -> None:
        """End the connection and everything that was done for it."""
        if self.closed:
            return
        self.closed = True
        self.supervisor.loop.unwatch(self._socket.fileno())
        self._socket.close()
        self.server.connections.pop(self, None)
        for callback in list(self.on_close):
            callback()

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._unsent) if self._unsent else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._unsent = self._unsent[sent:]
        if not self._unsent and self._closing:
            self.close()
            return
        self.supervisor.loop.watch(
            self._socket.fileno(),
            None if self._closing else self._readable,
            self._writable if self._unsent else None,
        )

    def _writable(self) -> None:
        self._flush()
        if not self.closed and self.has_room and self.on_room is not None:
            self.on_room()

    def _readable(self) -> None:
        try:
            data = self._socket.recv(MAX_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._received += data
        while not self.closed and not self._closing:
            line, newline, rest = self._received.partition(b"\n")
            if len(line) > MAX_REQUEST:
                limit = f"a request has at most {MAX_REQUEST} bytes"
                self._give_up(ControlError("bad-request", limit))
                return
            if not newline:
                return
            self._received = rest
            self._handle(line)

    def _handle(self, line: bytes) -> None:
        request_id: object = None
        try:
            request = decode(line)
            request_id = request.get("id")
            self.server.dispatch(self, request_id, request.get("op"), request.get("args") or {})
        except ControlError as error:
            # After what is not a request of this protocol, the next line may be anything.
            if request_id is None and error.code == "bad-request":
                self._give_up(error)
            else:
                self.refuse(request_id, error)
        except Exception as error:
            sys.excepthook(*sys.exc_info())
            self.refuse(request_id, ControlError("internal", f"{type(error).__name__}: {error}"))

    def _give_up(self, error: ControlError) -> None:
        self._closing = True
        self._received = b""
        self.refuse(None, error)


class Server:
    """Listens on the control socket.

    dispatch(connection, id, op, args) carries out a request; it may raise ControlError.
    """

    def __init__(
        self, supervisor: Supervisor, config_paths: Sequence[str], dispatch: Dispatch
    ) -> None:
        self.supervisor = supervisor
        self.dispatch = dispatch
        self.config_paths = config_paths
        self.connections: dict[Connection, None] = {}
        self._listener: socket.socket | None = None

    def listen(self) -> None:
        """Bind the socket; an older one at the path is replaced in one step."""
        path = self.supervisor.config.socket
        os.makedirs(os.path.dirname(path) or ".", mode=0o755, exist_ok=True)
        # Bound elsewhere first: clients never find a missing socket or one with a wrong mode.
        temporary = f"{path}.{os.getpid()}" if len(path) < LONGEST_PATH - 11 else path
        if os.path.exists(temporary):
            os.unlink(temporary)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        old = os.umask(0o777 & ~self.supervisor.config.socket_mode)
        try:
            listener.bind(temporary)
        finally:
            os.umask(old)
        os.chmod(temporary, self.supervisor.config.socket_mode)
        listener.listen(BACKLOG)
        if temporary != path:
            os.replace(temporary, path)
        self._listener = listener
        self.supervisor.loop.watch(listener.fileno(), self._accept)

    def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._listener is None:
            return
        for connection in list(self.connections):
            connection.close()
        self.supervisor.loop.unwatch(self._listener.fileno())
        self._listener.close()
        self._listener = None
        if os.path.exists(self.supervisor.config.socket):
            os.unlink(self.supervisor.config.socket)

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(MAX_CLIENTS):
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            if len(self.connections) >= MAX_CLIENTS:
                # The oldest one gives way: idle connections must not lock others out.
                next(iter(self.connections)).close()
            self.connections[Connection(self, client)] = None
