"""The topology host: processes in slots, their mounts and ports, and what a host cannot honour."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moorage.compose.errors import Problem
from moorage.controller.plan import plan_host
from moorage.controller.project import Project
from moorage.render.host import managers
from moorage.render.templates import template

ROOT = Path(__file__).resolve().parents[4]
TEXT = """\
x-moorage: {host: {requirements: all.txt, sources: {app: src, lib: ../lib}, environment: {A: a}}}
services:
  web:
    build: .
    command: [web, "${MOORAGE_LISTEN}:${MOORAGE_PORT_5000}"]
    user: "5:6"
    ports: ["8080:5000"]
    secrets: [token]
    configs: [{source: conf, target: /etc/web/web.conf}]
    volumes: ["files:/var/lib/web/files"]
    tmpfs: ["/tmp:size=8m", "/cache"]
    healthcheck: {test: [CMD, ask, "${MOORAGE_PORT_5000}"]}
    deploy: {resources: {limits: {memory: 64M, cpus: "0.5", pids: 50}}}
  job: {build: ., command: [job], user: "5:6", deploy: {replicas: 2}, cap_drop: [ALL]}
volumes: {files: }
secrets: {token: {file: ./token, x-moorage: {generate: {length: 32}}}}
configs: {conf: {content: hello}}
"""
KEPT = {"MOORAGE_LISTEN": "${MOORAGE_LISTEN}", "MOORAGE_PORT_5000": "${MOORAGE_PORT_5000}"}


@pytest.fixture
def on_host(
    render: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Renders a text and returns the release's files, those in JSON parsed."""
    for name in KEPT:
        monkeypatch.delenv(name, raising=False)

    def run(text: str, **settings: Any) -> dict[str, Any]:
        for value in KEPT.values():
            text = text.replace(value, f"${value}")
        files = render(text, topology="host", **settings).rendering.files
        return {
            name: json.loads(file.content) if name.endswith(".json") else file.content
            for name, file in files.items()
        }

    return run


@pytest.fixture
def wrong(
    refused: Callable[..., dict[str, Problem]],
) -> Callable[[str], dict[str, Problem]]:
    """Renders what cannot be; returns the problems by their places."""
    return lambda text: refused(text, topology="host")


def mounts(process: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["target"]: mount for mount in process["mounts"]}


@pytest.fixture(scope="module")
def chatbot() -> dict[str, Any]:
    plan = plan_host(Project(ROOT), ["chatbot"], {"chatbot_topology": "host"})
    stack: dict[str, Any] = plan["stacks"][0]
    return stack


def test_every_place_of_chatbot_is_a_unit_of_systemd(chatbot: dict[str, Any]) -> None:
    processes = json.loads(chatbot["files"]["processes.json"]["content"])
    assert {key: entry["unit"] for key, entry in processes.items()} == {
        "postgres": "postgresql@17-chatbot",
        "migrate": "chatbot-migrate@1",
        "server.a": "chatbot-server@1a",
        "server.b": "chatbot-server@1b",
        **{
            f"task{'' if n == 1 else f'.{n}'}.{slot}": f"chatbot-task@{n}{slot}"
            for n in range(1, 5)
            for slot in "ab"
        },
    }
    assert processes["server.a"]["after"] == ["chatbot-migrate@1"]
    assert processes["migrate"]["after"] == ["postgresql@17-chatbot"]
    for key, entry in processes.items():
        unit = chatbot["files"][f"systemd/{key}.service"]["content"]
        assert "WantedBy=chatbot.target" in unit
        assert f'ExecStart="{entry["command"][0]}"' in unit


def test_each_slot_of_chatbot_has_ports_of_its_own(chatbot: dict[str, Any]) -> None:
    processes = json.loads(chatbot["files"]["processes.json"]["content"])
    composed = json.loads(chatbot["files"]["compose.json"]["content"])["services"]
    listens = {slot: processes[f"server.{slot}"]["environment"]["LISTEN"] for slot in "ab"}
    assert len(set(listens.values())) == 2
    for slot, place in listens.items():
        address, _, port = place.rpartition(":")
        assert address == "127.0.0.1"
        assert composed[f"server.{slot}"]["ports"][0]["published"] == port
        url = processes[f"server.{slot}"]["check"]["url"]
        assert url == f"http://127.0.0.1:{port}/health/live"


def test_a_process_is_told_where_it_listens_and_is_asked_there(
    on_host: Callable[..., dict[str, Any]],
) -> None:
    found = on_host(TEXT, behind_edge=True, loopback_ports={
        "shop/web/1/a/5000": 31000, "shop/web/1/b/5000": 31001,
    })["processes.json"]  # fmt: skip
    assert found["web.a"]["command"] == ["web", "127.0.0.1:31000"]
    assert found["web.b"]["command"] == ["web", "127.0.0.1:31001"]
    assert found["web.b"]["check"]["command"] == ["ask", "31001"]
    # Without an edge the operator's port is the process's own.
    found = on_host(TEXT, behind_edge=False)["processes.json"]
    assert {tuple(e["command"]) for e in found.values() if e["service"] == "web"} == {
        ("web", "0.0.0.0:8080")
    }


def test_what_is_mounted_lies_where_the_description_says(
    on_host: Callable[..., dict[str, Any]],
) -> None:
    found = mounts(on_host(TEXT, behind_edge=False)["processes.json"]["web"])
    assert found["/run/secrets/token"] == {
        "target": "/run/secrets/token",
        "source": "/opt/shop/secrets/for/5/token",
        "read_only": True,
        "secret": True,
        "options": "",
    }
    assert found["/var/lib/web/files"]["source"] == "/opt/shop/data/files"
    assert not found["/var/lib/web/files"]["read_only"]
    assert found["/etc/web/web.conf"]["source"] == "/opt/shop/config/files/conf"
    assert found["/tmp"]["options"] == "size=8m,mode=1777"
    assert found["/cache"]["options"] == "mode=1777"
    assert found["/etc/hosts"]["source"] == "/opt/shop/config/hosts"
    # What lies around a mount and is no directory of every Debian is empty.
    for parent in ("/opt", "/run/secrets", "/var/lib/web", "/etc/web"):
        assert (found[parent]["source"], found[parent]["read_only"]) == ("", True)
    assert not {"/", "/var/lib", "/etc", "/run"} & found.keys()


def test_a_unit_says_it_as_systemd_reads_it(on_host: Callable[..., dict[str, Any]]) -> None:
    text = TEXT.replace("command: [job]", "command: [job, '100% \"$$HOME\"']")
    files = on_host(text, behind_edge=False)
    lines = files["systemd/web.service"].splitlines()
    assert "LoadCredential=token:/opt/shop/secrets/for/5/token" in lines
    assert 'BindReadOnlyPaths=%d/token:"/run/secrets/token"' in lines
    assert 'BindPaths="/opt/shop/data/files":"/var/lib/web/files"' in lines
    assert 'TemporaryFileSystem="/tmp:size=8m,mode=1777"' in lines
    assert {"User=5", "Group=6", "MemoryMax=67108864", "CPUQuota=50%", "TasksMax=50"} <= {*lines}
    job = next(files[name] for name in files if name.startswith("systemd/job"))
    assert 'ExecStart="job" "100%% \\"$$HOME\\""' in job
    assert "CapabilityBoundingSet=\n" in job
    assert "PrivateUsers=yes\n" in job


def test_a_stop_signal_by_its_number_has_its_name(
    on_host: Callable[..., dict[str, Any]],
) -> None:
    files = on_host(TEXT.replace("cap_drop: [ALL]", 'stop_signal: "2"'), behind_edge=False)
    job = next(files[name] for name in files if name.startswith("systemd/job"))
    assert "KillSignal=SIGINT\n" in job


def test_a_unit_that_says_something_else_is_made_anew(
    render: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TEXT
    for value in KEPT.values():
        text = text.replace(value, f"${value}")

    def configs() -> dict[str, str]:
        return {u.name: u.config for u in render(text, topology="host").rendering.units}

    before = configs()
    assert configs() == before
    monkeypatch.setattr(managers, "template", lambda *given: template(*given) + "NoExecPaths=/\n")
    after = configs()
    assert after.keys() == before.keys() and not set(after.values()) & set(before.values())


def test_code_comes_from_the_environment_in_the_order_of_its_sources(
    on_host: Callable[..., dict[str, Any]],
) -> None:
    ref = {"web": "environment/shop-web:0123456789ab"}
    found = on_host(TEXT, behind_edge=False, image_refs=ref)["processes.json"]["web"]
    base = "/opt/shop/environments/shop-web-0123456789ab"
    assert found["directory"] == f"{base}/app"
    assert found["path"].startswith(f"{base}/venv/bin:")
    assert found["environment"] == {"A": "a", "PYTHONPATH": f"{base}/app:{base}/lib"}
    assert mounts(found)[base]["source"] == base


def test_services_made_of_the_same_have_one_environment(render: Callable[..., Any]) -> None:
    text = TEXT.replace("${MOORAGE_LISTEN}:${MOORAGE_PORT_5000}", "x").replace(
        "${MOORAGE_PORT_5000}", "x"
    )
    found = render(text.replace("8080:5000", "5000:5000"), topology="host").rendering
    assert [fact.key for fact in found.builds] == ["web"]
    environment = found.builds[0].build["environment"]
    assert Path(environment["requirements"]).name == "all.txt"
    assert {n: Path(p).name for n, p in environment["sources"].items()} == {
        "app": "src",
        "lib": "lib",
    }
    assert found.images == ()


def test_names_of_services_are_at_the_stack_s_own_address(
    on_host: Callable[..., dict[str, Any]],
) -> None:
    hosts = on_host(TEXT, behind_edge=False)["hosts"].splitlines()
    addresses = {line.split()[0] for line in hosts if line.split()[1] in ("web", "job")}
    assert len(addresses) == 1
    assert addresses.pop().startswith("127.")
    assert "127.0.0.1 localhost" in hosts


OWN = """\
x-moorage: {{host: {{sources: {{app: app}}}}}}
services:
  a: {{build: ., command: [a], user: "5:5", {0}}}
"""


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("services.a.privileged", OWN.format("privileged: true")),
        ("services.a.user", OWN.format("x: 0").replace("5:5", "0:0").replace(", x: 0", "")),
        ("services.a.ports", OWN.format('ports: ["127.0.0.1:8080:5000"]')),
        ("services.a.user", OWN.format("x: 0").replace("5:5", "5").replace(", x: 0", "")),
        ("services.a.user", OWN.format("x: 0").replace("5:5", "10003:5").replace(", x: 0", "")),
        ("services.a.group_add", OWN.format("group_add: [video]")),
        ("services.a.group_add", OWN.format("group_add: [42]")),
        ("services.a.command", OWN.format("read_only: true").replace("[a]", '["+sh", "-c", "id"]')),
        ("services.a.ports", OWN.format('ports: ["80:80"]')),
        ("services.a.environment.a.b", OWN.format('environment: {a.b: "1"}')),
        ("services.a.ulimits", OWN.format("ulimits: {files: 5}")),
        ("services.a.cap_add", OWN.format('cap_add: ["CHOWN\\n"]')),
        (
            "services.a.volumes",
            OWN.format('volumes: ["first:/data", "other:/data/sub"]')
            + "volumes: {first: , other: }\n",
        ),
        ("services.a.command", OWN.format('entrypoint: ["a"]').replace("[a]", '["a\\a"]')),
        ("services.a.deploy.replicas", OWN.format('ports: ["8080:8080"], deploy: {replicas: 2}')),
        ("services.a.x-moorage.host", OWN.format("read_only: true").replace("app: app", "")),
        ("name", f"name: network\n{OWN.format('read_only: true')}"),
    ],
)
def test_what_a_host_cannot_honour_is_named(
    wrong: Callable[[str], dict[str, Problem]], key: str, text: str
) -> None:
    assert key in wrong(text)


def test_a_value_that_may_be_a_password_is_not_told(
    wrong: Callable[[str], dict[str, Problem]],
) -> None:
    text = 'services: {web: {image: "postgres:17", environment: {PASSWORD: "hunter22\\e"}}}'
    found = wrong(text)["services.web.environment"]
    assert "control character" in found.message and "hunter22" not in str(found)
