"""Torn and foreign files of one stack leave the others alone, and a deploy mends them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from edge_rig import Application, EdgeRig, docker, get, until

from moorage.cli.edge import text
from moorage.edge.report import report

Start = Callable[..., Application]
TORN = ["", "[]", "null", "\x00" * 9]
FOREIGN = ['{"pools": 5}', '{"pools": {"web:80": "x"}}', '{"pools": {}, "hold_seconds": 5}']


@pytest.mark.parametrize("content", [*TORN, '{"pools": 5}', '{"listeners": [{}]}'])
def test_facts_that_cannot_be_read_cost_nobody_else_anything(
    rig: EdgeRig, application: Start, content: str
) -> None:
    good, bad = rig.stack("good", application().peer), rig.stack("bad", application().peer)
    facts = rig.edge.facts("bad")
    rig.edge.store.facts_file("bad").write_text(content)
    shown = text(report(rig.edge))
    assert "bad.json is damaged" in shown
    assert "good" in shown
    other = rig.stack("other", application().peer)
    assert {get(good).status, get(other).status} == {200}
    rig.edge.apply("bad", facts)
    assert get(bad).status == 200
    assert "damaged" not in text(report(rig.edge))
    for name in ("good", "bad", "other"):
        rig.edge.forget(name)


def test_the_release_tells_what_a_torn_file_said(rig: EdgeRig, application: Start) -> None:
    port = rig.stack("told", application().peer)
    release = rig.edge.store.base.parent.parent / "told" / "current" / "release.json"
    release.parent.mkdir(parents=True)
    release.write_text(json.dumps({"edge": rig.edge.facts("told")}))
    rig.edge.store.facts_file("told").write_text("")
    rig.edge.reload()
    assert get(port).status == 200


def start_again(rig: EdgeRig, port: int) -> None:
    """Start nginx anew and wait until it serves at ``port``."""

    def serves() -> bool:
        try:
            return bool(get(port).status == 200)
        except OSError:
            return False

    docker("restart", rig.container)
    until(serves)


@pytest.mark.parametrize("content", ["", "\x00" * 9, *FOREIGN])
def test_pools_that_cannot_be_read_are_those_of_the_copy(
    rig: EdgeRig, application: Start, content: str
) -> None:
    server = application()
    port, other = rig.stack("pools", server.peer), rig.stack("beside", application().peer)
    files = rig.edge.store.base / "pools"
    (files / "pools.json").write_text(content)
    assert rig.edge.pools("pools") == {"web:80": [server.peer]}
    rig.edge.reload()
    assert get(port).status == 200
    assert "pools.json is damaged" in text(report(rig.edge))
    files.joinpath("beside.json").unlink()
    start_again(rig, other)
    assert get(port).status == 200
    rig.edge.forget("pools")


def test_pools_without_a_copy_are_empty_until_the_next_switch(
    rig: EdgeRig, application: Start
) -> None:
    server = application()
    port, other = rig.stack("lone", server.peer), rig.stack("beside", application().peer)
    for suffix in ("json", "copy"):
        (rig.edge.store.base / "pools" / f"lone.{suffix}").write_text("{")
    rig.edge.reload()
    assert get(port).status == 200, "memory goes on"
    start_again(rig, other)
    assert get(port).status == 503
    rig.edge.switch("lone", {"web:80": [server.peer]})
    assert get(port).status == 200
    assert "lone.json is damaged" not in text(report(rig.edge))
