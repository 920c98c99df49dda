"""Runs inside the front end's container: try to do more with its control socket than is offered.

    intruder.py SOCKET NAME...      NAMEs are ids and names of containers that it must not reach

Prints JSON: how much was tried, what was let through, every socket that can be found, and what
could be written beside the control socket.
"""

import json
import os
import socket
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

SOCKET, STRANGERS = sys.argv[1], sys.argv[2:]
WHO = b'{"who":"mallory"}'
PRIVILEGED = b'{"Image":"x","HostConfig":{"Privileged":true,"Binds":["/:/host"]}}'
ENGINE = (
    ("POST", "/containers/create"),
    ("POST", "/v1.45/containers/create?name=x"),
    ("POST", "/v1/containers/create"),
    ("GET", "/containers/json"),
    ("GET", "/v1.45/containers/json?all=1"),
    ("GET", "/info"),
    ("GET", "/_ping"),
    ("POST", "/containers/{0}/exec"),
    ("POST", "/v1.45/containers/{0}/exec"),
    ("POST", "/v1/services/frontend/exec"),
    ("POST", "/exec/{0}/start"),
    ("GET", "/containers/{0}/archive?path=/etc"),
    ("PUT", "/containers/{0}/archive?path=/"),
    ("GET", "/v1/services/frontend/archive?path=/etc"),
    ("GET", "/v1/services/frontend/archive"),
    ("GET", "/containers/{0}/export"),
    ("GET", "/v1/services/frontend/export"),
    ("POST", "/containers/{0}/attach?stream=1"),
    ("POST", "/v1/services/frontend/kill"),
    ("POST", "/v1/services/frontend/update"),
    ("DELETE", "/containers/{0}"),
    ("DELETE", "/v1/services/frontend"),
    ("GET", "/images/json"),
    ("POST", "/images/create?fromImage=x"),
    ("POST", "/build"),
    ("GET", "/volumes"),
    ("POST", "/volumes/create"),
    ("POST", "/swarm/init"),
    ("GET", "/secrets"),
)
PATHS = (
    "/v1/services/../../containers/create",
    "/v1/services/%2e%2e/%2e%2e/containers/json",
    "/v1/services/frontend/../../../containers/{0}/json",
    "/v1/services/frontend%2f..%2f..%2fcontainers%2fjson",
    "/v1/services/frontend%00/logs",
    "/v1//services",
    "//v1/services",
    "/./v1/services",
    "/v1/services/",
    "/V1/services",
    "/v1/services/frontend;/logs",
    "/v1/services/{0}",
    "/v1/services/{0}/logs",
    "http://engine/containers/json",
    "/v1.45/v1/services",
)
RAW = (
    b"GET /v1/services HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/services/scraper/stop HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 4\r\nContent-Length: 17\r\n\r\n" + WHO,
    b"POST /v1/services/scraper/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + WHO,
    b"GET /v1/services HTTP/1.1\r\nHost: x\r\n\r\nPOST /containers/create HTTP/1.1\r\n\r\n",
    b"GET /v1/services HTTP/1.0\r\n\r\n",
    b"POST /v1/services/scraper/stop HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1000000\r\n\r\n" + b"x" * 20000,
    b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT /run/docker.sock HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/services HTTP/1.1\nHost: x\n\n",
)


def ask(raw: bytes) -> bytes:
    """Send bytes and return all that is answered."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(15)
        connection.connect(SOCKET)
        # Refused before the end was read: what was answered can be read all the same.
        with suppress(BrokenPipeError):
            connection.sendall(raw)
        answer = b""
        with suppress(ConnectionResetError):
            while block := connection.recv(65536):
                answer += block
        return answer


def request(method: str, target: str, body: bytes) -> bytes:
    """Return a request that is well formed."""
    head = f"{method} {target} HTTP/1.1\r\nHost: control\r\nContent-Length: {len(body)}\r\n"
    return (head + "Content-Type: application/json\r\n\r\n").encode() + body


def denied(answer: bytes) -> bool:
    """Tell whether it was refused, with a reason that programs can read."""
    head = answer.partition(b"\r\n\r\n")[0].lower()
    status = head.split(b" ")[1]
    # 505: not this version of HTTP.
    refused = status.startswith(b"4") or status == b"505"
    return refused and b"application/problem+json" in head


def attempts() -> list[bytes]:
    """Return everything that is tried."""
    tried = list(RAW)
    for method, target in ENGINE:
        for name in STRANGERS if "{0}" in target else [""]:
            bodies = (WHO, PRIVILEGED) if method == "POST" else (b"",)
            tried += [request(method, target.replace("{0}", name), body) for body in bodies]
    for target in PATHS:
        for name in STRANGERS if "{0}" in target else [""]:
            tried.append(request("GET", target.replace("{0}", name), b""))
    for name in STRANGERS:
        for action in ("start", "stop", "restart"):
            tried.append(request("POST", f"/v1/services/{name}/{action}", WHO))
    return tried


def sockets() -> list[str]:
    """Return every Unix socket in the file system, and every abstract one that is listening."""
    found = []
    for top, directories, files in os.walk("/"):
        if top == "/":
            directories[:] = [name for name in directories if name not in ("proc", "sys")]
        for name in files:
            path = Path(top) / name
            try:
                if stat.S_ISSOCK(path.lstat().st_mode):
                    found.append(str(path))
            except OSError:
                continue  # a file that has gone meanwhile
    names = [line.split()[7:] for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return sorted(found) + sorted(name[0] for name in names if name and name[0].startswith("@"))


def written() -> list[str]:
    """Return what could be changed where the control socket is."""
    done = []
    target = Path(SOCKET)
    for what, change in (
        ("a file", lambda: (target.parent / "x").write_text("x")),
        ("another socket", lambda: socket.socket(socket.AF_UNIX).bind(f"{target.parent}/y.sock")),
        ("the socket away", target.unlink),
        ("its mode", lambda: target.chmod(0o777)),
    ):
        try:
            change()
        except OSError:
            continue
        done.append(what)
    return done


tried = attempts()
answers: list[tuple[bytes, bytes]] = [(raw, ask(raw)) for raw in tried]
through: list[Any] = [
    [raw[:120].decode("latin-1"), answer[:120].decode("latin-1")]
    for raw, answer in answers
    if not answer or not denied(answer)
]
print(
    json.dumps(
        {
            "tried": len(tried),
            "through": through,
            "sockets": sockets(),
            "written": written(),
            "mounts": [
                line
                for line in Path("/proc/self/mountinfo").read_text().splitlines()
                if "docker.sock" in line or "containerd.sock" in line
            ],
        }
    )
)
