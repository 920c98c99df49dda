"""What a release mounts is there before its containers are: seeded, shipped, made, or refused."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from rig import IMAGE, Rig, docker


@pytest.fixture
def host() -> Iterator[Path]:
    """A directory to which root alone leads."""
    path = Path(mkdtemp(dir="/var/lib"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def bind(source: Path, target: str, **more: Any) -> dict[str, Any]:
    there = {"create_host_path": False}
    return {"type": "bind", "source": str(source), "target": target, "bind": there, **more}


def test_a_first_deploy_finds_all_that_it_mounts(rig: Rig, host: Path) -> None:
    base = rig.layout.base
    mail, conf, media = base / "data/mail", base / "config/shipped/1/app.conf", host / "srv/media"
    mail.mkdir(parents=True)
    mail.chmod(0o700)
    mounts = [bind(mail, "/var/mail"), bind(conf, "/app.conf", read_only=True), bind(media, "/m")]
    ident = rig.release(
        rig.service("web", entry={"volumes": mounts}),
        seeds=[{"path": str(mail), "image": IMAGE, "target": "/var/mail"}],
        places=[{"path": str(media), "make": True, "read_only": False}],
        install={"shipped/1/app.conf": str(conf)},
    )
    shipped = rig.layout.releases / ident / "shipped/1/app.conf"
    shipped.parent.mkdir(parents=True)
    shipped.write_text("a=b\n")
    outcome = rig.activate(ident)
    assert outcome.outcome == "activated", outcome.message
    name = f"{rig.stack}-web"
    assert docker("exec", name, "cat", "/app.conf") == "a=b"
    # As the image has it.
    looks = "%u %g %a"
    there = docker("run", "--rm", "--network", "none", IMAGE, "stat", "-c", looks, "/var/mail")
    assert docker("exec", name, "stat", "-c", looks, "/var/mail") == there
    assert stat.S_IMODE(media.stat().st_mode) == 0o755
    events = [json.loads(line) for line in rig.journal.read_text().splitlines()]
    assert {"made", "seeded"} <= {event["event"] for event in events}
    assert rig.activate(ident).outcome == "unchanged"


def test_a_planted_link_keeps_what_runs(rig: Rig, host: Path) -> None:
    before = rig.release(rig.service("web"))
    rig.activate(before)
    there = rig.containers()["web"].id
    (host / "media").symlink_to(rig.layout.base / "secrets")
    ident = rig.release(
        rig.service("web", "exec sleep 601", entry={"volumes": [bind(host / "media", "/m")]}),
        places=[{"path": str(host / "media"), "make": True, "read_only": True}],
    )
    outcome = rig.activate(ident)
    assert outcome.outcome == "restored" and "which leads to" in outcome.message, outcome.message
    assert rig.containers()["web"].id == there
