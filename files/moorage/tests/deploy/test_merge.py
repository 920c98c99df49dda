"""One service's part of a planned release in the running one, on tg2em in both topologies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from moorage.controller.plan import plan_host
from moorage.controller.project import Project
from moorage.deploy.merge import MergeError, content_id, merge
from moorage.deploy.parts import Content

PROJECT = Project(Path(__file__).resolve().parents[4])
FORMS = ("unified", "containers")


def planned(topology: str, **settings: Any) -> Content:
    """Return tg2em as planned with these settings."""
    given = {f"tg2em_{name}": value for name, value in settings.items()}
    variables = {"tg2em_topology": topology, **given}
    (plan,) = plan_host(PROJECT, ["tg2em"], variables)["stacks"]
    files = {name: (f["content"], int(f["mode"], 8)) for name, f in plan["files"].items()}
    # As it comes from the controller and from the disk: plain JSON.
    return Content(files, json.loads(json.dumps(plan["manifest"])))


def with_images(content: Content, tag: str) -> Content:
    """Return the content with every image that is built for the stack under another tag."""
    own = [ref for ref in content.manifest["images"] if "/tg2em-" in ref]

    def changed(text: str) -> str:
        for ref in own:
            text = text.replace(ref, f"{ref.rpartition(':')[0]}:{tag}")
        return text

    files = {name: (changed(text), mode) for name, (text, mode) in content.files.items()}
    manifest = json.loads(changed(json.dumps(content.manifest)))
    for unit in manifest["units"]:
        if not unit["data"]:
            unit["config"] = f"{unit['config'][:8]}{tag[:8]}"
    return Content(files, {**manifest, "id": content_id(Content(files, manifest))})


def unit(content: Content, name: str) -> dict[str, Any]:
    """Return a unit of a release."""
    return next(u for u in content.manifest["units"] if u["name"] == name)


def compose(content: Content) -> dict[str, Any]:
    """Return the services of its Compose file."""
    services: dict[str, Any] = json.loads(content.files["compose.json"][0])["services"]
    return services


@pytest.mark.parametrize("topology", FORMS)
def test_a_service_without_a_change_is_the_running_release(topology: str) -> None:
    running = planned(topology)
    for service in ("frontend", "mysql", "scraper"):
        made = merge(running, planned(topology), service)
        assert made.id == running.manifest["id"], service
        assert made.content.same(running)


@pytest.mark.parametrize("topology", FORMS)
def test_the_only_service_that_changed_makes_the_planned_release(topology: str) -> None:
    running = planned(topology)
    wanted = planned(topology, environment={"scraper": {"LOG_LEVEL": "debug"}})
    made = merge(running, wanted, "scraper")
    assert made.id == wanted.manifest["id"]
    assert merge(running, wanted, "frontend").id == running.manifest["id"]


def test_a_container_changes_and_the_others_stay() -> None:
    running = planned("containers")
    wanted = with_images(
        planned("containers", environment={"scraper": {"LOG_LEVEL": "debug"}}), "f" * 12
    )
    made = merge(running, wanted, "frontend")
    assert made.id not in (running.manifest["id"], wanted.manifest["id"])
    assert made.id == merge(running, wanted, "frontend").id
    for name in ("a", "b"):
        key = f"frontend.{name}"
        assert compose(made.content)[key] == compose(wanted)[key]
    for key in ("tgstate.a", "scraper", "mysql"):
        assert compose(made.content)[key] == compose(running)[key]
    assert unit(made.content, "tg2em-frontend") == unit(wanted, "tg2em-frontend")
    assert unit(made.content, "tg2em-scraper") == unit(running, "tg2em-scraper")
    assert made.content.manifest["images"] == sorted(
        {u["image"] for u in made.content.manifest["units"]}
    )
    assert made.content.manifest["partial"]["service"] == "frontend"
    assert not made.notes


def test_services_follow_one_by_one_to_the_planned_release() -> None:
    running = planned("containers")
    wanted = with_images(
        planned("containers", environment={"scraper": {"LOG_LEVEL": "debug"}}), "f" * 12
    )
    at = running
    for service in ("frontend", "tgstate", "migrate", "import", "scraper"):
        at = merge(at, wanted, service).content
    assert at.same(wanted)
    assert at.manifest["id"] == wanted.manifest["id"]


def test_a_process_changes_and_the_container_stays() -> None:
    running = planned("unified")
    changes = {"scraper": {"LOG_LEVEL": "debug"}, "frontend": {"LOG_LEVEL": "debug"}}
    made = merge(running, planned("unified", environment=changes), "scraper")
    before, after = (
        {p["name"]: p for p in json.loads(c.files["supervisor.json"][0])["processes"]}
        for c in (running, made.content)
    )
    assert [name for name in after if after[name] != before[name]] == ["scraper"]
    assert made.content.files["compose.yaml"] == running.files["compose.yaml"]
    assert made.content.manifest["units"] == running.manifest["units"]
    assert not made.notes


def test_processes_that_share_an_image_get_it_together_and_that_is_said() -> None:
    running = planned("unified")
    made = merge(running, with_images(planned("unified"), "f" * 12), "frontend")
    (note,) = made.notes
    assert "migrate, tgstate, scraper" in note and "new image" in note
    assert unit(made.content, "tg2em-unified")["image"].endswith("f" * 12)
    assert unit(made.content, "tg2em-mysql") == unit(running, "tg2em-mysql")


def test_a_shared_container_keeps_the_mounts_that_running_processes_need() -> None:
    running, wanted = planned("unified"), planned("unified")
    document = json.loads(wanted.files["compose.json"][0])
    lost = document["services"]["unified.a"]["volumes"][-1]
    for slot in ("unified.a", "unified.b"):
        document["services"][slot]["volumes"].remove(lost)
    files = {**wanted.files, "compose.json": (json.dumps(document), 0o644)}
    manifest = json.loads(json.dumps(wanted.manifest))
    unit(Content(files, manifest), "tg2em-unified")["config"] = "0" * 16
    made = merge(running, Content(files, {**manifest, "id": "0" * 12}), "frontend").content
    entry = compose(made)["unified.a"]
    assert lost in entry["volumes"]
    config = unit(made, "tg2em-unified")["config"]
    assert entry["labels"]["moorage.config"] == config != "0" * 16
    assert compose(made)["unified.b"]["labels"]["moorage.config"] == config


def test_a_shared_container_keeps_the_secrets_of_running_processes() -> None:
    running, wanted = planned("unified"), planned("unified")
    before = unit(running, "tg2em-unified")["secrets"]
    planned_unit = unit(wanted, "tg2em-unified")
    planned_unit["secrets"] = [*before[1:], "new-one"]
    planned_unit["config"] = "0" * 16
    made = merge(running, wanted, "frontend").content
    assert set(unit(made, "tg2em-unified")["secrets"]) == {*before, "new-one"}


def test_a_data_service_beside_the_unified_container_changes_alone() -> None:
    running = planned("unified")
    wanted = planned(
        "unified",
        publish={"mysql": ["127.0.0.1:3307:3306"]},
        environment={"scraper": {"LOG_LEVEL": "debug"}},
    )
    made = merge(running, wanted, "mysql").content
    assert compose(made)["mysql"] == compose(wanted)["mysql"] != compose(running)["mysql"]
    assert made.files["supervisor.json"] == running.files["supervisor.json"]


@pytest.mark.parametrize("topology", FORMS)
def test_facts_of_a_service_move_with_it(topology: str) -> None:
    running, wanted = planned(topology), planned(topology, publish={"frontend": ["5050:5000"]})
    assert merge(running, wanted, "tgstate").id == running.manifest["id"]
    made = merge(running, wanted, "frontend").content.manifest
    assert made["edge"] == wanted.manifest["edge"]
    assert [entry["port"] for entry in made["edge"]["listeners"]] == [8088, 5050]


def test_only_the_directories_of_a_service_change_hands_with_it() -> None:
    def owner(manifest: Any, name: str) -> int:
        entries = {e["path"]: e for key in ("directories", "runtime") for e in manifest[key]}
        return int(entries[name]["owner"])

    running, wanted = planned("unified"), planned("unified")
    volume = "/opt/tg2em/data/mysql-data"
    for entry in (*wanted.manifest["directories"], *wanted.manifest["runtime"]):
        entry["owner"] = {10001: 10005, 10002: 10009}.get(entry["owner"], entry["owner"])
    alone = merge(running, wanted, "mysql").content.manifest
    assert owner(alone, volume) == 10009
    for name in ("/opt/tg2em/data/unified", "/opt/tg2em/logs", "/run/moorage/tg2em/unified-a"):
        assert owner(alone, name) == 10001
        assert owner(merge(running, wanted, "frontend").content.manifest, name) == 10005
    assert owner(merge(running, wanted, "frontend").content.manifest, volume) == 10002


def test_what_has_no_common_ground_is_refused() -> None:
    unified, containers = planned("unified"), planned("containers")
    with pytest.raises(MergeError, match="no service 'frontnd': it has frontend"):
        merge(unified, unified, "frontnd")
    with pytest.raises(MergeError, match=r"another topology.*update the whole stack"):
        merge(unified, containers, "frontend")
    older = Content(unified.files, {**unified.manifest, "format": 2})
    with pytest.raises(MergeError, match="another Moorage"):
        merge(older, unified, "frontend")
    without = {k: v for k, v in unified.files.items() if k != "compose.json"}
    with pytest.raises(MergeError, match=r"lacks compose\.json"):
        merge(Content(without, unified.manifest), unified, "frontend")


@pytest.mark.parametrize("topology", FORMS)
def test_both_forms_of_a_merged_compose_file_say_the_same(topology: str) -> None:
    made = merge(planned(topology), with_images(planned(topology), "f" * 12), "frontend").content
    text, _ = made.files["compose.yaml"]
    assert yaml.safe_load(text) == json.loads(made.files["compose.json"][0])


# -- another number, and nothing else --------------------------------------------------------------

WORKERS = """
name: yard
x-moorage: {unified: {build: {context: ., target: unified}}}
services:
  web: {build: ., command: [web], ports: ["80:8000"]}
  worker: {build: ., command: [work]}
"""


def yard(directory: Path, topology: str, text: str = WORKERS, **replicas: int) -> Content:
    """Return a stack with workers as planned."""
    stack = directory / "yard"
    stack.mkdir(exist_ok=True)
    (stack / "compose.yml").write_text(text)
    (stack / "Dockerfile").write_text("FROM scratch AS unified\n")
    project = Project(PROJECT.root, (directory,))
    variables = {"yard_topology": topology, "yard_replicas": replicas}
    (plan,) = plan_host(project, ["yard"], variables)["stacks"]
    files = {name: (f["content"], int(f["mode"], 8)) for name, f in plan["files"].items()}
    return Content(files, json.loads(json.dumps(plan["manifest"])))


@pytest.mark.parametrize("topology", FORMS)
def test_a_service_is_scaled_and_scaled_back(tmp_path: Path, topology: str) -> None:
    one, three = yard(tmp_path, topology), yard(tmp_path, topology, worker=3)
    assert merge(one, three, "worker", scaling=True).id == three.manifest["id"]
    assert merge(three, one, "worker", scaling=True).id == one.manifest["id"]
    assert merge(three, yard(tmp_path, topology, worker=2), "worker", scaling=True).content.same(
        yard(tmp_path, topology, worker=2)
    )


@pytest.mark.parametrize("topology", FORMS)
def test_what_another_service_has_become_is_no_matter(tmp_path: Path, topology: str) -> None:
    one = yard(tmp_path, topology)
    wanted = yard(tmp_path, topology, WORKERS.replace("[web]", "[web, new]"), worker=3)
    made = merge(one, wanted, "worker", scaling=True).content
    alone = yard(tmp_path, topology, worker=3)
    assert made.manifest["units"] == alone.manifest["units"]
    assert compose(made) == compose(alone)
    assert made.files.get("supervisor.json") == alone.files.get("supervisor.json")


@pytest.mark.parametrize("topology", FORMS)
def test_scaling_brings_nothing_that_somebody_is_at_work_on(tmp_path: Path, topology: str) -> None:
    one = yard(tmp_path, topology)
    wanted = yard(tmp_path, topology, WORKERS.replace("[work]", "[work, new]"), worker=3)
    said = "more than the number of worker would change: its configuration is another one"
    with pytest.raises(MergeError, match=said):
        merge(one, wanted, "worker", scaling=True)
    assert merge(one, wanted, "worker").id == wanted.manifest["id"]


@pytest.mark.parametrize("topology", FORMS)
def test_it_names_the_version_that_runs(tmp_path: Path, topology: str) -> None:
    one = yard(tmp_path, topology)
    runs = Content(one.files, {**one.manifest, "version": "v2"})
    wanted = yard(tmp_path, topology, WORKERS.replace("[work]", "[work, new]"), worker=3)
    with pytest.raises(MergeError, match=r"or name what runs: `-e version=v2`"):
        merge(runs, wanted, "worker", scaling=True)


@pytest.mark.parametrize("topology", FORMS)
def test_nor_another_image(tmp_path: Path, topology: str) -> None:
    text = json.dumps(yard(tmp_path, topology, worker=3).manifest)
    image = next(u["image"] for u in json.loads(text)["units"])
    wanted = yard(tmp_path, topology, worker=3)
    other = Content(wanted.files, json.loads(text.replace(image, f"{image}0")))
    with pytest.raises(MergeError, match="its image is another one"):
        merge(yard(tmp_path, topology), other, "worker", scaling=True)
