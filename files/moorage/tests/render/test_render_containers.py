"""The topology containers: what becomes of a description."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moorage.compose import load_stack
from moorage.render import Settings, render_stack

STACKS = Path(__file__).parents[3] / "stacks"

SHOP = """\
x-own: &own {user: "10001:10001", read_only: true, cap_drop: [ALL], restart: always}
services:
  db:
    image: mariadb:11.8
    user: "10002:10002"
    environment: {PASSWORD_FILE: /run/secrets/password, PRICE: "5$$"}
    secrets: [password]
    volumes: ["db-data:/var/lib/mysql"]
    ports: ["127.0.0.1:3306:3306"]
    healthcheck: {test: [CMD, ping], interval: 10s}
    networks: {front: {ipv4_address: 10.9.0.10, aliases: [database]}}
    ulimits: {nofile: 512}
    deploy: {resources: {limits: {memory: 512M, cpus: "1.5"}, reservations: {memory: 64M}}}
  migrate:
    <<: *own
    build: {context: ., target: web, additional_contexts: {lib: ../lib}}
    command: migrate up
    restart: on-failure:3
    depends_on: {db: {condition: service_healthy}}
    secrets: [{source: password, target: /etc/password}]
    networks: [front]
  web:
    <<: *own
    build: {context: ., target: web, additional_contexts: {lib: ../lib}}
    environment: {MOORAGE_CONTROL_SOCKET: /run/supervisor/control.sock, UNSET: }
    ports: ["8080:5000", "6000"]
    stop_signal: SIGINT
    stop_grace_period: 20s
    networks: [front]
    depends_on:
      migrate: {condition: service_completed_successfully}
      tool: {condition: service_started, required: false}
    labels: {tier: front, moorage.stack: another}
    configs: [{source: conf, target: /etc/web.conf}]
    logging: {options: {max-size: 1m}}
    deploy: {update_config: {order: start-first}, rollback_config: {parallelism: 2}}
  worker:
    build: .
    scale: 2
    x-moorage: {user: "10003:10003"}
  tool:
    <<: *own
    build: {context: ., target: web}
    profiles: [services]
    depends_on: [db]
    volumes: ["tool-data:/t"]
    secrets: [token]
networks: {front: {internal: true, ipam: {config: [{subnet: 10.9.0.0/24}]}}}
volumes: {db-data: , tool-data: }
secrets: {password: {x-moorage: {generate: {length: 48}}}, token: {x-moorage: {optional: true}}}
configs: {conf: {content: "a = 5"}}
"""


def needs(rendered: Any) -> dict[str, dict[str, str]]:
    return {unit.service: unit.needs for unit in rendered.rendering.units}


@pytest.fixture
def shop(render: Callable[..., Any]) -> Callable[..., Any]:
    def run(text: str = SHOP, **settings: Any) -> Any:
        return render(text, topology="containers", **settings)

    return run


def test_every_service_is_a_container(shop: Callable[..., Any]) -> None:
    rendered = shop()
    assert sorted(rendered.rendering.files) == [
        "compose.json",
        "compose.yaml",
        "configs/conf",
        "gateway.service",
    ]
    names = {key: entry.get("container_name") for key, entry in rendered.services.items()}
    assert names == {
        "db": "shop-db",
        "migrate": "shop-migrate",
        "web": "shop-web",  # no edge: it holds its port itself, so there is never a second one
        "worker.a": "shop-worker-next",
        "worker.b": "shop-worker-next",
        "worker.2.a": "shop-worker-2-next",
        "worker.2.b": "shop-worker-2-next",
        "tool": "shop-tool",
    }
    for name, entry in rendered.services.items():
        # A data service that differed by a label would be replaced when the topology changes.
        assert "moorage.topology" not in entry["labels"]
        assert entry["labels"]["moorage.service"] == name.partition(".")[0]
        assert entry["labels"]["moorage.stack"] == "shop"
        assert "depends_on" not in entry
    assert json.loads(rendered.rendering.files["compose.json"].content) == rendered.compose


def test_same_builds_are_one_image(shop: Callable[..., Any]) -> None:
    refs = {"web": "moorage/shop-web:1", "worker": "moorage/shop-worker:1", "tool": "t:1"}
    rendered = shop(image_refs={**refs, "mariadb:11.8": "moorage/mariadb:1"})
    images = {key: entry["image"] for key, entry in rendered.services.items()}
    assert images == {
        "db": "moorage/mariadb:1",
        "migrate": "moorage/shop-web:1",
        "web": "moorage/shop-web:1",
        **dict.fromkeys(
            ("worker.a", "worker.b", "worker.2.a", "worker.2.b"), "moorage/shop-worker:1"
        ),
        "tool": "t:1",
    }
    assert rendered.services["web"]["pull_policy"] == "never"
    assert "pull_policy" not in rendered.services["db"]
    assert rendered.rendering.unresolved == ()
    assert [(fact.key, fact.build) for fact in rendered.rendering.builds] == [
        (
            "web",
            {
                "context": ".",
                "dockerfile": "Dockerfile",
                "target": "web",
                "additional_contexts": {"lib": "../lib"},
            },
        ),
        ("worker", {"context": ".", "dockerfile": "Dockerfile"}),
        ("tool", {"context": ".", "dockerfile": "Dockerfile", "target": "web"}),
    ]


def test_a_build_is_never_mistaken_for_an_image(shop: Callable[..., Any]) -> None:
    text = (
        "services: {redis: {image: redis}, a: {build: {context: ., target: redis}},"
        " b: {build: {context: x, target: a}}, c: {build: {context: y, target: redis}}}"
    )
    keys = [fact.key for fact in shop(text).rendering.builds]
    assert len(set(keys)) == 3
    assert "redis" not in keys


def test_users(shop: Callable[..., Any]) -> None:
    services = shop("services: {a: {build: .}, b: {image: x}}", user="7:8").services
    assert services["a.a"]["user"] == services["a.b"]["user"] == "7:8"
    assert "user" not in services["b"]  # as its image says
    assert shop().services["worker.a"]["user"] == "10003:10003"
    text = "services: {a: {image: x, user: app, x-moorage: {user: '5:6'}}}"
    assert shop(text).services["a"]["user"] == "5:6"
    text = "x-moorage: {unified: {build: ., user: '9:9'}}\nservices: {a: {build: .}}"
    assert shop(text).services["a.a"]["user"] == "9:9"  # the owner of its data in unified


def test_services_on_demand(shop: Callable[..., Any]) -> None:
    waiting = shop()
    assert waiting.services["tool"]["profiles"] == ["services"]
    assert list(needs(waiting)["web"]) == ["migrate"]
    facts = {fact.name: fact.on_demand for fact in waiting.rendering.services}
    assert [name for name, on_demand in facts.items() if on_demand] == ["tool"]
    assert "tool-data" in [Path(volume.path).name for volume in waiting.rendering.volumes]
    assert "token" in [secret.name for secret in waiting.rendering.secrets]

    enabled = shop(profiles=("services",))
    assert "tool" not in enabled.services
    assert "profiles" not in enabled.services["tool.a"]
    assert list(needs(enabled)["web"]) == ["migrate", "tool"]
    assert not any(fact.on_demand for fact in enabled.rendering.services)


def test_unified_leaves_out_what_no_profile_asks_for(render: Callable[..., Any]) -> None:
    text = (
        "services: {db: {image: x}, tool: {image: y, user: '1:1', profiles: [p],"
        " volumes: ['own:/v'], secrets: [s], networks: [n]}}\n"
        "volumes: {own: }\nnetworks: {n: }\nsecrets: {s: {x-moorage: {generate: {}}}}"
    )
    found = render(text)
    assert list(found.services) == ["db"]
    assert found.rendering.volumes == found.rendering.secrets == ()
    assert list(render(text, profiles=("p",)).services) == ["db", "tool"]
    wanted = text.replace("profiles: [p],", "profiles: [p], x-moorage: {on_demand: true},")
    found = render(wanted)
    assert list(found.services) == ["db", "tool"]
    assert [fact.name for fact in found.rendering.services if fact.on_demand] == ["tool"]


def test_nobody_waits_for_what_is_not_started(shop: Callable[..., Any]) -> None:
    condition = "{condition: service_completed_successfully, required: false}"
    text = (
        "services: {job: {image: x, profiles: [p]}, web: {image: x, "
        f"depends_on: {{job: {condition}}}}}}}"
    )
    one_offs = [
        {fact.name: fact.one_off for fact in shop(text, profiles=profiles).rendering.services}
        for profiles in ((), ("p",))
    ]
    assert [facts["job"] for facts in one_offs] == [False, True]


def test_replicas_may_have_ports_that_are_not_published(shop: Callable[..., Any]) -> None:
    services = shop("services: {a: {image: x, scale: 3, ports: ['80']}}").services
    assert list(services) == ["a", "a.2", "a.3"]
    assert not any("ports" in entry for entry in services.values())
    text = "services: {a: {image: x, scale: 3, ports: ['80:80']}}"
    assert "ports" not in shop(text, publish={"a": []}).services["a"]


def test_two_on_demand_may_take_turns_at_a_port(shop: Callable[..., Any]) -> None:
    services = "a: {image: x, profiles: [p], ports: ['80:80']}, b: {image: x, ports: ['80:80']}"
    turns = services.replace("b: {image: x,", "b: {image: x, profiles: [q],")
    ports = shop(f"services: {{{turns}}}").rendering.ports
    assert [(port.service, port.port) for port in ports] == [("a", 80), ("b", 80)]


def test_control_socket(shop: Callable[..., Any]) -> None:
    rendered = shop()
    web = rendered.services["web"]
    url = "unix+http:///run/moorage-control/control.sock"
    assert web["environment"] == {"MOORAGE_CONTROL_SOCKET": url}
    assert web["volumes"][-1] == {
        "type": "bind",
        "source": "/run/moorage/shop/gateway",
        "target": "/run/moorage-control",
        "read_only": True,
        "bind": {"create_host_path": False},
    }
    with_it = [
        name
        for name, entry in rendered.services.items()
        if any(mount["target"] == "/run/moorage-control" for mount in entry.get("volumes", []))
    ]
    assert with_it == ["web"]
    (directory,) = rendered.rendering.directories
    assert (directory.path, directory.mode) == ("/run/moorage/shop/gateway", "2750")

    without = shop(environment={"web": {"MOORAGE_CONTROL_SOCKET": ""}})
    assert len(without.services["web"]["volumes"]) == len(web["volumes"]) - 1
    # Nobody but root asks it then, and it goes on hearing what happens.
    assert [(d.path, d.group) for d in without.rendering.directories] == [(directory.path, 0)]
    assert without.rendering.files["gateway.service"] != rendered.rendering.files["gateway.service"]


def test_mounts(shop: Callable[..., Any]) -> None:
    services = shop().services
    mounts = {
        (name, mount["target"]): (mount["source"], mount.get("read_only", False))
        for name, entry in services.items()
        for mount in entry.get("volumes", [])
    }
    assert mounts == {
        ("db", "/var/lib/mysql"): ("/opt/shop/data/db-data", False),
        ("db", "/run/secrets/password"): ("/opt/shop/secrets/for/10002/password", True),
        ("migrate", "/etc/password"): ("/opt/shop/secrets/for/10001/password", True),
        ("web", "/etc/web.conf"): ("/opt/shop/config/files/conf", True),
        ("web", "/run/moorage-control"): ("/run/moorage/shop/gateway", True),
        ("tool", "/t"): ("/opt/shop/data/tool-data", False),
        ("tool", "/run/secrets/token"): ("/opt/shop/secrets/for/10001/token", True),
    }
    assert "secrets" not in services["db"]  # binds took their place
    assert "moorage.config.conf" in services["web"]["labels"]


def test_what_the_engine_keeps_for_nobody_is_told(render: Callable[..., Any]) -> None:
    given = "{limits: {cpus: '2'}, reservations: {cpus: '1.0', memory: 1G}}"
    text = f"services: {{web: {{build: ., command: [c], deploy: {{resources: {given}}}}}}}\n"
    made = render(text, topology="containers")
    (entry, _) = made.services.values()
    assert entry["deploy"]["resources"]["reservations"]["memory"] == str(1024**3)
    assert [note.split(":")[0] for note in made.rendering.notes] == [
        "services.web.deploy.resources.reservations.cpus has no effect"
    ]


def test_what_compose_reads_of_deploy(shop: Callable[..., Any]) -> None:
    services = shop(limits={"web": {"memory": "1g", "pids": 50}}).services
    assert services["db"]["deploy"] == {
        "resources": {
            "limits": {"cpus": "1.5", "memory": str(512 * 1024**2), "pids": 4096},
            "reservations": {"memory": str(64 * 1024**2)},
        }
    }
    # update_config is not there: it would replace the container, and nothing of it would change.
    assert services["web"]["deploy"] == {
        "resources": {"limits": {"memory": str(1024**3), "pids": 50}}
    }
    # Each replica is a service of its own.
    assert services["worker.a"]["deploy"] == {"resources": {"limits": {"pids": 4096}}}
    assert "scale" not in services["worker.a"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("restart: always", "always"),
        ("restart: 'on-failure:3'", "on-failure:3"),
        ("restart: 'no'", "no"),
        ("tty: true", None),
        ("deploy: {restart_policy: {condition: none}}", "no"),
        ("deploy: {restart_policy: {condition: any}}", "always"),
        ("deploy: {restart_policy: {condition: on-failure, max_attempts: 4}}", "on-failure:4"),
        ("restart: always, deploy: {restart_policy: {condition: on-failure}}", "on-failure"),
        ("restart: always, deploy: {restart_policy: {delay: 5s}}", "always"),
    ],
)
def test_restart(keys: str, expected: str | None, shop: Callable[..., Any]) -> None:
    rendered = shop(f"services: {{a: {{image: x, {keys}}}}}")
    assert rendered.services["a"].get("restart") == expected
    assert bool(rendered.rendering.notes) == ("delay" in keys)


def test_logs_are_bounded(shop: Callable[..., Any]) -> None:
    services = shop(log_max_size="5m", log_max_files=2).services
    assert services["db"]["logging"] == {
        "driver": "json-file",
        "options": {"max-size": "5m", "max-file": "2"},
    }
    assert services["web"]["logging"]["options"] == {"max-size": "1m", "max-file": "2"}
    syslog = shop("services: {a: {image: x, logging: {driver: syslog}}}").services["a"]
    assert syslog["logging"] == {"driver": "syslog"}


def test_operators_settings(shop: Callable[..., Any]) -> None:
    services = shop(
        publish={"web": ["192.0.2.1:80:5000"], "db": []},
        environment={"web": {"LOG": "debug"}},
        dns=["192.0.2.53"],
    ).services
    assert services["web"]["ports"] == [
        {"target": 5000, "published": "80", "host_ip": "192.0.2.1", "protocol": "tcp"}
    ]
    assert "ports" not in services["db"]
    assert services["web"]["environment"]["LOG"] == "debug"
    assert all(entry["dns"] == ["192.0.2.53"] for entry in services.values())


def test_facts(shop: Callable[..., Any]) -> None:
    facts = {fact["name"]: fact for fact in shop().rendering.to_dict()["services"]}
    assert {fact["kind"] for fact in facts.values()} == {"container"}
    assert facts["worker"]["containers"] == ["shop-worker", "shop-worker-2"]
    assert facts["db"]["containers"] == ["shop-db"]
    assert [name for name, fact in facts.items() if fact["one_off"]] == ["migrate"]
    assert [name for name, fact in facts.items() if fact["health"]] == ["db"]
    assert facts["web"]["ports"] == [5000, 6000]
    assert shop().rendering.images == ("mariadb:11.8",)


def test_a_port_without_a_host_port_is_noted(shop: Callable[..., Any]) -> None:
    notes = [note for note in shop().rendering.notes if note.startswith("services.web.ports")]
    assert len(notes) == 1
    assert "6000" in notes[0]
    assert not any("ports" in note for note in shop(publish={"web": []}).rendering.notes)


def test_compose_reads_what_was_meant(
    shop: Callable[..., Any], compose_config: Callable[[str], dict[str, Any]]
) -> None:
    read = compose_config(shop().text)
    db = read["services"]["db"]
    assert db["networks"]["front"] == {"aliases": ["database"], "ipv4_address": "10.9.0.10"}
    assert db["deploy"]["resources"]["limits"]["cpus"] == 1.5
    assert db["environment"]["PRICE"].replace("$$", "$") == "5$"
    assert read["networks"]["front"]["ipam"] == {"config": [{"subnet": "10.9.0.0/24"}]}
    assert read["networks"]["front"]["internal"] is True
    assert read["services"]["tool"]["profiles"] == ["services"]


def test_tg2em(compose_config: Callable[[str], dict[str, Any]]) -> None:
    stack = load_stack(STACKS / "tg2em", on_demand=True)
    settings = Settings.parse({"topology": "containers"}, stack=stack.name)
    rendering = render_stack(stack, settings)
    facts = {fact.name: fact for fact in rendering.services}
    assert {name: fact.containers for name, fact in facts.items()} == {
        "mysql": ("tg2em-mysql",),
        "migrate": ("tg2em-migrate",),
        "tgstate": ("tg2em-tgstate",),
        "frontend": ("tg2em-frontend",),
        "scraper": ("tg2em-scraper",),
        "import": ("tg2em-import",),
    }
    assert [name for name, fact in facts.items() if fact.one_off] == ["migrate"]
    assert [name for name, fact in facts.items() if fact.on_demand] == ["import"]
    assert [name for name, fact in facts.items() if fact.singleton] == ["scraper"]
    assert [name for name, fact in facts.items() if not fact.health] == ["migrate", "import"]
    assert [fact.key for fact in rendering.builds] == ["frontend", "tgstate", "scraper"]
    assert {(p.service, p.host_ip, p.port) for p in rendering.ports} == {
        ("mysql", "127.0.0.1", 3306),
        ("tgstate", "", 8088),
        ("frontend", "", 5000),
    }
    assert {Path(v.path).name: v.owner for v in rendering.volumes} == {
        "mysql-data": 10002,
        "tgstate-data": 10001,
        "scraper-data": 10001,
    }
    assert [d.path for d in rendering.directories] == ["/run/moorage/tg2em/gateway"]
    assert rendering.notes == ()
    read = compose_config(rendering.files["compose.yaml"].content)["services"]
    assert set(read) == {key for unit in rendering.units for key in unit.keys.values()}
    assert all(entry["read_only"] and entry["cap_drop"] == ["ALL"] for entry in read.values())
    assert not any("docker.sock" in str(entry) for entry in read.values())


def test_data_has_one_owner_in_both_topologies() -> None:
    stack = load_stack(STACKS / "tg2em", on_demand=True)
    volumes = [
        render_stack(stack, Settings.parse({"topology": name}, stack=stack.name)).volumes
        for name in ("containers", "unified")
    ]
    assert volumes[0] == volumes[1]
