"""Data services without containers: Debian's servers, run as their images run them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moorage.compose.errors import Problem
from moorage.controller.plan import plan_host
from moorage.controller.project import Project
from moorage.render.host.data import SERVERS
from moorage.render.host.names import stack_address

ROOT = Path(__file__).resolve().parents[4]
IMAGES = ROOT / "files/images"
ADDRESS = stack_address("shop")
TEXT = """\
services:
  postgres:
    image: postgres:17
    user: "10004:10004"
    environment: {POSTGRES_PASSWORD_FILE: /run/secrets/token}
    secrets: [token]
    volumes: ["pg:/var/lib/postgresql/data"]
    tmpfs: ["/run/postgresql:size=2m,mode=1777"]
    healthcheck: {test: [CMD, pg_isready]}
  db:
    image: mariadb:11
    user: "10002:10002"
    command: [--max-connections=50]
    volumes: ["maria:/var/lib/mysql"]
    stop_signal: SIGQUIT
  cache: {image: "library/redis:8-alpine", user: "10005:10005", volumes: ["redis:/data"]}
  queue: {image: redis, user: "10006:10006", volumes: ["queue:/data"]}
volumes: {pg: , maria: , redis: , queue: }
secrets: {token: {file: ./token, x-moorage: {generate: {length: 32}}}}
"""


@pytest.fixture
def processes(render: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    def run(text: str = TEXT, **settings: Any) -> dict[str, Any]:
        files = render(text, topology="host", **settings).rendering.files
        found: dict[str, Any] = json.loads(files["processes.json"].content)
        return found

    return run


def test_units_are_called_as_debian_calls_instances(
    processes: Callable[..., dict[str, Any]],
) -> None:
    assert {key: entry["unit"] for key, entry in processes().items()} == {
        "postgres": "postgresql@17-shop",
        "db": "mariadb@shop",
        "cache": "redis-server@shop",
        # No stack has a name with a point in it.
        "queue": "redis-server@shop.queue",
    }


def test_a_server_is_begun_by_its_image_s_entrypoint_and_listens_at_the_stack_s_address(
    processes: Callable[..., dict[str, Any]],
) -> None:
    found = {key: entry["command"] for key, entry in processes().items()}
    start = "docker-entrypoint.sh"
    assert found == {
        "postgres": [start, "postgres", "-c", f"listen_addresses={ADDRESS}"],
        "db": [start, "--max-connections=50", f"--bind-address={ADDRESS}"],
        "cache": [start, "redis-server", "--bind", ADDRESS],
        "queue": [start, "redis-server", "--bind", ADDRESS],
    }


@pytest.mark.parametrize(
    ("ports", "addresses"),
    [
        ('["127.0.0.1:5432:5432"]', f"{ADDRESS},127.0.0.1"),
        ('["192.0.2.7:5432:5432", "127.0.0.1:5432:5432"]', f"{ADDRESS},192.0.2.7,127.0.0.1"),
        # That one holds the others.
        ('["5432:5432"]', "0.0.0.0"),
    ],
)
def test_a_published_port_is_an_address_more(
    processes: Callable[..., dict[str, Any]], ports: str, addresses: str
) -> None:
    text = TEXT.replace("postgres:17", f"postgres:17\n    ports: {ports}")
    assert processes(text)["postgres"]["command"][-1] == f"listen_addresses={addresses}"


def test_it_has_what_the_image_would_bring(processes: Callable[..., dict[str, Any]]) -> None:
    refs = {"postgres": "environment/shop-postgres:0123456789ab"}
    found = processes(image_refs=refs)["postgres"]
    files = "/opt/shop/environments/shop-postgres-0123456789ab/bin"
    assert found["path"].startswith(f"{files}:/usr/lib/postgresql/17/bin:/usr/local/sbin:")
    assert found["environment"] == {
        "MOORAGE_LISTEN": ADDRESS,
        "PGDATA": "/var/lib/postgresql/data",
        "POSTGRES_PASSWORD_FILE": "/run/secrets/token",
    }
    assert (found["directory"], found["stop_signal"]) == ("/", "SIGINT")
    mounts = {mount["target"]: mount for mount in found["mounts"]}
    assert mounts["/etc/postgresql/defaults.conf"]["source"] == f"{files}/defaults.conf"
    # The description's own, and not the image's.
    assert mounts["/run/postgresql"]["options"] == "size=2m,mode=1777"
    assert mounts["/var/lib/postgresql/data"]["source"] == "/opt/shop/data/pg"
    assert len(mounts) == len(found["mounts"])
    assert processes()["db"]["stop_signal"] == "SIGQUIT"


def test_its_users_have_the_names_that_they_have_in_images(render: Callable[..., Any]) -> None:
    files = render(TEXT, topology="host").rendering.files
    users = [line.split(":")[:4] for line in files["passwd"].content.splitlines()]
    assert users == [
        ["root", "x", "0", "0"],
        ["postgres", "x", "10004", "10004"],
        ["mysql", "x", "10002", "10002"],
        ["redis", "x", "10005", "10005"],
        ["redis", "x", "10006", "10006"],
    ]
    assert files["group"].content.splitlines()[1] == "postgres:x:10004:"
    assert files["passwd"].install_as == "/opt/shop/config/passwd"


def test_what_a_stack_says_of_its_own_services_is_none_of_theirs(
    processes: Callable[..., dict[str, Any]],
) -> None:
    stack = "x-moorage: {host: {requirements: r.txt, sources: {app: app}, environment: {A: b}}}\n"
    assert processes(stack + TEXT) == processes()


def test_the_host_gets_its_packages_and_those_that_it_asks_for(render: Callable[..., Any]) -> None:
    own = "\n    x-moorage: {host: {packages: [postgresql-17-pgvector]}}"
    text = TEXT.replace("postgres:17", f"postgres:17{own}")
    found = render(text, topology="host").rendering
    assert {"postgresql-17", "postgresql-17-pgvector", "mariadb-server-core", "redis-server"} <= {
        *found.packages
    }
    assert {fact.key: fact.build for fact in found.builds} == {
        "postgres": {"environment": {"files": {"bin": "postgres"}}},
        "db": {"environment": {"files": {"bin": "mariadb"}}},
        "cache": {"environment": {"files": {"bin": "redis"}}},
    }


def test_its_data_is_saved_by_the_programs_of_the_image() -> None:
    plans = {
        topology: plan_host(Project(ROOT), ["chatbot"], {"chatbot_topology": topology})
        for topology in ("host", "containers")
    }
    saved = {
        topology: [service["backup"] for service in plan["stacks"][0]["services"]]
        for topology, plan in plans.items()
    }
    assert saved["host"] == saved["containers"]
    assert saved["host"][0]["dump"] == ("moorage-dump",)


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [
        ("postgres.image", "postgres:17", "postgres:16"),
        ("postgres.image", "postgres:17", "postgres:17.4"),
        ("postgres.image", "postgres:17", "example.com/postgres:17"),
        ("postgres.image", "postgres:17", f"postgres:17@sha256:{'0' * 64}"),
        ("db.image", "mariadb:11", "mysql:8"),
        ("db.command", "[--max-connections=50]", "[sh, -c, exec mariadbd]"),
        ("db.entrypoint", "command:", "entrypoint:"),
        ("db.volumes", 'volumes: ["maria:/var/lib/mysql"]', "restart: always"),
        ("postgres.ports", "postgres:17", 'postgres:17\n    ports: ["127.0.0.1:5433:5432"]'),
        ("db.user", 'user: "10002:10002"', 'user: "0:0"'),
    ],
)
def test_what_cannot_be_is_named(
    refused: Callable[..., dict[str, Problem]], key: str, old: str, new: str
) -> None:
    assert old in TEXT
    found = refused(TEXT.replace(old, new), topology="host")
    assert f"services.{key}" in found


def test_a_stack_takes_no_server_of_debian_s_own(
    refused: Callable[..., dict[str, Problem]],
) -> None:
    assert "name" in refused(f"name: main\n{TEXT}", topology="host")


def test_a_refused_version_says_what_there_is(
    refused: Callable[..., dict[str, Problem]],
) -> None:
    problem = refused(TEXT.replace("postgres:17", "postgres:16"), topology="host")
    said = str(problem["services.postgres.image"])
    assert "postgres:16" in said
    assert "postgres:17" in said


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_runs_as_its_image_says(name: str) -> None:
    server, image = SERVERS[name], IMAGES / name
    text = (image / "Dockerfile").read_text(encoding="utf-8")
    variables = dict(entry.split("=", 1) for entry in re.findall(r"^ENV (\S+)$", text, re.M))
    assert dict(server.environment) == variables
    assert re.findall(r"^STOPSIGNAL (\S+)$", text, re.M) == [
        signal for signal in [server.stop_signal] if signal != "SIGTERM"
    ]
    assert f'CMD ["{server.command}"]' in text
    assert f"VOLUME {server.data}\n" in text
    assert f"{server.account}:x:" in text
    assert f":{server.home}:" in text
    assert f" {server.run}" in text
    assert all((image / file).is_file() for file in server.files.values())
    assert f"{server.packages[0]}" in text
