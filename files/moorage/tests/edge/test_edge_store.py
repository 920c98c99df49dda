"""What the edge keeps is read by its shape, and put aside where it is no file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from moorage.edge import Edge
from moorage.edge.errors import EdgeError
from moorage.edge.store import Store

SETTINGS: dict[str, Any] = {"kind": "container", "image": "x", "http_port": 80, "certificates": []}
FACTS = {"pools": {"web:80": {}}, "listeners": [{"port": 80, "address": "", "pool": "web:80"}]}
ODD: list[Any] = [None, True, -1, 1e300, "x", [], {}, [5], {"a": 5}]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "moorage/edge", tmp_path / "run")
    for name in ("stacks", "pools", "generations"):
        (found.base / name).mkdir(parents=True)
    found.settings_file.write_text(json.dumps(SETTINGS))
    return found


def test_settings_of_any_shape_are_used_or_told(store: Store) -> None:
    for key in (*SETTINGS, "trusted_proxies", "worker_processes", "unknown"):
        for value in ODD:
            store.settings_file.write_text(json.dumps({**SETTINGS, key: value}))
            try:
                assert Edge(store).present() in (True, False)
            except EdgeError as trouble:
                assert len(str(trouble)) > 20
    for torn in (b"", b"{", b"\xff", b"[1]", b"NaN", b"[" * 100_000):
        store.settings_file.write_bytes(torn)
        with pytest.raises(EdgeError, match=r"settings.json is damaged: .*provision.yml"):
            store.settings()


@pytest.mark.parametrize("what", ["directory", "pipe", "dangling", "device"])
def test_what_is_no_file_is_told_and_put_aside(store: Store, what: str) -> None:
    for name in ("stacks/shop.json", "pools/shop.json", "pools/shop.copy"):
        path = store.base / name
        if what == "directory":
            (path / "mine").mkdir(parents=True)
        elif what == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero" if what == "device" else "/nowhere")
    assert store.facts("shop") is None
    assert store.pools("shop")["pools"] == {}
    assert len(store.damage()) == 2
    store.put_facts("shop", FACTS)
    store.put_pools("shop", {"pools": {"web:80": ["127.0.0.1:5"]}})
    assert store.facts("shop") == FACTS and not store.damage()
    assert store.pools("shop")["pools"] == {"web:80": ["127.0.0.1:5"]}
    store.put_facts("shop", None)
    store.put_pools("shop", None)
    assert store.all_facts() == []


def test_pools_of_any_shape_are_used_or_the_copy_is(store: Store) -> None:
    store.put_pools("shop", {"pools": {"web:80": ["127.0.0.1:5"]}, "hold_seconds": {"web:80": 1}})
    whole = json.loads((store.base / "pools/shop.json").read_text())
    for key in ("pools", "hold_seconds", "maintenance"):
        for value in ODD:
            if value in ({}, True) or (key == "hold_seconds" and value == {"a": 5}):
                continue
            (store.base / "pools/shop.json").write_text(json.dumps({**whole, key: value}))
            assert store.pools("shop")["pools"] == {"web:80": ["127.0.0.1:5"]}
            assert len(store.damage()) == 1


def test_a_generation_that_is_no_directory_is_made_anew(store: Store) -> None:
    (store.base / "generations/0123").write_text("")
    assert not store.is_whole("0123", {"nginx.conf": "x"})
    store.stage("0123", {"nginx.conf": "x"})
    assert store.is_whole("0123", {"nginx.conf": "x"})
    (store.generation("0123") / "nginx.conf").write_bytes(b"\xff")
    assert not store.is_whole("0123", {"nginx.conf": "x"})
    (store.conf / "mine").mkdir(parents=True)
    store.enforce("0123")
    assert store.in_force() == "0123"
