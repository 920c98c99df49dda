"""Stacks without containers: what a survey tells of their processes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible.module_utils.moorage_host import stacks

from moorage.deploy.runtimes import native
from moorage.deploy.runtimes.records import Port, Record, write_record
from moorage.release.layout import Layout
from moorage.release.native import Process

PROCESS = Process("shop-web@1a", "web", ("web",), "/", "/usr/bin", f"{os.getuid()}:{os.getgid()}")
MADE = Record("web.a", "f00d", "systemd", PROCESS, "web", "c0de", "environment/shop-web:1")
WANTED = [{"name": "kiosk"}, {"name": "shop"}]


def test_processes_are_told_as_containers_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A systemd that has not heard of it yet; there may be none where tests run.
    manager = SimpleNamespace(look=lambda _: {})
    monkeypatch.setitem(cast(dict[str, Any], native._MANAGERS), "systemd", lambda _: manager)
    layout = Layout.of("shop", tmp_path)
    layout.instances.mkdir(parents=True)
    assert stacks.processes(WANTED, tmp_path) == []
    # A port is held by what runs alone.
    write_record(layout, "shop-web", replace(MADE, ports=(Port("5000", "127.0.0.1", 21344),)))
    (entry,) = stacks.processes(WANTED, tmp_path)
    assert (entry["stack"], entry["service"], entry["name"]) == ("shop", "web", "shop-web")
    assert (entry["state"], entry["health"], entry["ports"]) == ("created", "none", [])
    found = stacks.survey([{"name": "shop", "dir": str(layout.base)}], [entry], {})["shop"]
    assert [entry["name"] for entry in found["containers"]] == ["shop-web"]


def test_a_torn_record_holds_up_no_survey(tmp_path: Path) -> None:
    layout = Layout.of("shop", tmp_path)
    layout.instances.mkdir(parents=True)
    (layout.instances / "shop-web.json").write_text("{")
    assert stacks.processes(WANTED, tmp_path) == []
