"""tg2em as its people see it: articles that came from a channel, and who administers them."""

from __future__ import annotations

import gzip
import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from load import Load, able, load
from support import Machine, outer, wait_until
from visitor import Visitor

FRONTEND, PICTURES = 5000, 8088
VISITED, ASIDE, DATABASE = "frontend", "scraper", "mysql"
SINGLE = ("-m", "tg2em_scraper")
BAD = {"tgstate": {"DATA_DIR": "/nowhere"}}
BAD_SAYS = "mkdir /nowhere"
SIGN_IN, PRIVATE = "/dm", "/admin"
PAGES = "frontend/tg2em_frontend/templates/base.html"
# Streams and slow downloads.
LONG = {"download", "events"}
_VISITORS = Path(__file__).with_name("tg2em_visitors.py")
_SERVER = Path(__file__).resolve().parents[2] / "files/stacks/tg2em/tests/preview_server.py"
_PICTURE = re.compile(r'src="(/d/[^"]+)"')


def visitor(machine: Machine, port: int = FRONTEND) -> Visitor:
    """Return a visitor of the site, or of the image service, from outside the host."""
    return Visitor(f"http://{machine.address}:{port}")


def administrator(machine: Machine) -> Visitor:
    """Return a visitor who has signed in with the password that the deploy generated."""
    someone = visitor(machine)
    someone.sign_in(SIGN_IN, machine.sh("cat /opt/tg2em/secrets/admin_password"))
    return someone


@contextmanager
def channel_pages(machine: Machine) -> Iterator[None]:
    """Serve a channel's pages on the stack's network, under the name that the scraper asks."""
    outer("cp", str(_SERVER), f"{machine.name}:/opt/preview_server.py")
    container = machine.container_of("tg2em", "scraper")
    image = machine.sh(f"docker inspect -f '{{{{.Config.Image}}}}' {container}")
    machine.sh(
        "docker run -d --name preview --network tg2em_default --user 10003:10003 --read-only "
        "-v /opt/preview_server.py:/preview_server.py:ro --entrypoint python3 "
        f"{image} /preview_server.py --listen 0.0.0.0 --port 8099 --scenario demo"
    )
    try:
        yield
    finally:
        machine.sh("docker rm -f preview && rm /opt/preview_server.py")


def articles(machine: Machine) -> list[dict[str, Any]]:
    """Return all articles that visitors can see."""
    page = visitor(machine).get("/api/articles?limit=100")
    assert page.status == 200, page.text[:500]
    found: list[dict[str, Any]] = json.loads(page.text)["articles"]
    return found


def pictures(machine: Machine) -> dict[str, bytes]:
    """Return the pictures of the front page by their path."""
    someone = visitor(machine)
    page = someone.get("/")
    assert page.status == 200, page.text[:500]
    found = {}
    for path in sorted(set(_PICTURE.findall(page.text))):
        picture = someone.get(path)
        assert picture.status == 200, f"{path}: {picture.status}"
        found[path] = picture.body
    return found


def ensure_content(machine: Machine) -> None:
    """Have the demo channel read, if it was not yet; its posts and pictures are then there."""
    if articles(machine) and pictures(machine):
        return
    administrator(machine).post("/admin/channels", "/admin/channels", name="demo", source="preview")
    with channel_pages(machine):
        wait_until("all pictures are there", lambda: len(pictures(machine)) >= 5, seconds=60)


def kept(machine: Machine) -> tuple[Any, ...]:
    """Return everything that must survive whatever happens to host and containers."""
    secret = "$(cat /run/secrets/mysql_root_password)"
    container = machine.container_of("tg2em", "mysql")
    rows = machine.sh(
        f"docker exec {container} sh -c 'MYSQL_PWD={secret} mariadb -N -u root tg2em "
        '-e "SELECT * FROM articles ORDER BY id; SELECT * FROM messages ORDER BY id; '
        "SELECT name, source FROM channels; SELECT username, password_hash FROM admin_users\"'"
    )
    assert rows
    return rows, articles(machine), pictures(machine)


@contextmanager
def visited(machine: Machine, *, rate: float = 60, streams: bool = True) -> Iterator[Load]:
    """Send a steady load while the block runs: pages, pictures there and back, and the panel.

    Without ``streams`` nobody looks at the panel: whoever does is signed out by what is done.
    """
    known = {
        "pictures_port": PICTURES,
        "password": machine.sh("cat /opt/tg2em/secrets/tgstate_password"),
        "cookies": administrator(machine).cookies,
    }
    with load(
        machine.address,
        FRONTEND,
        rate=rate,
        long_rate=1.0 if streams else 0,
        generator=_VISITORS,
        known=known,
        most=able(machine.address, FRONTEND),
    ) as running:
        running.wait_for(int(rate))
        yield running


def database_answers(connection: socket.socket) -> bool:
    """Tell whether MariaDB is there: it greets first, with its version ended by a zero byte."""
    return b"MariaDB" in connection.recv(200)


def ask_data_services(machine: Machine) -> None:
    """Read a table by a client on the host's network: what somebody with a shell there does."""
    image = machine.sh("docker inspect -f '{{.Config.Image}}' tg2em-mysql")
    secret = "/opt/tg2em/secrets/for/10001/mysql_password"
    # The password goes in by a file, as every secret does.
    shown = machine.sh(
        f"docker run --rm --network host --user 10001:10001 --entrypoint sh "
        f"-v {secret}:/run/secrets/mysql_password:ro --tmpfs /tmp {image} -c '"
        'printf "[client]\\npassword=%s\\n" "$(cat /run/secrets/mysql_password)" >/tmp/my.cnf; '
        "mariadb --defaults-extra-file=/tmp/my.cnf -h 127.0.0.1 -P 3306 -u tg2em tg2em "
        '-N -e "SELECT COUNT(*) >= 0, @@character_set_database FROM articles"\''
    )
    assert shown.split() == ["1", "utf8mb4"]


def assert_ended_in_order(machine: Machine) -> None:
    """Make sure that the database had its time to stop before it started again."""
    started = "$(docker inspect -f '{{.State.StartedAt}}' tg2em-mysql)"
    said = machine.sh(f"docker logs --since {started} tg2em-mysql 2>&1")
    assert "ready for connections" in said and "crash recovery" not in said


def assert_dumped(packed: bytes) -> None:
    """Make sure that a dump is whole and holds the articles."""
    lines = gzip.decompress(packed).decode().splitlines()
    assert any(line.startswith("CREATE TABLE `articles`") for line in lines), lines[:20]
    assert any("流浪地球" in line for line in lines)
    assert lines[-1].startswith("-- Dump completed"), lines[-3:]
