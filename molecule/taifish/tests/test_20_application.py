"""What the application is for: accounts, posts with pictures, comments, a file to take along."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

import pytest
from support import Machine, wait_until
from taifish_site import administrator, ensure_content, jobs, png, posts, visitor
from visitor import Visitor

MAILS = "/tmp/mails"


@pytest.fixture
def mail(settled: Machine) -> Iterator[str]:
    """A mail server on the host, at the network's gateway; what it was sent is in a mailbox."""
    settled.sh("dpkg -s python3-aiosmtpd >/dev/null 2>&1 || apt-get install -qy python3-aiosmtpd")
    settled.sh(
        "systemd-run --quiet --unit mail-sink --property DynamicUser=no "
        f"python3 -m aiosmtpd -n -l 172.20.0.1:1025 -c aiosmtpd.handlers.Mailbox {MAILS}"
    )
    yield f"cat {MAILS}/new/* 2>/dev/null"
    settled.sh(f"systemctl stop mail-sink; rm -rf {MAILS}")


def member(machine: Machine, name: str) -> Visitor:
    """Return somebody who has just signed up."""
    someone, password = visitor(machine), secrets.token_hex(10)
    page = someone.post(
        "/signup", "/signup", username=name, password=password, email=f"{name}@example.com"
    )
    assert page.status == 200, page.text[:500]
    return someone


def test_from_signing_up_to_a_thumbnail_and_a_mail(settled: Machine, mail: str) -> None:
    author, reader = member(settled, "ling"), member(settled, "bo")
    title = "太湖的银鱼"
    files = {"picture": ("fish.png", "image/png", png(1200, 800))}
    page = author.post("/b/lobby/posts", "/b/lobby", files=files, title=title, body="真小")
    assert page.status == 200 and title in page.text, page.text[:500]
    # What strangers see may be some seconds old.
    (post,) = wait_until(
        "the post is shown", lambda: [p["id"] for p in posts(settled) if p["title"] == title]
    )
    wait_until("the thumbnail is made", lambda: "/thumbs/" in author.get(f"/p/{post}").text)
    shown = f"/p/{post}"
    answer = reader.post(f"{shown}/comments", shown, body="好看!")
    assert answer.status == 200 and "好看!" in answer.text
    wait_until("the author has a mail", lambda: "ling@example.com" in settled.sh(mail))


def test_what_is_no_picture_is_refused(settled: Machine) -> None:
    someone = administrator(settled)
    files = {"picture": ("fish.png", "image/png", b"<script>alert(1)</script>")}
    page = someone.post("/b/lobby/posts", "/b/lobby", files=files, title="no", body="no")
    assert page.status == 422, page.status


def test_a_board_is_exported_in_the_background(settled: Machine) -> None:
    ensure_content(settled)
    someone = administrator(settled)
    page = someone.post("/b/lobby/exports", "/b/lobby")
    assert "/exports/" in page.url, page.url
    path = page.url[page.url.index("/exports/") :]

    def made() -> bool:
        said = json.loads(someone.get(path, accept="application/json").text)
        return bool(said["state"] == "done")

    wait_until("the file is made", made)
    table = someone.get(f"{path}/download")
    assert table.status == 200 and table.headers["Content-Type"].startswith("text/csv")
    assert "摸鱼的第一天" in table.text
    assert "/login" in visitor(settled).get(f"{path}/download").url


def test_nobody_gets_in_with_a_guess(settled: Machine) -> None:
    for guess in ("admin", "password", ""):
        page = visitor(settled).post("/login", "/login", username="admin", password=guess)
        assert page.status in (400, 401)
    assert "/login" in visitor(settled).get("/admin").url


def test_the_administrator_sees_jobs_and_the_clock(settled: Machine, mail: str) -> None:
    someone = administrator(settled)
    wait_until("beat has run", lambda: jobs(settled)["last_beat"], seconds=90)
    assert someone.get("/admin").status == 200
    page = someone.post("/admin/mail-test", "/admin", to="ops@example.com")
    assert page.status == 200, page.text[:500]
    wait_until("it has arrived", lambda: "ops@example.com" in settled.sh(mail))
