"""taifish as its people see it: posts, pictures and comments, and the jobs behind them."""

from __future__ import annotations

import gzip
import json
import re
import socket
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from load import Load, able, load
from playbook import ROOT
from support import Machine, wait_until
from visitor import Visitor

from moorage.compose import load_stack

PORT = 8000
VISITED, ASIDE, DATABASE = "app", "celery_beat", "postgres"
# The script is its interpreter's first argument.
_STACK = load_stack(ROOT / "files/stacks/taifish", environment={})
SINGLE = ("/opt/venv/bin/celery", *(_STACK.services[ASIDE].command or [])[1:])
BAD = {"app": {"SESSION_KEY_FILE": "/nowhere"}}
BAD_SAYS = "there is no file /nowhere"
SIGN_IN, PRIVATE = "/login", "/admin"
PAGES = "app/taifish/templates/base.html"
LONG: set[str] = set()
_VISITORS = Path(__file__).with_name("taifish_visitors.py")
_TITLE = "摸鱼的第一天"


def visitor(machine: Machine) -> Visitor:
    """Return a visitor of the board, from outside the host."""
    return Visitor(f"http://{machine.address}:{PORT}")


def administrator(machine: Machine) -> Visitor:
    """Return a visitor who has signed in with the password that the deploy generated."""
    someone = visitor(machine)
    someone.sign_in(SIGN_IN, machine.sh("cat /opt/taifish/secrets/admin_password"))
    return someone


def png(width: int, height: int) -> bytes:
    """Return a picture of one colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\x20\x80\xc0" * width) * height
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def posts(machine: Machine) -> list[dict[str, Any]]:
    """Return the newest posts, as programs read them."""
    page = visitor(machine).get("/api/posts?limit=100")
    assert page.status == 200, page.text[:500]
    found: list[dict[str, Any]] = json.loads(page.text)["posts"]
    return found


def jobs(machine: Machine, service: str = "celery_worker") -> dict[str, Any]:
    """Return what the application says of its jobs."""
    said = machine.sh(f"moorage exec taifish {service} python3 -m taifish.jobs status")
    found: dict[str, Any] = json.loads(said)
    return found


def queries(machine: Machine, sql: str) -> str:
    """Return what the database answers."""
    return machine.sh(f"docker exec taifish-postgres psql -U taifish -d taifish -Atc {sql!r}")


def ensure_content(machine: Machine) -> None:
    """Have a post with a picture, if there is none yet; its thumbnail is there then."""
    if not any(post["title"] == _TITLE for post in posts(machine)):
        board, picture = "/b/lobby", {"picture": ("fish.png", "image/png", png(900, 600))}
        page = administrator(machine).post(
            f"{board}/posts", board, files=picture, title=_TITLE, body="海里有什么?"
        )
        assert page.status == 200 and _TITLE in page.text, page.text[:500]
    wait_until("its thumbnail is made", lambda: "/thumbs/" in visitor(machine).get("/").text)


def kept(machine: Machine) -> tuple[Any, ...]:
    """Return everything that must survive whatever happens to host and containers."""
    tables = "users", "boards", "posts", "comments"
    rows = [queries(machine, f"SELECT * FROM {table} ORDER BY id") for table in tables]
    files = machine.sh(
        "cd /opt/taifish/data/app && find uploads thumbs -type f -exec sha256sum {} + | sort"
    )
    assert rows[2] and files
    return (*rows, files)


@contextmanager
def visited(machine: Machine, *, rate: float = 60, streams: bool = True) -> Iterator[Load]:
    """Send a steady load while the block runs: pages, and comments of somebody signed in.

    Without ``streams`` nobody is signed in.
    """
    ensure_content(machine)
    someone = administrator(machine)
    # What strangers see may be some seconds old.
    shown = wait_until(
        "the post is shown", lambda: [p["id"] for p in posts(machine) if p["title"] == _TITLE]
    )
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', someone.get(f"/p/{shown[0]}").text)
    assert found, "the page has no form with a token"
    known = {
        "post": shown[0],
        "token": found[1],
        "cookies": someone.cookies if streams else "",
    }
    with load(
        machine.address,
        PORT,
        rate=rate,
        long_rate=0,
        generator=_VISITORS,
        known=known,
        most=able(machine.address, PORT),
    ) as running:
        running.wait_for(int(rate))
        yield running


def database_answers(connection: socket.socket) -> bool:
    """Tell whether PostgreSQL is there: asked for TLS (SSLRequest), it says yes or no."""
    connection.sendall(struct.pack(">II", 8, 80877103))
    return connection.recv(1) in (b"S", b"N")


def ask_data_services(machine: Machine) -> None:
    """Reach both by clients on the host's network: what somebody with a shell there does."""
    shown = client(
        machine,
        "postgres",
        "PGPASSWORD=$(cat /run/secret) psql -h 127.0.0.1 -U taifish -d taifish -Atc "
        '"SELECT count(*) > 0 FROM boards"',
    )
    assert shown == "t"
    ping = "REDISCLI_AUTH=$(cat /run/secret) redis-cli -h 127.0.0.1 PING"
    assert client(machine, "redis", ping) == "PONG"
    assert "NOAUTH" in client(machine, "redis", "redis-cli -h 127.0.0.1 PING")


def client(machine: Machine, service: str, command: str) -> str:
    """Run a command of a data service's image on the host's network, with its password's file."""
    image = machine.sh(f"docker inspect -f '{{{{.Config.Image}}}}' taifish-{service}")
    secret = f"/opt/taifish/secrets/{service}_password"
    return machine.sh(
        f"docker run --rm --network host --user 0:0 --entrypoint sh "
        f"-v {secret}:/run/secret:ro --tmpfs /tmp {image} -c '{command}'"
    )


def assert_ended_in_order(machine: Machine) -> None:
    """Make sure that the database had its time to stop before it started again."""
    started = "$(docker inspect -f '{{.State.StartedAt}}' taifish-postgres)"
    said = machine.sh(f"docker logs --since {started} taifish-postgres 2>&1")
    assert "ready to accept connections" in said and "not properly shut down" not in said


def assert_dumped(saved: bytes) -> None:
    """Make sure that a dump is one of PostgreSQL's, in its custom format."""
    assert (gzip.decompress(saved) if saved[:2] == b"\x1f\x8b" else saved)[:5] == b"PGDMP"
