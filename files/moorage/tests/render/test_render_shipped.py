"""Mounts of the stack's own directory: shipped what is there, data what is not."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moorage.compose.shipped import MAX_BYTES, MAX_FILES
from moorage.controller.manifest import directories_of
from moorage.settings.stack import Settings

Render = Callable[..., Any]
HOST = "/opt/shop/config/shipped"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop/conf/below").mkdir(parents=True)
    (tmp_path / "shop/conf/a.ini").write_text("a=${B}\n")
    (tmp_path / "shop/conf/below/run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "shop/conf/below/run.sh").chmod(0o755)
    (tmp_path / "shop/conf/logo.png").write_bytes(b"\x89PNG\r\n\xff")
    (tmp_path / "shop/conf/dos.txt").write_bytes(b"one\r\ntwo\r\n")
    return tmp_path / "shop"


def mounted(found: Any, service: str = "a") -> Any:
    return found.services[service]["volumes"][0]


def test_a_directory_is_shipped_at_a_path_of_its_content(render: Render, shop: Path) -> None:
    text = "services: {a: {image: x, user: '1:1', volumes: ['./conf:/etc/a:ro']}}"
    found = render(text, topology="containers")
    mount = mounted(found)
    assert mount["source"].startswith(f"{HOST}/") and mount["read_only"]
    assert not found.rendering.notes
    files = {f.install_as: (n, f) for n, f in found.rendering.files.items() if "shipped" in n}
    assert sorted(path.removeprefix(mount["source"]) for path in files) == [
        "/a.ini", "/below/run.sh", "/dos.txt", "/logo.png",
    ]  # fmt: skip
    assert files[f"{mount['source']}/a.ini"][1].content == "a=${B}\n"
    assert files[f"{mount['source']}/a.ini"][1].mode == "0600"
    assert files[f"{mount['source']}/below/run.sh"][1].mode == "0700"
    for name in ("dos.txt", "logo.png"):
        key, file = files[f"{mount['source']}/{name}"]
        assert key.startswith("shipped64/")
        assert base64.b64decode(file.content) == (shop / "conf" / name).read_bytes()
    entry = next(
        e for e in directories_of(Settings.parse({}, "shop"), found.rendering) if e["path"] == HOST
    )
    assert (entry["owner"], entry["mode"], entry["keep"]) == (0, "0700", False)
    # Whatever changes, the container does.
    (shop / "conf/below/run.sh").chmod(0o644)
    assert mounted(render(text, topology="containers"))["source"] != mount["source"]


def test_a_file_keeps_its_name_and_says_that_it_is_read_only(render: Render, shop: Path) -> None:
    found = render(
        "services: {a: {image: x, volumes: ['./conf/a.ini:/etc/b.ini']}}", topology="containers"
    )
    assert mounted(found)["source"].endswith("/a.ini") and mounted(found)["read_only"]
    assert "./conf/a.ini is shipped with the release" in "".join(found.rendering.notes)


def test_what_is_not_there_is_data(render: Render, shop: Path) -> None:
    (shop / "empty").mkdir()
    (shop / "empty/.gitkeep").write_text("")
    found = render(
        "services: {a: {image: x, user: '1:1', volumes: ['./pg/data:/d', './empty:/e:ro',"
        " './data:/f', 'data:/g', './app.yml:/etc/app.yml']}}\nvolumes: {data: }",
        topology="containers",
    )
    sources = [m["source"].removeprefix("/opt/shop/data/") for m in found.services["a"]["volumes"]]
    assert sources[:2] == ["pg-data", "empty"] and sources[3:] == ["data", "app.yml"]
    assert sources[2].startswith("data-")
    assert {v.path.removeprefix("/opt/shop/data/") for v in found.rendering.volumes} == {*sources}
    assert all((v.owner, v.group) == (1, 1) for v in found.rendering.volumes)
    notes = "\n".join(found.rendering.notes)
    assert "holds no ./pg/data, so it is data" in notes
    assert notes.count("put it beside compose.yml") == 1


def test_data_within_data_is_refused(refused: Render) -> None:
    text = "services: {a: {image: x, user: '1:1', volumes: ['./d:/d', './d/e:/e', './de:/f']}}"
    assert list(refused(text, topology="containers")) == ["services.a.volumes[1]"]


@pytest.mark.parametrize("source", ["../shared", "~/data", "~", ".././../x", "./conf/../../x"])
def test_what_depends_on_who_deploys_is_refused(refused: Render, shop: Path, source: str) -> None:
    text = f"services: {{a: {{image: x, user: '1:1', volumes: ['{source}:/d']}}}}"
    found = refused(text, topology="containers")
    assert "elsewhere for everybody" in found["services.a.volumes[0]"].message


@pytest.mark.parametrize("target", ["/etc", "/etc/hostname", "../beside", "a.ini/..", "below"])
def test_links_that_lead_elsewhere_are_refused(refused: Render, shop: Path, target: str) -> None:
    (shop.parent / "beside").mkdir()
    (shop / "conf/link").symlink_to(target)
    text = "services: {a: {image: x, volumes: ['./conf:/d:ro']}}"
    assert "link" in refused(text, topology="containers")["services.a.volumes[0]"].message


def test_a_link_to_a_file_of_the_directory_is_its_content(render: Render, shop: Path) -> None:
    (shop / "conf/link").symlink_to("a.ini")
    found = render("services: {a: {image: x, volumes: ['./conf:/d:ro']}}", topology="containers")
    link = next(f for n, f in found.rendering.files.items() if n.endswith("/link"))
    assert link.content == "a=${B}\n"


def test_the_mounted_link_itself_may_not_lead_out(refused: Render, shop: Path) -> None:
    (shop / "out").symlink_to("/etc")
    (shop / "dangling").symlink_to("/nowhere")
    text = "services: {a: {image: x, volumes: ['./out:/d', './dangling:/e', './out/ssl:/f']}}"
    assert list(refused(text, topology="containers")) == [
        f"services.a.volumes[{index}]" for index in range(3)
    ]


def test_it_has_bounds(refused: Render, shop: Path) -> None:
    text = "services: {a: {image: x, volumes: ['./conf:/d']}}"
    big = shop / "conf/big"
    big.write_bytes(b"0" * (MAX_BYTES + 1))
    assert "4 MiB" in refused(text, topology="containers")["services.a.volumes[0]"].message
    big.unlink()
    for number in range(MAX_FILES):
        (shop / f"conf/{number}").write_text("")
    assert "1000 files" in refused(text, topology="containers")["services.a.volumes[0]"].message


@pytest.mark.parametrize("name", [b"a\xff", b"a\nb", b"\x1b[2J"])
def test_a_name_that_is_no_text_is_refused(refused: Render, shop: Path, name: bytes) -> None:
    (shop / "conf" / os.fsdecode(name)).write_text("")
    text = "services: {a: {image: x, volumes: ['./conf:/d']}}"
    found = refused(text, topology="containers")["services.a.volumes[0]"]
    assert "no name that all machines can hold" in found.message and str(found).isprintable()


def test_other_topologies_have_it_too(render: Render, shop: Path) -> None:
    found = render(
        "x-moorage: {unified: {build: .}}\n"
        "services: {a: {build: ., command: [a], volumes: ['./conf:/etc/a:ro', './up:/up']}}"
    )
    mounts = {m["target"]: m["source"] for m in found.services["unified.a"]["volumes"]}
    assert mounts["/etc/a"].startswith(HOST) and mounts["/up"] == "/opt/shop/data/up"
