"""Releases that name what was pulled: plans, what a host makes of them, one service's update."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from moorage.compose.errors import ComposeError
from moorage.controller.plan import plan_host
from moorage.controller.project import Project
from moorage.deploy.merge import merge
from moorage.deploy.parts import Content
from moorage.deploy.pinned import as_pulled, moved, pin
from moorage.images.names import local_name, period, strictest
from moorage.release.manifest import Pulled, parse
from moorage.release.names import COMPOSE, COMPOSE_JSON, CONFIG_LABEL

ROOT = Path(__file__).resolve().parents[4]
WEB, CACHE = "registry.example.com/shop/web:1", "registry.example.com:5000/cache:2"
IDS = {"one": f"sha256:{'1' * 64}", "two": f"sha256:{'2' * 64}"}


def planned(where: Path, topology: str = "containers", **services: dict[str, Any]) -> Any:
    stack = where / "stacks" / "shop"
    stack.mkdir(parents=True, exist_ok=True)
    (stack / "compose.yml").write_text(
        json.dumps({"name": "shop", "services": services, "volumes": {"data": {}}})
    )
    plan = plan_host(Project(ROOT, (stack.parent,)), ["shop"], {"shop_topology": topology})
    return plan["stacks"][0]


def content(plan: Any) -> Content:
    files = {n: (f["content"], int(f["mode"], 8)) for n, f in plan["files"].items()}
    return Content(files, copy.deepcopy(plan["manifest"]))


def found(ref: str, which: str) -> dict[str, tuple[str, Pulled]]:
    return {ref: (local_name(ref, IDS[which]), Pulled(ref, IDS[which], IDS[which]))}


def test_a_plan_says_what_is_to_be_pulled_and_how_often(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        web={"image": WEB, "pull_policy": "weekly", "platform": "linux/amd64"},
        twin={"image": WEB, "pull_policy": "every_2h30m", "platform": "linux/amd64"},
        cache={"image": CACHE},
        own={"image": "registry.example.com/loaded:1", "pull_policy": "never"},
        store={"image": "redis:8"},
    )
    assert plan["pulls"] == [
        {
            "ref": WEB,
            "policy": "every_2h30m",
            "platform": "linux/amd64",
            "services": ["web", "twin"],
            "instead": "",
        },
        {"ref": CACHE, "policy": "missing", "platform": "", "services": ["cache"], "instead": ""},
    ]


@pytest.mark.parametrize("source", ["build", "registry", "prefer-registry"])
def test_what_images_map_makes_is_built_or_pulled(source: str, tmp_path: Path) -> None:
    services = {"store": {"image": "redis:8", "user": "999:999"}, "web": {"image": WEB}}
    (tmp_path / "shop").mkdir()
    text = json.dumps({"name": "shop", "services": services})
    (tmp_path / "shop" / "compose.yml").write_text(text)
    variables = {"shop_topology": "containers", "images_source": source}
    plan = plan_host(Project(ROOT, (tmp_path,)), ["shop"], variables)

    (stack,) = plan["stacks"]
    pulls = {pull["ref"]: pull["instead"] for pull in stack["pulls"]}
    made = next(ref for ref in stack["manifest"]["images"] if ref != WEB)
    assert WEB in pulls
    assert ("redis:8" in pulls) == (source != "build")
    assert (made == "redis:8") == (source == "registry")
    assert pulls.get("redis:8", "") == (made if source == "prefer-registry" else "")
    # The base and the edge's image are made here, and what may be pulled is not made beforehand.
    provided = plan["images"]["provided"]
    assert provided["moorage-edge"] == "nginx"
    assert provided["debian:trixie-slim"] == "base"
    assert (provided.get("redis:8") == "redis") == (source == "build")
    assert (plan["images"]["map"]["redis:8"] == "redis") == (source != "registry")
    how = stack["services"][0]["backup"]
    assert (how is not None and how["how"] == "dump") == (source == "build")


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ({"pull_policy": "build"}, "services.web.pull_policy: it has no `build`"),
        ({"pull_policy": "every_"}, "services.web.pull_policy"),
        ({"pull_policy": "hourly"}, "every_12h"),
        ({"platform": "linux/arm64"}, "on several platforms"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_an_error(
    service: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ComposeError) as trouble:
        planned(tmp_path, web={"image": WEB, **service}, other={"image": WEB})
    assert words in str(trouble.value)


@pytest.mark.parametrize("topology", ["containers", "unified"])
def test_a_release_names_what_was_pulled_wherever_it_names_an_image(
    topology: str, tmp_path: Path
) -> None:
    before = content(
        planned(
            tmp_path,
            topology,
            web={"image": WEB, "ports": ["8080:80"], "healthcheck": {"test": "true"}},
            cache={"image": CACHE},
            store={"image": "redis:8"},
            seeded={"image": WEB, "volumes": ["data:/data"]},
        )
    )
    pins = found(WEB, "one") | found(CACHE, "two")
    after = pin(before, pins)

    names = {ref: name for ref, (name, _) in pins.items()}
    compose = json.loads(after.files[COMPOSE_JSON][0])
    # What people read and what machines read is one thing.
    assert yaml.safe_load(after.files[COMPOSE][0]) == compose
    was = json.loads(before.files[COMPOSE_JSON][0])["services"]
    for key, entry in compose["services"].items():
        assert entry["image"] == names.get(was[key]["image"], was[key]["image"])
    for text in (after.files[COMPOSE][0], after.files[COMPOSE_JSON][0]):
        assert WEB not in text.replace(names[WEB], "")
    manifest = parse(after.manifest)
    assert set(names.values()) <= set(manifest.images)
    assert {p.ref for p in manifest.pulled.values()} == {WEB, CACHE}
    assert manifest.planned == before.manifest["id"] != manifest.id
    assert [seed.image for seed in manifest.seeds] == [names[WEB]]
    units = {unit["name"]: unit for unit in before.manifest["units"]}
    for unit in manifest.units:
        # A container is replaced when what its label says is another thing.
        changed = units[unit.name]["image"] in names
        assert (unit.config != units[unit.name]["config"]) == changed
        for key in unit.keys.values():
            assert compose["services"][key]["labels"][CONFIG_LABEL] == unit.config
            assert compose["services"][key]["image"] == unit.image

    assert pin(before, pins) == after
    other = pin(before, found(WEB, "two") | found(CACHE, "two"))
    assert other.manifest["id"] != after.manifest["id"]
    assert other.manifest["planned"] == after.manifest["planned"]
    assert pin(before, {}) == before


def test_one_service_s_update_keeps_what_the_others_run(tmp_path: Path) -> None:
    both: dict[str, Any] = {"web": {"image": WEB}, "cache": {"image": CACHE}}
    plan = content(planned(tmp_path, **both))
    running = pin(plan, found(WEB, "one") | found(CACHE, "one"))
    wanted = pin(plan, found(WEB, "two"))

    merged = merge(running, wanted, "web").content.manifest
    manifest = parse(merged)
    assert {(p.ref, p.id) for p in manifest.pulled.values()} == {
        (WEB, IDS["two"]),
        (CACHE, IDS["one"]),
    }
    # It is not the plan's as a whole: a deploy has something to do.
    assert manifest.planned == ""
    assert merge(running, pin(plan, found(WEB, "one")), "web").id == running.manifest["id"]


def test_what_has_moved_is_said() -> None:
    before = found(WEB, "one") | found(CACHE, "one")
    after = [Pulled(WEB, IDS["two"], IDS["two"]), replace(before[CACHE][1])]
    assert moved(before, after) == [
        f"{WEB} has moved in its registry, from {IDS['one']} to {IDS['two']}"
    ]
    assert moved({}, after) == []


def test_what_is_missing_is_named_as_a_person_may_pull_it() -> None:
    (name, origin), *_ = found(WEB, "one").values()
    assert as_pulled([name, "moorage/shop-web:1"], {name: origin}) == [
        f"{WEB} ({IDS['one']})",
        "moorage/shop-web:1",
    ]


def test_policies() -> None:
    assert [period(p) for p in ("always", "daily", "weekly", "every_1d12h", "missing")] == [
        0,
        86_400,
        604_800,
        129_600,
        None,
    ]
    assert strictest(["never", "missing"]) == "missing"
    assert strictest(["missing", "weekly", "daily"]) == "daily"
    assert strictest(["daily", "always"]) == "always"
