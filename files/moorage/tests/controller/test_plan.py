"""Plans made of this checkout's own stacks: stable, sensitive to what matters, honest in errors."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from moorage.compose.errors import ComposeError, Problem
from moorage.compose.load import load_stack
from moorage.controller.plan import plan_host
from moorage.controller.project import Project
from moorage.release.manifest import FORMAT
from moorage.render.loopback import COUNT, loopback_name

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def project() -> Project:
    return Project(ROOT)


def plan(project: Project, **variables: Any) -> dict[str, Any]:
    settings = {f"tg2em_{name}": value for name, value in variables.items()}
    return plan_host(project, ["all", "tg2em"], settings)


def tg2em(project: Project, **variables: Any) -> dict[str, Any]:
    (stack,) = plan(project, **variables)["stacks"]
    assert isinstance(stack, dict)
    return stack


def test_a_host_in_no_stack_s_group_runs_none(project: Project) -> None:
    found = plan_host(project, ["all", "webservers"], {})
    assert found["stacks"] == [] and found["ports"] == []


def test_the_same_description_is_the_same_release(project: Project) -> None:
    assert tg2em(project)["release"] == tg2em(project)["release"]


@pytest.mark.parametrize(
    "changed",
    [
        {"variables": {"SCRAPER_INTERVAL": "77"}},
        {"environment": {"scraper": {"LOG_LEVEL": "debug"}}},
        {"publish": {"mysql": []}},
        {"limits": {"unified": {"memory": "1g"}}},
    ],
)
def test_what_changes_the_files_changes_the_release(
    project: Project, changed: dict[str, Any]
) -> None:
    assert tg2em(project, **changed)["release"] != tg2em(project)["release"]


@pytest.mark.parametrize(
    "changed",
    [{"keep_releases": 9}, {"gate_timeout_seconds": 5}, {"secrets": {"session_key": "x" * 40}}],
)
def test_what_changes_no_file_changes_no_release(project: Project, changed: dict[str, Any]) -> None:
    assert tg2em(project, **changed)["release"] == tg2em(project)["release"]


def test_no_value_of_a_secret_is_in_a_plan(project: Project) -> None:
    value = "correct-horse-battery-staple-0123456789"
    found = plan(project, secrets={"session_key": value})
    assert found["stacks"][0]["given_secrets"] == ["session_key"]
    assert value not in repr(found)


def test_every_mistake_is_in_one_report(project: Project) -> None:
    with pytest.raises(ComposeError) as error:
        tg2em(
            project, topolgy="unified", keep_releases=0, profiles="services", variables={"A": True}
        )
    text = str(error.value)
    assert "4 problems" in text
    assert "tg2em_topolgy: unknown setting; did you mean 'topology'?" in text
    for name in ("tg2em_keep_releases", "tg2em_profiles", "tg2em_variables"):
        assert name in text


def test_an_unknown_topology_and_an_unknown_secret_are_named(project: Project) -> None:
    with pytest.raises(ComposeError, match="tg2em_topology: topology 'unifed'"):
        tg2em(project, topology="unifed")
    with pytest.raises(ComposeError, match=r"tg2em_secrets\.nosuch: the stack has no such secret"):
        tg2em(project, secrets={"nosuch": "x"})


def test_a_variable_that_no_file_has_is_refused(project: Project) -> None:
    with pytest.raises(ComposeError) as error:
        tg2em(project, variables={"SCRAPER_INTERVALL": "77", "NOBODYS": "x", "VERSION": "1"})
    text = str(error.value)
    assert "tg2em_variables.SCRAPER_INTERVALL: no file of the stack has it" in text
    assert "did you mean 'SCRAPER_INTERVAL'?" in text
    assert (
        "tg2em_variables.NOBODYS: no file of the stack has it; remove it, or write ${NOBODYS}"
        in text
    )


def test_a_variable_may_be_wherever_compose_reads_one(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OF_DOTENV=1\nOTHER=${IN_DOTENV}\n")
    (tmp_path / "more.yml").write_text("services:\n  b: {image: 'x:${INCLUDED}'}\n")
    (tmp_path / "web.env").write_text("A=${IN_ENV_FILE:-1}\n")
    (tmp_path / "compose.yml").write_text(
        "name: s\ninclude: [more.yml]\nservices:\n  a:\n    image: 'x:${A:-${NESTED:-1}}'\n"
        "    env_file: [web.env]\n    environment: [PASSED]\n"
    )
    told = ["OF_DOTENV", "IN_DOTENV", "INCLUDED", "IN_ENV_FILE", "A", "NESTED", "PASSED"]
    given = dict.fromkeys(told, "1")
    load_stack(tmp_path, environment=given, told=[*told, "COMPOSE_PROFILES"])
    with pytest.raises(ComposeError, match=r"settings\.variables\.INCLUDE_D: .*'INCLUDED'"):
        load_stack(tmp_path, environment=given, told=["INCLUDE_D"])


def test_problems_name_the_variables_that_an_operator_writes(project: Project) -> None:
    with pytest.raises(ComposeError, match=r"- tg2em_drain_seconds: must be a number"):
        tg2em(project, drain_seconds="long")
    with pytest.raises(ComposeError, match=r"- tg2em_publish\.msql: is no service here; did you"):
        tg2em(project, publish={"msql": []})


def test_directories_have_the_owners_of_those_who_write_there(project: Project) -> None:
    found = {entry["path"]: entry for entry in plan(project)["directories"]}
    assert found["/opt/tg2em/data/mysql-data"]["owner"] == 10002
    assert found["/opt/tg2em/logs"]["owner"] == 10001
    assert found["/opt/tg2em/secrets"] == {
        "path": "/opt/tg2em/secrets",
        "owner": 0,
        "group": 0,
        "mode": "0711",
        "keep": False,
    }
    kept = {path for path, entry in found.items() if entry["keep"]}
    assert kept == {path for path, entry in found.items() if entry["owner"]}
    release = tg2em(project)["manifest"]
    assert {entry["path"] for entry in release["directories"]} == kept
    paths = list(found)
    assert paths == sorted(paths), "parents come before what they hold"


def test_encrypted_data_is_a_host_s_and_not_a_release_s(project: Project) -> None:
    before, after = plan(project), plan(project, storage_encryption="gocryptfs")
    assert (before["encrypted"], after["encrypted"]) == ([], ["tg2em"])
    assert before["stamp"] != after["stamp"]
    assert before["stacks"][0]["release"] == after["stacks"][0]["release"]
    paths = [{entry["path"] for entry in found["directories"]} for found in (before, after)]
    assert paths[0] ^ paths[1] == {"/opt/tg2em/backups", "/opt/tg2em/data/.backups"}
    assert [s["encrypted"] for s in after["survey_stacks"]] == [True]


def test_a_release_with_processes_brings_the_rotation_of_their_logs(project: Project) -> None:
    found = tg2em(project, topology="unified", user="10005:10006")
    rotation = found["files"]["logrotate.conf"]["content"]
    assert found["manifest"]["install"]["logrotate.conf"] == "/etc/logrotate.d/moorage-tg2em"
    owner = next(e for e in found["directories"] if e["path"] == "/opt/tg2em/logs")
    assert f"\n    su {owner['owner']} {owner['group']}\n" in rotation
    assert "\n    rotate 30\n" in rotation
    assert "logrotate.conf" not in tg2em(project, topology="containers")["files"]


@pytest.mark.parametrize("topology", ["unified", "containers"])
def test_one_setting_says_how_long_every_log_of_a_stack_is_kept(
    project: Project, topology: str
) -> None:
    def kept(**variables: Any) -> set[tuple[str, str]]:
        files = host_plan(project, tg2em_topology=topology, **variables)["files"]
        return {
            (name, found)
            for name, file in files.items()
            for found in re.findall(r"^ +(rotate .*)$", file["content"], re.MULTILINE)
        }

    names = ["gateway.logrotate"] + ["logrotate.conf"] * (topology == "unified")
    assert kept() == {(name, "rotate 30") for name in names}
    assert kept(logrotate_days="7") == {(name, "rotate 7") for name in names}


def test_the_stamp_follows_settings_and_roles(project: Project, tmp_path: Path) -> None:
    stamp = plan(project)["stamp"]
    assert plan_host(project, ["tg2em"], {"docker_log_max_size": "1m"})["stamp"] != stamp
    copy = tmp_path / "checkout"
    for part in ("roles", "files"):
        shutil.copytree(
            ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
    elsewhere = Project(copy)
    assert plan(elsewhere)["stamp"] == stamp, "the place of a checkout does not matter"
    tasks = copy / "roles" / "docker" / "tasks" / "main.yml"
    tasks.write_text(tasks.read_text() + "# changed\n")
    assert plan(elsewhere)["stamp"] != stamp


def manifest(project: Project, **variables: Any) -> dict[str, Any]:
    found = tg2em(project, **variables)["manifest"]
    assert isinstance(found, dict)
    return found


def host_plan(project: Project, **variables: Any) -> dict[str, Any]:
    (stack,) = plan_host(project, ["tg2em"], variables)["stacks"]
    assert isinstance(stack, dict)
    return stack


@pytest.mark.parametrize(
    "changed",
    [
        {"probe": {"budget": 2}},
        {"edge": {"hold_seconds": 3}},
        {"drain_seconds": 1},
        {"domains": ["tg.example.com"]},
        {"version": "1.1"},
    ],
)
def test_what_changes_the_manifest_changes_the_release_and_no_container(
    project: Project, changed: dict[str, Any]
) -> None:
    before, after = tg2em(project), tg2em(project, **changed)
    assert after["release"] != before["release"] == before["manifest"]["id"]
    configs = [[u["config"] for u in s["manifest"]["units"]] for s in (before, after)]
    assert configs[0] == configs[1]


def test_the_manifest_of_tg2em(project: Project) -> None:
    found = manifest(project, topology="containers", version="1.1")
    json.dumps(found)
    assert (found["format"], found["version"]) == (FORMAT, "1.1")
    units = {unit["service"]: unit for unit in found["units"]}
    assert [name for name, unit in units.items() if unit["rolled"]] == ["tgstate", "frontend"]
    assert found["edge"]["pools"].keys() == {"tgstate:8088", "frontend:5000"}
    assert {(t["service"], t["path"]) for t in found["probe"]["targets"]} == {
        ("tgstate", "/health"),
        ("frontend", "/health/live"),
        ("frontend", "/"),
    }
    assert found["hooks"]["before"][0]["save_as"] == "tg2em.sql"
    assert found["migrations"]["service"] == "migrate"
    assert "supervisor.json" not in found["install"]


@pytest.mark.parametrize("topology", ["unified", "containers"])
def test_a_host_without_an_edge(project: Project, topology: str) -> None:
    behind = host_plan(project, tg2em_topology=topology)
    alone = host_plan(project, tg2em_topology=topology, edge_kind="none")
    assert alone["manifest"]["edge"] is None and behind["manifest"]["edge"] is not None
    texts = [stack["files"]["compose.yaml"]["content"] for stack in (behind, alone)]
    assert ['published: "5000"' in text for text in texts] == [False, True]
    # Whoever listens: the port is the stack's.
    assert behind["ports"] == alone["ports"]


def test_a_stack_knows_the_proxies_in_front_of_it(project: Project) -> None:
    def seen(**variables: Any) -> set[str]:
        stack = host_plan(project, tg2em_topology="containers", **variables)
        services = json.loads(stack["files"]["compose.json"]["content"])["services"]
        return {str(services[key]["environment"]["TRUSTED_PROXIES"]) for key in services
                if key.startswith(("frontend", "tgstate"))}  # fmt: skip

    # No whole network is believed: other containers of the host are in it.
    assert seen() == {"1"}
    assert seen(edge_kind="none") == {"0"}
    assert seen(tg2em_variables={"TRUSTED_PROXIES": "2", "TGSTATE_TRUSTED_PROXIES": "::1"}) == {
        "2",
        "::1",
    }


def test_batches(project: Project) -> None:
    assert tg2em(project)["batch"] == 1
    assert [tg2em(project, batch=value)["batch"] for value in (3, "4", "25%")] == [3, 4, "25%"]
    for value in (0, "0%", "101%", "some"):
        with pytest.raises(ComposeError, match="tg2em_batch: must be a"):
            tg2em(project, batch=value)


SHOP = """\
services:
  web: {build: ., ports: ["%s:5000"]}
"""


def with_shop(tmp_path: Path, port: str, name: str = "shop") -> Project:
    """The checkout with a second stack, which publishes a port."""
    directory = tmp_path / "stacks" / "shop"
    directory.mkdir(parents=True)
    (directory / "compose.yml").write_text(f"name: {name}\n" + SHOP % port)
    (directory / "Dockerfile").write_text("FROM debian:trixie-slim\n")
    return Project(ROOT, (tmp_path / "stacks",))


def test_another_stack_moves_no_port_behind_the_edge(project: Project, tmp_path: Path) -> None:
    both = plan_host(
        with_shop(tmp_path, "8000"), ["tg2em", "shop"], {"shop_topology": "containers"}
    )
    stacks = {stack["name"]: stack for stack in both["stacks"]}
    peers = [unit["peers"] for unit in stacks["tg2em"]["manifest"]["units"]]
    assert peers == [unit["peers"] for unit in manifest(project)["units"]]
    ports = [
        port
        for stack in stacks.values()
        for unit in stack["manifest"]["units"]
        for slot in unit["peers"].values()
        for port in slot.values()
    ]
    assert len(ports) == len(set(ports)) == 6
    looked_at = [entry for entry in both["ports"] if entry["service"].endswith("behind the edge")]
    assert {entry["port"] for entry in looked_at} == set(ports)
    assert {entry["address"] for entry in looked_at} == {"127.0.0.1"}


def test_a_stack_planned_alone_leaves_its_neighbours_their_ports(tmp_path: Path) -> None:
    # Two names that fall on one port: of both together the later one steps on.
    first = loopback_name("shop", "web", 1, "a", 5000)
    offset = crc32(first.encode()) % COUNT
    later = next(
        name
        for n in range(10**6)
        if crc32(loopback_name(name := f"x{n}", "web", 1, "a", 5000).encode()) % COUNT == offset
    )
    project = with_shop(tmp_path, "8000")
    shutil.copytree(tmp_path / "stacks/shop", tmp_path / f"stacks/{later}")
    compose = tmp_path / f"stacks/{later}/compose.yml"
    compose.write_text(compose.read_text().replace("name: shop", f"name: {later}"))
    settings: dict[str, Any] = {f"{n}_topology": "containers" for n in ("shop", later)}
    settings[f"{later}_publish"] = {"web": ["8001:5000"]}
    groups = ["shop", later]
    both = {s["name"]: s["release"] for s in plan_host(project, groups, settings)["stacks"]}
    for name in groups:
        (alone,) = plan_host(project, [name], settings, groups)["stacks"]
        assert alone["release"] == both[name]
    # A neighbour that cannot be read holds up nobody.
    (tmp_path / "stacks/shop/compose.yml").write_text("services: 5\n")
    assert plan_host(project, [later], settings, groups)["stacks"]


def test_a_plan_says_what_its_stacks_want_for_themselves(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"shop_topology": "containers", "shop_domains": ["x.org"]}
    settings["shop_routes"] = [{"path": "/", "service": "web"}]
    (entry,) = plan_host(with_shop(tmp_path, "8000"), ["shop"], settings)["survey_stacks"]
    names = {(claim["kind"], claim["name"]) for claim in entry["claims"]}
    assert {("port", "8000/tcp"), ("port", "80/tcp"), ("route", "x.org/")} < names
    assert {("container", "shop-web"), ("network", "shop_default")} < names


def test_two_stacks_cannot_have_one_file_of_the_host(tmp_path: Path) -> None:
    control = "{build: ., command: [x], environment: {MOORAGE_CONTROL_SOCKET: /x}}"
    for name in ("blog", "gateway-blog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").write_text("FROM debian:trixie-slim\n")
        build = "x-moorage: {unified: {build: .}}\n" if name != "blog" else ""
        text = f"name: {name}\n{build}services: {{web: {control}}}\n"
        (tmp_path / name / "compose.yml").write_text(text)
    settings = {"blog_topology": "containers", "gateway_blog_topology": "unified"}
    with pytest.raises(
        ComposeError, match=r"file would be called /etc/logrotate.d/moorage-gateway-"
    ):
        plan_host(Project(ROOT, (tmp_path,)), ["blog", "gateway-blog"], settings)


def test_two_stacks_cannot_have_one_port_of_the_edge(tmp_path: Path) -> None:
    with pytest.raises(ComposeError, match=r"port 5000/tcp is published by the stack shop already"):
        plan_host(with_shop(tmp_path, "5000"), ["tg2em", "shop"], {"shop_topology": "containers"})


def test_a_published_port_is_never_one_behind_the_edge(project: Project, tmp_path: Path) -> None:
    (wanted,) = {
        unit["peers"]["a"]["5000"]
        for unit in manifest(project)["units"]
        if unit["service"] == "unified"
    }
    both = plan_host(
        with_shop(tmp_path, str(wanted)), ["tg2em", "shop"], {"shop_topology": "containers"}
    )
    (stack,) = (stack for stack in both["stacks"] if stack["name"] == "tg2em")
    (unit,) = (u for u in stack["manifest"]["units"] if u["service"] == "unified")
    assert unit["peers"]["a"]["5000"] == wanted + 1


def test_a_stack_is_called_like_its_directory(tmp_path: Path) -> None:
    with pytest.raises(ComposeError, match="write name: shop"):
        plan_host(with_shop(tmp_path, "8000", "store"), ["shop"], {"shop_topology": "containers"})


@pytest.mark.parametrize("name", ["edge_http_port", "edge_https_port", "logrotate_days"])
@pytest.mark.parametrize("value", ["eighty", None, -1, 2.5, [80]])
def test_a_number_of_a_role_that_is_none_is_named(project: Project, name: str, value: Any) -> None:
    with pytest.raises(ComposeError, match=rf"{name}: must be a whole number .*\(value: "):
        plan_host(project, ["all", "tg2em"], {name: value})


POOL = {"base": "172.28.0.0/14", "size": 24}
# Of roles and of all hosts, and what is said of them.
UNUSABLE: list[tuple[str, Any, str]] = [
    ("backup_repository", "", "must be a text that is not empty"),
    ("backup_repository", "backups", "must be an absolute path, or a repository"),
    ("backup_repository", "rest:https://me:Geheim@example.com/", "holds a password"),
    ("backup_environment", ["A=Geheim"], "must be a mapping of names to texts"),
    ("backup_environment", {"A B": "Geheim"}, ".A B: must be the name of a variable"),
    ("backup_environment", {"A": "Geheim\nB=C"}, ".A: must be a text of one line"),
    ("backup_environment", {"A": 1234567}, ".A: must be a text of one line"),
    ("backup_keep_daily", -1, "must be a whole number"),
    ("docker_address_pools", "zero", "must be a list of pools"),
    ("docker_address_pools", None, "must be a list of pools"),
    ("docker_address_pools", {"base": "x"}, "must be a list of pools"),
    ("docker_address_pools", [1], "[0]: must be a mapping with base, size"),
    ("docker_address_pools", [{"size": 24}], "[0]: lacks base"),
    ("docker_address_pools", [POOL, {**POOL, "bsae": 1}], "[1].bsae: unknown key; did you mean"),
    ("docker_address_pools", [{**POOL, "base": "some"}], "[0].base: must be an address or"),
    ("docker_log_max_size", "much", "must be a size such as 64m"),
    ("docker_live_restore_enabled", "maybe", "must be true or false"),
    ("docker_dns_servers", "192.0.2.1", "must be a list"),
    ("docker_daemon_extra", [], "must be a mapping"),
    ("edge_certificates", "a.pem", "must be a list"),
    ("edge_certificates", [None], "[0]: must be a mapping with domains, certificate, key"),
    ("edge_certificates", [{"certificate": "a.pem"}], "[0]: lacks key"),
    ("edge_kind", "natve", "container, native, none (value: \"natve\"); did you mean 'native'?"),
    ("edge_tls", True, "must be one of off, selfsigned, files, acme"),
    ("edge_worker_processes", "many", "must be a whole number from 1 to 1024 or auto"),
    ("edge_trusted_proxies", ["192.0.2.0/33"], "[0]: must be an address or a network"),
    ("edge_bodies_mb", 0, "must be a whole number from 1 to 1048576"),
    ("host_users", {"app": "root"}, ".app: must be a whole number from 1"),
    ("host_unattended_upgrades_reboot_time", 270, "must be a time of day such as 04:30, in quotes"),
    ("host_packages_extra", "htop", "must be a list"),
    ("images_map", "zero", "must be a mapping of names to directories or images"),
    ("images_map", None, "must be a mapping of names to directories or images"),
    ("images_map", {"mariadb:11.8": None}, ".mariadb:11.8: must be a text"),
    ("images_base_source", "registri", "did you mean 'registry'?"),
    ("moorage_preflight_disk", [{"path": "/opt", "free": 1}], "[0].free: unknown key"),
    ("moorage_preflight_disk", [{"path": "opt", "free_mb": 1}], "[0].path: must be an absolute"),
    ("moorage_preflight_memory_mb", "lots", "must be a whole number"),
    ("moorage_full_run", "treu", "must be true or false"),
    ("moorage_stacks_dirs", "/srv", "must be a list"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "said"), UNUSABLE)
def test_a_setting_of_a_host_that_cannot_be_used_is_named(
    project: Project, name: str, value: Any, said: str
) -> None:
    with pytest.raises(ComposeError) as refused:
        plan_host(project, ["all", "tg2em"], {name: value})
    assert f"- {name}" in str(refused.value)
    assert said in str(refused.value)
    assert not re.search("Geheim|1234567", str(refused.value))


def test_what_is_wrong_with_host_and_stacks_is_in_one_report(
    project: Project, tmp_path: Path
) -> None:
    variables = {"edge_kind": "both", "docker_log_max_files": 0, "tg2em_batch": 0, "shop_batch": 0}
    earlier = Problem("edge_tsl", "unknown setting")
    with pytest.raises(ComposeError) as refused:
        plan_host(with_shop(tmp_path, "8000"), ["tg2em", "shop"], variables, problems=[earlier])
    assert [problem.where for problem in refused.value.problems] == [
        "edge_tsl", "docker_log_max_files", "edge_kind", "shop_batch", "tg2em_batch"
    ]  # fmt: skip


def test_yaml_s_words_and_texts_of_a_command_line_are_what_they_mean(project: Project) -> None:
    given: dict[str, Any] = {"edge_tls": False, "edge_http_port": "8080", "edge_kind": "native"}
    given |= {"edge_redirect_to_https": "no", "edge_worker_processes": 4, "images_refresh": 7}
    settings = plan_host(project, ["all", "tg2em"], given)["edge"]["settings"]
    assert (settings["tls"], settings["http_port"]) == ("off", 8080)
    assert (settings["redirect_to_https"], settings["worker_processes"]) == (False, "4")
