"""Whatever lies in a stack's directory, no verb of `moorage` ends in a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torn import FOREIGN, IN_PLACE, ONE, TWO, deployed, odd, stand_in

from moorage.cli.main import main
from moorage.deploy.release import read_release
from moorage.probe.receipt import write_receipt
from moorage.release.layout import Layout

RECEIPT = {"stack": "shop", "host": "h", "action": "update", "outcome": "activated", "reason": "",
           "started": 1.0, "finished": 2.0, "before": None, "after": {"release": TWO}}  # fmt: skip
RESERVATION = {"who": "a", "controller": "b", "pid": 5, "started": 1.0, "purpose": "c",
               "token": "d", "since": 1.0, "expires": 1e12}  # fmt: skip
LINE = {"release": TWO, "at": 1.0, "action": "deploy"}
WHOLE: dict[str, object] = {
    ".lock": {"pid": 1, "who": "a", "purpose": "b", "since": 1.0},
    ".reservation.json": RESERVATION,
    ".reservation.lock": {},
    ".rollout.json": {"release": TWO, "previous": ONE, "held": ["web"], "since": 1.0},
    ".held.json": ["web"],
    ".secrets.json": {"token": "0" * 64},
    "releases/history.jsonl": LINE,
    f"releases/{TWO}/release.json": {"topology": "containers", "services": [], "install": {}},
    f"releases/{TWO}/compose.json": {"services": {}},
    f"releases/{TWO}/receipt.json": RECEIPT,
    "current": {},
}
VERBS = [["status"], ["status", "shop"], ["status", "--json"], ["releases", "shop"],
         ["receipt", "shop"], ["receipt", "shop", "--verify"], ["events", "shop"],
         ["logs", "shop", "web"], ["stop", "shop", "web"], ["lock", "shop"],
         ["unlock", "shop"]]  # fmt: skip


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    # The engine knows nothing of this stack; to ask it each time takes long.
    for name in ("instances", "missing"):
        monkeypatch.setattr(f"moorage.deploy.runtimes.docker.Docker.{name}", lambda *_: [])
    found: Layout = deployed(tmp_path, "shop")
    deployed(tmp_path, "blog")
    write_receipt(read_release(found, TWO).path, RECEIPT, None)
    return found


def play(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--base", str(layout.base.parent), "--run", str(layout.run.parent)]
    for verb in VERBS:
        status = main([*where, *verb])
        said = capsys.readouterr()
        assert status in (0, 1), verb
        assert status == 0 or said.err.startswith("moorage: "), verb
        if verb[0] == "status" and len(verb) == 1:
            assert "blog (containers" in said.out, "the other stack is shown"


@pytest.mark.parametrize("what", IN_PLACE)
@pytest.mark.parametrize("name", WHOLE)
def test_what_is_no_file(
    layout: Layout, capsys: pytest.CaptureFixture[str], name: str, what: str
) -> None:
    stand_in(layout.base / name, what)
    play(layout, capsys)


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "current"])
def test_what_holds_anything(layout: Layout, capsys: pytest.CaptureFixture[str], name: str) -> None:
    path = layout.base / name
    whole = json.dumps(WHOLE[name]).encode()
    for content in [whole, whole[: len(whole) // 2], *FOREIGN, *odd(whole)[::7]]:
        path.write_bytes(content)
        play(layout, capsys)
