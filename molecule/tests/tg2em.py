"""tg2em as its people see it: articles that came from a channel, and who administers them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import Machine, outer, wait_until
from visitor import Visitor

FRONTEND, PICTURES = 5000, 8088
_SERVER = Path(__file__).resolve().parents[2] / "files/stacks/tg2em/tests/preview_server.py"
_PICTURE = re.compile(r'src="(/d/[^"]+)"')


def visitor(machine: Machine, port: int = FRONTEND) -> Visitor:
    """Return a visitor of the site, or of the image service, from outside the host."""
    return Visitor(f"http://{machine.address}:{port}")


def administrator(machine: Machine) -> Visitor:
    """Return a visitor who has signed in with the password that the deploy generated."""
    someone = visitor(machine)
    someone.sign_in(machine.sh("cat /opt/tg2em/secrets/admin_password"))
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


def ensure_articles(machine: Machine) -> None:
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
