"""A stack of real containers, a real gateway for it, and a tap on what it says to the engine."""

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
from control_rig import SOURCES, eventually
from docker.models.containers import Container

from moorage.control import ControlBackend
from moorage.control.audit import Audit
from moorage.control.routes import Api, Rates
from moorage.control.server import Server
from moorage.control.serving import Limits

ENGINE = "/var/run/docker.sock"
STACK = f"control-{os.getpid()}"
LOOP = "echo out one; echo err one >&2; echo out two; exec sleep 600"
LABELS = (
    "moorage.stack",
    "moorage.service",
    "com.docker.compose.project",
    "com.docker.compose.service",
)


def labels(service: str, stack: str = STACK) -> dict[str, str]:
    """Return what a deploy gives a service's container."""
    return dict(zip(LABELS, (stack, service, stack, service), strict=True))


def tiny_image(client: docker.DockerClient) -> str:
    """Return an image with a shell and nothing else, out of this machine's own files."""
    name = f"{STACK}:tiny"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        libraries: set[str] = set()
        for program in ("sh", "sleep", "cat"):
            path = os.path.realpath(shutil.which(program) or program)
            tar.add(path, f"bin/{program}")
            linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=True)
            libraries.update(re.findall(r"(/[\w./+-]+) \(0x", linked.stdout))
        for library in libraries:
            tar.add(os.path.realpath(library), library.lstrip("/"))
    client.api.import_image_from_data(buffer.getvalue(), repository=STACK, tag="tiny")
    return name


QUICK = Rates(10_000, 10_000, 10_000, 10_000)


@contextmanager
def serving(
    backend: ControlBackend,
    path: Path,
    *,
    limits: Limits | None = None,
    rates: Rates = QUICK,
) -> Iterator[str]:
    """A server of the API, in a thread; gives its socket."""
    name = str(path / "control.sock")
    api = Api(backend, stack="s", kind="process", audit=Audit(str(path / "audit")), rates=rates)
    server = Server(api, name, limits=limits)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield name
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


def audit(path: Path) -> list[dict[str, Any]]:
    """Return the audit log's lines."""
    return [json.loads(line) for line in (path / "audit").read_text().splitlines()]


class Stack:
    """Containers of a stack and of others, and the release that names the stack's own."""

    def __init__(self, directory: Path) -> None:
        """Make them all."""
        self.client = docker.DockerClient(base_url=f"unix://{ENGINE}")
        self.image = tiny_image(self.client)
        self.release = directory / "release.json"
        self._services: list[dict[str, Any]] = []
        self._made: list[Container] = []

    def add(
        self,
        service: str,
        command: str = LOOP,
        *,
        start: bool = True,
        ports: tuple[int, ...] = (),
        on_demand: bool = False,
        **options: Any,
    ) -> Container:
        """Make a service of the stack and let the release name it."""
        name = f"{STACK}-{service}"
        options.setdefault("restart_policy", {"Name": "unless-stopped"})
        made = self.make(name, command, labels(service), start=start, **options)
        self.name_in_release(service, name, ports, on_demand)
        return made

    def name_in_release(
        self, service: str, container: str, ports: tuple[int, ...] = (), on_demand: bool = False
    ) -> None:
        """Let the release name a container, in the form that a deploy writes."""
        fact = {
            "name": service,
            "kind": "container",
            "containers": [container],
            "ports": list(ports),
            "one_off": False,
            "on_demand": on_demand,
        }
        self._services.append(fact)
        scratch = self.release.with_suffix(".new")
        scratch.write_text(json.dumps({"topology": "containers", "services": self._services}))
        scratch.replace(self.release)

    def make(
        self,
        name: str,
        command: str,
        marks: dict[str, str],
        *,
        start: bool = True,
        init: bool = True,
        **options: Any,
    ) -> Container:
        """Make any container."""
        made = self.client.containers.create(
            self.image,
            ["sh", "-c", command],
            name=name,
            labels=marks,
            network_mode="none",
            # As process 1 a program that has not set a handler yet would ignore SIGTERM.
            init=init,
            **options,
        )
        self._made.append(made)
        if start:
            made.start()
        return made

    def remove(self) -> None:
        """Remove everything that was made."""
        for container in self._made:
            container.remove(force=True, v=True)
        self.client.images.remove(self.image, force=True)
        self.client.close()


class EngineTap:
    """Stands between a gateway and the engine and keeps the first line of each request."""

    def __init__(self, path: Path) -> None:
        """Listen at once."""
        self.path = str(path)
        self.lines: list[str] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(512)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            engine.connect(ENGINE)
            threading.Thread(target=self._forward, args=(client, engine), daemon=True).start()
            threading.Thread(target=_pump, args=(engine, client), daemon=True).start()

    def _forward(self, client: socket.socket, engine: socket.socket) -> None:
        data = client.recv(65536)
        # A second request on the connection would be a line that nobody has seen.
        self.lines += re.findall(r"(?:^|\r\n)((?:[A-Z]+) /\S* HTTP/1\.[01])", data.decode())
        engine.sendall(data)
        _pump(client, engine)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end, how in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with suppress(OSError):
            end.shutdown(how)


class Gateway:
    """A gateway process."""

    def __init__(self, directory: Path, release: Path, engine: str) -> None:
        """Start it and wait until it listens."""
        self.socket = str(directory / "control.sock")
        self.audit_path = directory / "audit.jsonl"
        self._log = (directory / "gateway.log").open("wb")
        options = {
            "--stack": STACK,
            "--socket": self.socket,
            "--release": str(release),
            "--state": str(directory),
            "--audit": str(self.audit_path),
            "--engine": engine,
            "--backups": str(directory),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moorage.gateway", *(w for o in options.items() for w in o)],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SOURCES)},
            stderr=self._log,
        )
        eventually(lambda: os.path.exists(self.socket), "the gateway listens")

    def audit(self) -> list[dict[str, Any]]:
        """Return the audit log."""
        return [json.loads(line) for line in self.audit_path.read_text().splitlines()]

    def resident(self) -> int:
        """Return its memory in bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> int:
        """End it and return its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(15)
        finally:
            self.process.kill()
            self._log.close()


def send(path: str, data: bytes, seconds: float = 10.0) -> bytes:
    """Send bytes to a socket and return all that comes back."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        connection.connect(path)
        connection.sendall(data)
        return receive(connection)


def receive(connection: socket.socket) -> bytes:
    """Return all that comes until the other end closes."""
    parts = []
    while data := connection.recv(65536):
        parts.append(data)
    return b"".join(parts)


def answer(data: bytes) -> tuple[int, dict[str, str], Any]:
    """Take exactly one answer apart: status, headers, content."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    assert int(headers["content-length"]) == len(body), data
    plain = headers["content-type"].startswith("text/")
    return int(first.split()[1]), headers, body.decode() if plain else json.loads(body)


def ask(
    path: str, method: str, target: str, content: object = None, seconds: float = 10.0
) -> tuple[int, dict[str, str], Any]:
    """Make a request as any HTTP client would."""
    body = b"" if content is None else json.dumps(content).encode()
    kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\n{kind}\r\n".encode()
    return answer(send(path, head + body, seconds))
