"""What a host reads of a release fits its readers, or is told with its place."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from moorage.common.files import write_atomically
from moorage.common.lock import open_lock
from moorage.common.readers import Damaged, decode, read_bytes
from moorage.common.shape import fit, make, read_shaped
from moorage.deploy.difference import needs_of
from moorage.deploy.launch import LaunchError, run_activation
from moorage.deploy.release import ReleaseError, history, read_release
from moorage.deploy.traffic import direct_targets, pools_of, public_targets
from moorage.release.layout import Layout, release_names
from moorage.release.manifest import FORMAT, batches, data_of, parse, text_of

ID = "0123456789ab"
MANIFEST: dict[str, Any] = {
    "format": FORMAT,
    "stack": "shop",
    "topology": "containers",
    "version": "1",
    "images": ["shop/web:1"],
    "services": [{"name": "web", "kind": "container", "containers": ["shop-web"], "ports": [8000]}],
    "install": {"tmpfiles.conf": "/etc/tmpfiles.d/shop.conf"},
    "runtime": [{"path": "/run/moorage/shop/x", "owner": 1, "group": 1, "mode": "0750"}],
    "units": [
        {
            "name": "shop-web",
            "service": "web",
            "config": "c",
            "rolled": True,
            "keys": {"a": "web.a", "b": "web.b"},
            "peers": {"a": {"8000": 20000}, "b": {"8000": 20001}},
            "needs": {"db": "service_started"},
            "secrets": ["token"],
            "stop_seconds": 10.0,
            "update": {"parallelism": 1, "monitor": None},
            "slot_install": {},
        }
    ],
    "edge": {
        "pools": {"web:8000": {"service": "web", "port": 8000}},
        "listeners": [{"port": 80, "address": "", "pool": "web:8000"}],
        "routes": [],
        "domains": [],
        "options": {},
    },
    "probe": {
        "rate": 50.0,
        "timeout_seconds": 2.0,
        "targets": [{"service": "web", "port": 8000, "path": "/", "expect": [200, 399]}],
    },
    "rollout": {"drain_seconds": 1.0, "monitor_seconds": 0.2},
    "hooks": {"before": [{"name": "n", "service": "web", "command": ["true"]}], "after": []},
    "migrations": {"service": "web", "plan": ["plan"]},
}
ODD: list[Any] = [None, True, 5, -1, 1.5, "text", [], {}, [5], {"a": 5}, ["text"], {"a": "b"}]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout.of("shop", tmp_path / "opt", tmp_path / "run")
    (found.releases / ID).mkdir(parents=True)
    return found


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value in a document."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def changed(path: tuple[Any, ...], value: Any) -> Any:
    found = copy.deepcopy(MANIFEST)
    at: Any = found
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return found


def used(layout: Layout) -> None:
    """Use a release as an activation, a status and an update do."""
    release = read_release(layout, ID)
    units = release.manifest.units
    batches(units)
    needs_of(units, {})
    public_targets(release)
    pools_of(release, units, {})
    for unit in units:
        direct_targets(release, unit, "a")
        unit.serves("web")
    assert isinstance(release.manifest.complete, bool) and isinstance(release.images, tuple)
    text_of(release.manifest).encode()


@pytest.mark.parametrize("path", list(places(MANIFEST))[1:], ids=lambda p: ".".join(map(str, p)))
def test_every_value_of_a_manifest_is_right_or_told(layout: Layout, path: tuple[Any, ...]) -> None:
    file = layout.releases / ID / "release.json"
    for value in ODD:
        file.write_text(json.dumps(changed(path, value)))
        try:
            used(layout)
        except ReleaseError as trouble:
            assert f"{path[0]}" in str(trouble) and "Deploy the stack again" in str(trouble)


def test_a_whole_manifest_is_read(layout: Layout) -> None:
    (layout.releases / ID / "release.json").write_text(json.dumps(MANIFEST))
    used(layout)
    assert read_release(layout, ID).manifest.complete
    assert release_names(layout.releases) == [ID]


@pytest.mark.parametrize(
    ("place", "key", "near"),
    [
        ((), "vresion", "version"),
        (("units", 0), "one_of", "one_off"),
        (("units", 0, "update"), "paralelism", "parallelism"),
        (("edge", "pools", "web:8000"), "prot", "port"),
    ],
)
def test_a_key_that_the_format_does_not_have_is_told_and_older_ones_may_have_it(
    layout: Layout, place: tuple[Any, ...], key: str, near: str
) -> None:
    document = copy.deepcopy(MANIFEST)
    at: Any = document
    for name in place:
        at = at[name]
    at[key] = 1
    file = layout.releases / ID / "release.json"
    file.write_text(json.dumps(document))
    with pytest.raises(ReleaseError, match=rf"{key}: there is no such key; .* is {near}\."):
        read_release(layout, ID)
    file.write_text(json.dumps({**document, "format": FORMAT - 1}))
    assert read_release(layout, ID).manifest.complete


def test_a_release_of_a_newer_moorage_is_told_apart(layout: Layout) -> None:
    newer = {**MANIFEST, "format": FORMAT + 1, "more": {}}
    (layout.releases / ID / "release.json").write_text(json.dumps(newer))
    with pytest.raises(ReleaseError, match=f"format: {FORMAT + 1} is of a newer version"):
        read_release(layout, ID)


def test_what_is_written_is_read_as_it_was() -> None:
    said = parse(MANIFEST)
    assert parse(json.loads(text_of(said))) == said
    assert text_of(parse(data_of(said))) == text_of(said)


def test_the_oldest_releases_say_where_their_services_run() -> None:
    said = parse({"topology": "containers", "services": [{"name": "web", "container": "s-web"}]})
    assert [service.containers for service in said.services] == [("s-web",)]
    assert not said.complete


@dataclass
class Sample:
    name: str
    count: int = 0
    share: float = 0.0
    sure: bool = False
    words: list[str] = field(default_factory=list)
    maybe: float | None = None


def test_data_becomes_what_it_is_read_as_or_says_where_it_does_not() -> None:
    assert make(Sample, {"name": "a", "share": 1, "more": 5}) == Sample("a", share=1)
    assert make(Sample, {"name": "a", "maybe": None}).maybe is None
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "name in it is wanted"),
        ({"name": 5}, "name: a text is wanted, it holds 5"),
        ({"name": "a", "count": 1.5}, "count: a whole number"),
        ({"name": "a", "count": True}, "count: a whole number"),
        ({"name": "a", "sure": 1}, "sure: true or false"),
        ({"name": "a", "words": ["b", 5]}, r"words\[1\]: a text is wanted, it holds 5"),
        ({"name": "a", "maybe": "b"}, "maybe: a number"),
    ]
    for given, said in wrong:
        with pytest.raises(ValueError, match=said):
            make(Sample, given)
    with pytest.raises(ValueError, match="an object is wanted"):
        fit([], Sample)


@pytest.mark.parametrize(
    "content",
    [b"NaN", b"[Infinity]", b"1e999", b"9" * 300, b"9" * 9000, b'"\\ud800"', b'{"a":1,"a":1}',
     b"[" * 65 + b"]" * 65, b"\xff", b" ", b"{", b'{"\\udfff": 1}'],
)  # fmt: skip
def test_what_no_writer_of_ours_writes_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        decode(content)
    assert len(str(refused.value)) < 200


def test_what_our_writers_write_is_read() -> None:
    whole: dict[str, Any] = {"a": [1, -1.5, True, None, "€ 😀", {"b": {}}], "": ""}
    for ascii_only in (True, False):
        assert decode(json.dumps(whole, ensure_ascii=ascii_only).encode()) == whole


def test_nobody_waits_for_a_pipe_or_reads_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name, said in (("pipe", "a pipe"), ("device", "a device")):
        with pytest.raises(Damaged, match=f"it is {said}"):
            read_bytes(tmp_path / name)
    with pytest.raises(Damaged, match="Move it away"):
        open_lock(tmp_path / "pipe")
    with pytest.raises(Damaged, match="Move it away"):
        open_lock(tmp_path / "device")
    assert read_bytes(tmp_path / "none") is None


def test_what_stands_in_the_place_of_a_file_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "x.json" / "mine").mkdir(parents=True)
    write_atomically(tmp_path / "x.json", "{}")
    assert read_shaped(tmp_path / "x.json", dict[str, Any]) == {}
    (kept,) = tmp_path.glob("x.json.*")
    assert (kept / "mine").is_dir()


def test_lines_of_a_history_that_nobody_can_have_written_are_passed_over(layout: Layout) -> None:
    right = {"release": ID, "at": 1.5, "action": "deploy"}
    times: list[Any] = [1e300, -1, "1", True, None, [], 2**40]
    lines: list[dict[str, Any]] = [right, *({**right, "at": at} for at in times)]
    lines += [{**right, "release": name} for name in ("x", 5, None, f"{ID}\n")]
    layout.history.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert history(layout) == [right]


def test_a_request_with_values_of_other_kinds_is_refused_in_words(tmp_path: Path) -> None:
    whole = {"stack": "a", "release": "b", "journal": str(tmp_path / "j")}
    for odd in ({"keep": "5"}, {"restart": "web"}, {"hooks": 1}, {"journal": 5}, {"token": None}):
        asked = tmp_path / "asked.json"
        asked.write_text(json.dumps({**whole, **odd}))
        with pytest.raises(LaunchError, match="is no request of this version"):
            run_activation(asked, tmp_path, tmp_path)
