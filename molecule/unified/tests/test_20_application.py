"""What the application is for: an article travels from a channel's page to a visitor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Machine, outer, wait_until
from visitor import Visitor

SERVER = Path(__file__).parents[3] / "files/stacks/tg2em/tests/preview_server.py"


@pytest.fixture
def administrator(settled: Machine, stack: str) -> Visitor:
    """A visitor who has signed in with the password that the deploy generated."""
    visitor = Visitor(f"http://{settled.address}:5000")
    visitor.sign_in(settled.sh(f"cat /opt/{stack}/secrets/admin_password"))
    return visitor


@pytest.fixture
def preview(machine: Machine) -> Iterator[None]:
    """A server of channel pages on the stack's network, under the name that the scraper asks."""
    outer("cp", str(SERVER), f"{machine.name}:/opt/preview_server.py")
    image = machine.sh("docker inspect -f '{{.Config.Image}}' tg2em-unified")
    machine.sh(
        "docker run -d --name preview --network tg2em_default --user 10003:10003 --read-only "
        "-v /opt/preview_server.py:/preview_server.py:ro --entrypoint python3 "
        f"{image} /preview_server.py --listen 0.0.0.0 --port 8099 --scenario demo"
    )
    yield
    machine.sh("docker rm -f preview")


@pytest.mark.usefixtures("preview")
def test_an_article_travels_from_the_channel_to_the_front_page(
    settled: Machine, administrator: Visitor
) -> None:
    visitor = Visitor(f"http://{settled.address}:5000")
    administrator.post("/admin/channels", "/admin/channels", name="demo", source="preview")

    def front_page() -> str:
        page = visitor.get("/")
        assert page.status == 200
        return page.text if "流浪地球" in page.text and 'src="/d/' in page.text else ""

    text = wait_until("the article and its picture are there", front_page, seconds=60, every=0.5)
    picture = re.search(r'src="(/d/[^"]+)"', text)
    assert picture
    shown = visitor.get(picture[1])
    assert shown.status == 200
    assert shown.headers["Content-Type"] == "image/webp"
    assert shown.body[:4] == b"RIFF" and shown.body[8:12] == b"WEBP"
    direct = Visitor(f"http://{settled.address}:8088").get(picture[1])
    assert direct.body == shown.body, "the image service serves the same picture itself"


def test_it_can_be_searched(settled: Machine) -> None:
    visitor = Visitor(f"http://{settled.address}:5000")
    found = visitor.get("/search?q=%E4%B8%89%E4%BD%93")
    assert found.status == 200 and "三体" in found.text
    assert "蓝色星球" not in found.text
    listed = visitor.get("/api/articles?limit=100")
    assert listed.status == 200 and '"items"' in listed.text


def test_nobody_gets_in_with_a_guess(settled: Machine) -> None:
    visitor = Visitor(f"http://{settled.address}:5000")
    for guess in ("admin", "password", ""):
        assert visitor.post("/dm", "/dm", username="admin", password=guess).status == 401
    assert "/dm" in visitor.get("/admin").url
    assert visitor.get("/admin/services/frontend/status").status in (401, 403, 200)


def test_the_admin_page_stops_and_starts_a_real_process(
    settled: Machine, stack: str, administrator: Visitor
) -> None:
    before = settled.status(stack)["scraper"]["pid"]
    administrator.post("/admin/services/scraper/stop", "/admin")
    stopped = settled.status(stack)["scraper"]
    assert (stopped["state"], stopped["pid"]) == ("STOPPED", None)
    settled.sh("docker restart tg2em-unified")
    wait_until(
        "the front end is back",
        lambda: settled.status(stack)["frontend"]["health"] == "healthy",
        seconds=60,
    )
    assert settled.status(stack)["scraper"]["state"] == "STOPPED", "what was stopped stays stopped"
    administrator.post("/admin/services/scraper/start", "/admin")
    started = wait_until(
        "the scraper runs",
        lambda: (s := settled.status(stack)["scraper"])["state"] == "RUNNING" and s,
        seconds=20,
    )
    assert started["pid"] != before
    assert str(started["pid"]) in administrator.get("/admin/services/scraper/status").text
