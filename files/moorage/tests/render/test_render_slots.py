"""Units and slots: which containers can run twice for a while, and what differs between the two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from moorage.compose import ComposeError
from moorage.release.manifest import Policy, Pool, Unit

SHOP = """\
x-moorage: {unified: {build: .}}
services:
  db:
    image: mariadb:11.8
    user: "10002:10002"
    ports: ["3306:3306"]
    healthcheck: {test: [CMD, ping]}
  web:
    build: {context: ., target: web}
    command: [web]
    ports: ["8080:5000"]
    networks: {front: {aliases: [www]}}
    secrets: [key]
    stop_grace_period: 20s
    depends_on: {migrate: {condition: service_completed_successfully}}
    healthcheck: {test: [CMD, web, check]}
    x-moorage: {health_url: "http://127.0.0.1:5000/live?deep=1"}
  migrate:
    build: {context: ., target: web}
    command: [migrate]
    networks: [front]
    depends_on: {db: {condition: service_healthy}}
  worker:
    build: {context: ., target: web}
    command: [worker]
    networks: [front]
    depends_on: [db, migrate]
    x-moorage: {singleton: true}
networks: {front: }
secrets: {key: {x-moorage: {generate: {}}}}
"""
A = "services: {a: {build: ., command: [a], "


@pytest.fixture
def shop(render: Callable[..., Any]) -> Callable[..., Any]:
    def run(text: str = SHOP, **settings: Any) -> Any:
        return render(text, **{"topology": "containers", "behind_edge": True, **settings})

    return run


def units(rendered: Any) -> dict[str, Unit]:
    return {unit.name: unit for unit in rendered.rendering.units}


def config(rendered: Any, name: str) -> str:
    return units(rendered)[name].config


def test_a_rolled_service_stands_twice(shop: Callable[..., Any]) -> None:
    rendered = shop()
    unit = units(rendered)["shop-web"]
    assert (unit.rolled, unit.keys) == (True, {"a": "web.a", "b": "web.b"})
    first, second = (dict(rendered.services[key]) for key in ("web.a", "web.b"))
    for slot, entry in (("a", first), ("b", second)):
        port = unit.peers[slot]["5000"]
        assert entry.pop("ports") == [
            {
                "target": 5000,
                "published": str(port),
                "host_ip": "127.0.0.1",
                "protocol": "tcp",
            }
        ]
        labels = entry.pop("labels")
        assert labels == {
            "moorage.stack": "shop",
            "moorage.service": "web",
            "moorage.config": unit.config,
            "moorage.replica": "1",
            "moorage.slot": slot,
        }
        assert entry["container_name"] == "shop-web-next"
        assert entry["networks"] == {"front": {"aliases": ["web", "www"]}}
    assert first == second
    assert unit.peers["a"] != unit.peers["b"]


def test_what_is_replaced_in_place_has_its_name_and_no_slot(shop: Callable[..., Any]) -> None:
    rendered = shop()
    worker = rendered.services["worker"]
    assert worker["container_name"] == "shop-worker"
    assert "moorage.slot" not in worker["labels"]
    assert worker["labels"]["moorage.config"] == config(rendered, "shop-worker")
    assert rendered.services["db"]["ports"][0]["published"] == "3306"
    assert units(rendered)["shop-worker"].keys == {"": "worker"}


def test_units_say_all_that_a_rollout_asks(shop: Callable[..., Any]) -> None:
    rendered = shop(image_refs={"web": "moorage/shop-web:1"})
    found = {unit["name"]: unit for unit in rendered.rendering.to_dict()["units"]}
    # What others wait for comes first.
    assert list(found) == ["shop-db", "shop-migrate", "shop-web", "shop-worker"]
    web = found["shop-web"]
    assert len(web.pop("config")) == 16
    assert web.pop("peers").keys() == {"a", "b"}
    policy = {
        "parallelism": 1,
        "delay": 0.0,
        "order": "start-first",
        "monitor": None,
        "max_failure_ratio": 0.0,
    }
    assert web == {
        "name": "shop-web",
        "service": "web",
        "replica": 1,
        "rolled": True,
        "keys": {"a": "web.a", "b": "web.b"},
        "image": "moorage/shop-web:1",
        "health": True,
        "health_url": {"port": 5000, "path": "/live?deep=1"},
        "singleton": False,
        "one_off": False,
        "on_demand": False,
        "data": False,
        "singletons": [],
        "processes": [],
        "needs": {"migrate": "service_completed_successfully"},
        "secrets": ["key"],
        "stop_seconds": 20.0,
        "update": {**policy, "failure_action": "rollback"},
        "rollback": {**policy, "failure_action": "pause"},
        "slot_install": {},
    }
    assert found["shop-db"]["data"] and not found["shop-db"]["rolled"]
    assert found["shop-migrate"]["one_off"] and not found["shop-migrate"]["rolled"]
    assert found["shop-worker"]["needs"] == {
        "db": "service_started",
        "migrate": "service_started",
    }
    assert found["shop-worker"]["stop_seconds"] == 10.0  # the engine's


def test_the_policy_of_a_rollout(shop: Callable[..., Any]) -> None:
    update = (
        "{parallelism: 2, delay: 1m, order: stop-first, monitor: 1500ms, failure_action: pause,"
        " max_failure_ratio: 0.5}"
    )
    rendered = shop(
        f"{A}scale: 3, deploy: {{replicas: 3, update_config: {update},"
        " rollback_config: {parallelism: 0}}}}"
    )
    first = rendered.rendering.units[0]
    assert first.update == Policy(2, 60.0, "stop-first", 1.5, "pause", 0.5)
    assert first.rollback.parallelism == 0
    assert [unit.name for unit in rendered.rendering.units] == ["shop-a", "shop-a-2", "shop-a-3"]
    assert [unit.keys["b"] for unit in rendered.rendering.units] == ["a.b", "a.2.b", "a.3.b"]
    assert rendered.services["a.2.a"]["labels"]["moorage.replica"] == "2"


READY = "services: {a: {image: x, ports: ['80:80'], x-moorage: {edge: %s}}}"


def test_a_ready_image_that_the_edge_is_to_have_is_rolled_as_an_own_service(
    shop: Callable[..., Any], compose_config: Callable[[str], dict[str, Any]]
) -> None:
    own = shop(A + "ports: ['80:80']}}")
    ready = shop(READY % "true")
    assert units(ready)["shop-a"].keys == units(own)["shop-a"].keys == {"a": "a.a", "b": "a.b"}
    assert not units(ready)["shop-a"].data
    assert ready.rendering.edge == own.rendering.edge is not None
    assert ready.rendering.ports == own.rendering.ports
    # What it runs stays what its author made: neither built here nor by a user of ours.
    assert ready.rendering.images == ("x",) and not ready.rendering.builds
    assert "user" not in ready.services["a.a"]
    assert set(compose_config(ready.text)["services"]) == set(ready.services)
    # Otherwise nobody knows whether two may work on its data.
    for text in (READY % "false", READY.replace("edge: %s", "")):
        assert units(shop(text))["shop-a"].keys == {"": "a"}
    assert (
        shop((READY % "true").replace("image", "scale: 2, image")).rendering.units[1].replica == 2
    )


@pytest.mark.parametrize("topology", ["unified", "host"])
def test_elsewhere_a_ready_image_is_never_there_twice(
    shop: Callable[..., Any], topology: str
) -> None:
    with pytest.raises(ComposeError, match=r"a\.x-moorage\.edge: in this topology there is no"):
        shop((READY % "true").replace("x,", "'postgres:17',"), topology=topology)


IN_PLACE = {
    "a singleton": "x-moorage: {singleton: true}}}",
    "a port that is no HTTP": "ports: ['80:80'], x-moorage: {edge: false}}}",
    "a port of UDP": "ports: ['53:53/udp']}}",
    "a port of this machine": "ports: ['127.0.0.1:80:80']}}",
    "a port of this machine in IPv6": "ports: ['[::1]:80:80']}}",
    "an address": "networks: {n: {ipv4_address: 10.0.0.2}}}}\n"
    "networks: {n: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}",
    "the host's network": "network_mode: host}}",
    "another's network": "network_mode: 'service:b'}, b: {image: x}}",
    "one that others link to": "tty: true}, b: {image: x, links: [a]}}",
    "one whose network others use": "tty: true}, b: {image: x, network_mode: 'service:a'}}",
    "one whose volumes others use": "tty: true}, b: {image: x, volumes_from: [a]}}",
    "one on demand": "profiles: [p]}}",
}


@pytest.mark.parametrize("case", IN_PLACE)
def test_not_rolled(
    case: str, shop: Callable[..., Any], compose_config: Callable[[str], dict[str, Any]]
) -> None:
    rendered = shop(A + IN_PLACE[case])
    assert units(rendered)["shop-a"].keys == {"": "a"}
    assert set(compose_config(rendered.text)["services"]) == set(rendered.services)


ROLLED = {
    "no port": "tty: true}}",
    "a public port": "ports: ['80:80']}}",
    "a port of one address": "ports: ['192.0.2.1:80:80']}}",
    "an unpublished port": "ports: ['80']}}",
    "no network": "network_mode: none}}",
}


@pytest.mark.parametrize("case", ROLLED)
def test_rolled(
    case: str, shop: Callable[..., Any], compose_config: Callable[[str], dict[str, Any]]
) -> None:
    rendered = shop(A + ROLLED[case])
    assert units(rendered)["shop-a"].rolled
    assert set(compose_config(rendered.text)["services"]) == {"a.a", "a.b"}


def test_without_an_edge_ports_are_the_services_own(shop: Callable[..., Any]) -> None:
    rendered = shop(behind_edge=False)
    assert rendered.services["web"]["ports"] == [
        {"target": 5000, "published": "8080", "protocol": "tcp"}
    ]
    assert units(rendered)["shop-web"].peers == {"": {}}
    assert rendered.rendering.edge is None
    assert rendered.rendering.loopback == ()
    assert rendered.rendering.probe.targets == ()


def test_a_singleton_is_behind_the_edge_too(shop: Callable[..., Any]) -> None:
    rendered = shop(A + "ports: ['80:8000'], x-moorage: {singleton: true}}}")
    (unit,) = rendered.rendering.units
    port = unit.peers[""]["8000"]
    assert rendered.rendering.loopback == ("shop/a/1//8000",)
    assert rendered.services["a"]["ports"][0]["published"] == str(port)
    assert rendered.rendering.edge.pools == {"a:8000": Pool("a", 8000)}


def test_replicas_behind_the_edge(shop: Callable[..., Any]) -> None:
    rendered = shop(A + "scale: 2, ports: ['80:8000']}}")
    assert rendered.rendering.loopback == tuple(
        f"shop/a/{number}/{slot}/8000" for number in (1, 2) for slot in "ab"
    )
    ports = [entry["ports"][0]["published"] for entry in rendered.services.values()]
    assert len(set(ports)) == 4


def test_ports_are_those_that_were_assigned(shop: Callable[..., Any]) -> None:
    ports = {"shop/web/1/a/5000": 29001, "shop/web/1/b/5000": 29002}
    rendered = shop(loopback_ports=ports)
    assert units(rendered)["shop-web"].peers == {"a": {"5000": 29001}, "b": {"5000": 29002}}
    # A container at an address that was given away would be looked for where it is not.
    assert config(rendered, "shop-web") != config(shop(), "shop-web")


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (("command: [web]", "command: [web, -v]"), {"shop-web"}),
        (("stop_grace_period: 20s", "stop_grace_period: 21s"), {"shop-web"}),
        (("[db, migrate]", "[migrate]"), set()),
        # From here on it needs a slot, which a running container cannot be given.
        (("x-moorage: {singleton: true}", "x-moorage: {singleton: false}"), {"shop-worker"}),
        (("8080:5000", "8081:5000"), set()),
        (("8080:5000", "8080:5001"), {"shop-web"}),
        (("mariadb:11.8", "mariadb:11.9"), {"shop-db"}),
        (("depends_on: [db, migrate]", "depends_on: [db]"), set()),
    ],
)
def test_what_replaces_a_container(
    change: tuple[str, str], changed: set[str], shop: Callable[..., Any]
) -> None:
    before, after = shop(), shop(SHOP.replace(*change))
    assert {name for name in units(before) if config(before, name) != config(after, name)} == (
        changed
    )


def test_some_are_replaced_together(shop: Callable[..., Any]) -> None:
    text = "services: {a: {image: x}, b: {image: y, depends_on: {a: {condition: %s%s}}}}"
    for more, together in (("", False), (", restart: true", True)):
        given = text % ("service_started", more)
        before, after = shop(given), shop(given.replace("image: x", "image: z"))
        assert (config(before, "shop-b") != config(after, "shop-b")) is together


NAMES = {
    "a service called like the next one": (
        "services: {a: {build: .}, a-next: {image: x}}",
        "services.a-next.name",
    ),
    "a service called like a slot": (
        "services: {a: {build: .}, a.b: {image: x}}",
        "services.a.b.name",
    ),
    "replicas that others link to": (
        "services: {a: {build: ., scale: 2}, b: {image: x, links: [a]}}",
        "services.a.scale",
    ),
    "replicas with a direct port": (
        "services: {a: {build: ., scale: 2, ports: ['80:80'], x-moorage: {edge: false}}}",
        "services.a.scale",
    ),
}


@pytest.mark.parametrize("case", NAMES)
def test_refused(case: str, refused: Callable[..., dict[str, Any]]) -> None:
    text, where = NAMES[case]
    assert list(refused(text, topology="containers", behind_edge=True)) == [where]


def test_labels_of_moorage_are_not_the_descriptions_to_give(shop: Callable[..., Any]) -> None:
    text = A + "labels: {moorage.slot: b, tier: x}, x-moorage: {singleton: true}}}"
    labels = shop(text).services["a"]["labels"]
    assert "moorage.slot" not in labels
    assert labels["tier"] == "x"


def test_the_unified_container_has_two_slots(
    shop: Callable[..., Any], compose_config: Callable[[str], dict[str, Any]]
) -> None:
    text = SHOP.replace("networks: {front: {aliases: [www]}}", "networks: [front]")
    rendered = shop(text, topology="unified")
    assert list(rendered.services) == ["db", "unified.a", "unified.b"]
    unit = units(rendered)["shop-unified"]
    assert unit.processes == ("web", "migrate", "worker")
    assert unit.singletons == ("worker",)
    assert unit.needs == {"db": "service_healthy"}
    assert unit.secrets == ("key",)
    assert unit.slot_install == {
        "a": {"supervisor.json": "/opt/shop/config/unified-a/supervisor.json"},
        "b": {"supervisor.json": "/opt/shop/config/unified-b/supervisor.json"},
    }
    assert rendered.rendering.files["supervisor.json"].install_as is None
    mounts = {m["target"]: m["source"] for m in rendered.services["unified.b"]["volumes"]}
    assert mounts["/etc/process_supervisor"] == "/opt/shop/config/unified-b"
    assert mounts["/run/supervisor"] == "/run/moorage/shop/unified-b"
    assert mounts["/var/lib/supervisor"] == "/opt/shop/data/unified-state-b"
    assert mounts["/app/data"] == "/opt/shop/data/unified"
    aliases = rendered.services["unified.a"]["networks"]["front"]["aliases"]
    assert aliases == ["unified", "web", "migrate", "worker"]
    paths = {fact.path for fact in rendered.rendering.directories}
    for part in ("config/unified-{}", "data/unified-state-{}"):
        assert {f"/opt/shop/{part.format(slot)}" for slot in "ab"} <= paths
    assert {f"/run/moorage/shop/unified-{slot}" for slot in "ab"} <= paths
    assert rendered.rendering.loopback == tuple(f"shop/unified/1/{slot}/5000" for slot in "ab")
    read = compose_config(rendered.text)["services"]
    assert read["unified.a"]["ports"][0]["host_ip"] == "127.0.0.1"


def test_processes_are_not_the_containers_configuration(shop: Callable[..., Any]) -> None:
    text = SHOP.replace("networks: {front: {aliases: [www]}}", "networks: [front]")
    before = shop(text, topology="unified")
    after = shop(text.replace("command: [web]", "command: [web, -v]"), topology="unified")
    assert config(before, "shop-unified") == config(after, "shop-unified")
    assert before.supervisor != after.supervisor
    other = shop(text, topology="unified", image_refs={"unified": "moorage/shop-unified:2"})
    assert config(before, "shop-unified") != config(other, "shop-unified")


def test_one_direct_port_keeps_the_unified_container_in_its_place(
    shop: Callable[..., Any],
) -> None:
    text = (
        "x-moorage: {unified: {build: .}}\n"
        "services: {dns: {build: ., command: [dns], ports: ['53:53/udp']},"
        " web: {build: ., command: [web], ports: ['80:80']}}"
    )
    rendered = shop(text, topology="unified")
    unit = units(rendered)["shop-unified"]
    assert unit.keys == {"": "unified"}
    assert list(unit.peers[""]) == ["80"]
    assert unit.slot_install == {
        "": {"supervisor.json": "/opt/shop/config/unified/supervisor.json"}
    }
    assert [note for note in rendered.rendering.notes if "replaced in place" in note] == [
        "the unified container is replaced in place at an update, with a gap: dns has a port of "
        "the host or an address of its own"
    ]


def test_data_services_are_the_same_in_both_topologies(shop: Callable[..., Any]) -> None:
    text = SHOP.replace("networks: {front: {aliases: [www]}}", "networks: [front]")
    found = {config(shop(text, topology=name), "shop-db") for name in ("unified", "containers")}
    assert len(found) == 1


@pytest.mark.parametrize(
    ("own", "limit"),
    [
        ("", 4096),
        ("pids_limit: 50", 50),
        ("pids_limit: -1", -1),
        ("deploy: {resources: {limits: {pids: 7, memory: 64M}}}", 7),
        ("deploy: {resources: {limits: {memory: 64M}}}", 4096),
    ],
)
def test_every_container_has_a_limit_of_processes(
    render: Callable[..., Any], own: str, limit: int
) -> None:
    text = "services:\n  web:\n    image: web:1\n"
    found = render(text + (f"    {own}\n" if own else ""), topology="containers")
    limits = [e["deploy"]["resources"]["limits"]["pids"] for e in found.services.values()]
    assert set(limits) == {limit}


# What is known of these containers: another value would replace every one of them at
# the next deploy, although nothing of theirs changed.
CONFIGS = {
    "containers": {
        "shop-db": "4dd9d27abee7c236",
        "shop-migrate": "bf2fa857a457621c",
        "shop-web": "44b72511bea2a384",
        "shop-worker": "dc8208ec5f69845c",
    },
    "unified": {"shop-db": "4dd9d27abee7c236", "shop-unified": "a79708dcd0f92957"},
}


@pytest.mark.parametrize("topology", CONFIGS)
def test_an_update_of_moorage_replaces_no_container(
    shop: Callable[..., Any], topology: str
) -> None:
    refs = {name: f"moorage/shop-{name}:1" for name in ("web", "migrate", "worker", "unified")}
    routes = [{"path": "/", "service": "web"}]
    found = units(
        shop(topology=topology, image_refs=refs, domains=["shop.example.com"], routes=routes)
    )
    assert {name: unit.config for name, unit in found.items()} == CONFIGS[topology]
