"""The unified topology: what becomes of a description."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moorage.compose import load_stack
from moorage.compose.errors import ComposeError, Problem
from moorage.release.digest import digest
from moorage.render import Settings, render_stack, topologies
from process_supervisor.config.settings import Config, ProcessConfig
from process_supervisor.service.policy import Action, decide, remembered

STACKS = Path(__file__).parents[3] / "stacks"

SHOP = """\
x-moorage: {unified: {build: {context: ., target: unified, additional_contexts: {lib: ../lib}}}}
x-own: &own {user: "10001:10001", read_only: true, tmpfs: ["/tmp:size=64m"], restart: always}
services:
  db:
    image: mariadb:11.8
    user: "10002:10002"
    environment: {PASSWORD_FILE: /run/secrets/password, PRICE: "5$$"}
    secrets: [password]
    volumes: ["db-data:/var/lib/mysql"]
    ports: ["127.0.0.1:3306:3306"]
    healthcheck: {test: [CMD, ping], interval: 10s}
    deploy: {resources: {limits: {memory: 512M, cpus: "1.5"}}}
  migrate:
    <<: *own
    build: .
    command: migrate up
    restart: on-failure:3
    depends_on: {db: {condition: service_healthy}}
    secrets: [password]
    deploy: {resources: {limits: {memory: 100M}}}
  web:
    <<: *own
    build: {context: ., target: web}
    entrypoint: [python3, -m]
    command: [web, --port, "5000"]
    working_dir: /srv
    environment: {DATABASE: db, DOLLAR: a$$b, UNSET: }
    expose: [9000]
    ports: ["8080:5000"]
    stop_signal: SIGINT
    stop_grace_period: 20s
    depends_on:
      migrate: {condition: service_completed_successfully}
      db: {condition: service_started}
    healthcheck:
      test: curl -fsS http://127.0.0.1:5000/health || exit 1
      interval: 5s
      start_period: 30s
    labels: {tier: front}
    configs: [{source: conf, target: /etc/web.conf}]
    deploy: {resources: {limits: {memory: 200M}}}
  worker:
    <<: *own
    build: .
    command: [worker]
    volumes: ["work:/var/lib/worker"]
    depends_on: {web: {condition: service_healthy}}
    stop_grace_period: 30s
    healthcheck: {test: [CMD, worker, check]}
    deploy: {resources: {limits: {memory: 300M}}}
    x-moorage: {singleton: true, restart_limit: 4, restart_window: 2m, unhealthy: ignore}
volumes: {db-data: , work: {x-moorage: {mode: "0700"}}}
secrets: {password: {file: ./password, x-moorage: {generate: {length: 48}}}}
configs: {conf: {content: "a = 5"}}
"""


def test_own_services_are_processes(render: Callable[..., Any]) -> None:
    shop = render(SHOP)
    assert list(shop.services) == ["db", "unified"]
    assert list(shop.processes) == ["migrate", "web", "worker"]
    config = Config(shop.supervisor)  # the supervisor's own reading of it
    assert config.socket == "/run/supervisor/control.sock"
    assert config.pids_file == "/app/data/pids.env"
    assert str(config.state_dir) == "/var/lib/supervisor"


def test_a_process(render: Callable[..., Any]) -> None:
    web = render(SHOP).processes["web"]
    assert web["command"] == ["python3", "-m", "web", "--port", "5000"]
    assert web["working_dir"] == "/srv"
    assert web["environment"] == {"DATABASE": "db", "DOLLAR": "a$b"}
    assert (web["autorestart"], web["stop_signal"], web["stop_grace"]) == ("always", "INT", 20.0)
    assert web["depends_on"] == {"migrate": "completed"}
    assert web["ports"] == [5000, 9000]
    assert web["labels"] == {"tier": "front"}
    assert web["stdout_logfile"] == "/app/logs/web.log"
    assert web["health_check"] == {
        "type": "http",
        "url": "http://127.0.0.1:5000/health",
        "interval": 5.0,
        "timeout": 30.0,
        "retries": 3,
        "start_period": 30.0,
        "start_interval": 5.0,
        "restart_when_unhealthy": True,
    }


def test_restart_policies(render: Callable[..., Any]) -> None:
    processes = render(SHOP).processes
    assert processes["migrate"]["autorestart"] == "on-failure"
    assert processes["migrate"]["restart_limit"] == 3
    worker = processes["worker"]
    assert (worker["restart_limit"], worker["restart_reset_seconds"]) == (4, 120.0)
    assert worker["health_check"]["command"] == ["worker", "check"]
    assert worker["health_check"]["restart_when_unhealthy"] is False
    assert worker["depends_on"] == {"web": "healthy"}


@pytest.mark.parametrize("word", ["always", "unless-stopped", "on-failure", '"on-failure:0"'])
def test_without_a_limit_in_the_file_there_is_none(render: Callable[..., Any], word: str) -> None:
    text = SHOP.replace("restart: always", f"restart: {word}", 1)
    text = text.replace("restart_limit: 4, restart_window: 2m, ", "")
    worker = render(text).processes["worker"]
    assert worker["restart_limit"] is None
    assert worker["restart_reset_seconds"] == 10
    pauses = []
    for count in range(20):
        decision = decide(ProcessConfig(**_settings(worker)), count, True)
        assert decision.action is Action.RESTART
        pauses.append(decision.delay)
    assert pauses[:3] == pytest.approx([0.0, 0.04, 0.08])
    assert pauses[-1] == pytest.approx(60.0)


@pytest.mark.parametrize("limit", [1, 3, 40])
def test_a_limit_in_the_file_is_reached(render: Callable[..., Any], limit: int) -> None:
    text = SHOP.replace("restart: always", f'restart: "on-failure:{limit}"', 1)
    text = text.replace("restart_limit: 4, restart_window: 2m, ", "")
    rules = ProcessConfig(**_settings(render(text).processes["worker"]))
    count = 0
    # However long it runs in between, as the engine counts.
    while (decision := decide(rules, remembered(rules, count, 1e6), True)).action is Action.RESTART:
        count += 1
    assert count == limit
    assert decision.reason == f"{limit} restarts reached restart_limit"


def _settings(process: dict[str, Any]) -> dict[str, Any]:
    keys = ("name", "command", "autorestart")
    found = {key: process[key] for key in process if key in keys or key.startswith("restart_")}
    return {**found, "restart_jitter": 0}


def test_no_restart_means_never(render: Callable[..., Any]) -> None:
    text = SHOP.replace(", restart: always", "")
    assert render(text).processes["worker"]["autorestart"] == "never"


def test_deploy_restart_policy(render: Callable[..., Any]) -> None:
    policy = (
        "deploy: {restart_policy: {condition: on-failure, delay: 2s, max_attempts: 7, window: 1m}}"
    )
    text = SHOP.replace(", restart: always", "")
    text = text.replace("    command: [worker]\n", f"    command: [worker]\n    {policy}\n")
    text = text.replace("    deploy: {resources: {limits: {memory: 300M}}}\n", "")
    text = text.replace("restart_limit: 4, restart_window: 2m, ", "")
    worker = render(text).processes["worker"]
    assert (worker["autorestart"], worker["restart_delay"]) == ("on-failure", 2.0)
    assert (worker["restart_limit"], worker["restart_reset_seconds"]) == (7, 60.0)


def test_the_unified_container(render: Callable[..., Any]) -> None:
    shop = render(SHOP, image_refs={"unified": "moorage/shop-unified:abc"})
    unified = shop.services["unified"]
    assert unified["image"] == "moorage/shop-unified:abc"
    assert unified["container_name"] == "shop-unified"
    assert (unified["user"], unified["read_only"]) == ("10001:10001", True)
    assert unified["cap_drop"] == ["ALL"]
    assert unified["security_opt"] == ["no-new-privileges:true"]
    assert unified["tmpfs"] == ["/tmp:size=64m"]
    assert unified["restart"] == "unless-stopped"
    assert unified["extra_hosts"] == ["migrate=127.0.0.1", "web=127.0.0.1", "worker=127.0.0.1"]
    assert unified["networks"] == {"default": {"aliases": ["migrate", "web", "worker"]}}
    # The strictest of migrate's and web's conditions.
    (needs,) = (unit.needs for unit in shop.rendering.units if unit.service == "unified")
    assert needs == {"db": "service_healthy"}
    assert unified["healthcheck"]["test"] == [
        "CMD",
        "python3",
        "-m",
        "process_supervisor",
        "health",
    ]
    assert unified["labels"]["moorage.stack"] == "shop"
    assert unified["labels"]["moorage.service"] == "unified"
    assert unified["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


def test_the_container_outlives_its_slowest_chain(render: Callable[..., Any]) -> None:
    # worker 30 s, then web 20 s, then migrate 10 s, and 5 s to spare.
    assert render(SHOP).services["unified"]["stop_grace_period"] == "65s"


def test_mounts_are_the_stacks_directories(render: Callable[..., Any]) -> None:
    shop = render(SHOP)
    unified = {mount["target"]: mount for mount in shop.services["unified"]["volumes"]}
    assert {target: mount["source"] for target, mount in unified.items()} == {
        "/etc/process_supervisor": "/opt/shop/config/unified",
        "/run/supervisor": "/run/moorage/shop/unified",
        "/var/lib/supervisor": "/opt/shop/data/unified-state",
        "/app/data": "/opt/shop/data/unified",
        "/app/logs": "/opt/shop/logs",
        "/run/secrets/password": "/opt/shop/secrets/for/10001/password",
        "/etc/web.conf": "/opt/shop/config/files/conf",
        "/var/lib/worker": "/opt/shop/data/work",
    }
    assert unified["/run/secrets/password"]["read_only"] is True
    db = {mount["target"]: mount["source"] for mount in shop.services["db"]["volumes"]}
    assert db["/run/secrets/password"] == "/opt/shop/secrets/for/10002/password"
    assert db["/var/lib/mysql"] == "/opt/shop/data/db-data"


def test_a_part_of_a_volume(render: Callable[..., Any]) -> None:
    mount = "{type: volume, source: work, target: /part, volume: {subpath: a/b}}"
    text = SHOP.replace('volumes: ["work:/var/lib/worker"]', f"volumes: [{mount}]")
    mounts = {m["target"]: m["source"] for m in render(text).services["unified"]["volumes"]}
    assert mounts["/part"] == "/opt/shop/data/work/a/b"


WHOLE = "{type: volume, source: work, target: /whole}"
READ = "{type: volume, source: work, target: /whole, read_only: true}"
PART = "{type: volume, source: work, target: /part, volume: {subpath: SUB}}"
ABOVE = "{type: volume, source: work, target: /above, volume: {subpath: a}}"
BESIDE = "{type: volume, source: work, target: /beside, volume: {subpath: a/bc}}"


@pytest.mark.parametrize(
    ("sub", "other", "refused"),
    [
        ("a/b", WHOLE, "the engine would follow a link that b can put there"),
        ("a/b", ABOVE, "the engine would follow a link that b can put there"),
        ("a//b/", ABOVE, "the engine would follow a link that b can put there"),
        ("a/b", READ, ""),
        ("a/b", BESIDE, ""),
        ("a/b", PART.replace("SUB", "a/./b"), ""),
        ("../x", READ, "leads out of the volume"),
        ("a/../../x", READ, "leads out of the volume"),
        ("..", READ, "leads out of the volume"),
    ],
)
def test_a_part_of_what_an_application_writes_is_refused(
    render: Callable[..., Any], refused: str, sub: str, other: str
) -> None:
    text = (
        "services:\n"
        f"  a: {{image: x, user: '5:5', volumes: [{PART.replace('SUB', sub)}]}}\n"
        f"  b: {{image: x, user: '5:5', volumes: [{other.replace('SUB', sub)}]}}\n"
        "volumes: {work: }\n"
    )
    if not refused:
        render(text)
        return
    with pytest.raises(ComposeError, match=refused):
        render(text)


def test_nothing_is_dropped_without_a_note(render: Callable[..., Any]) -> None:
    text = SHOP.replace("condition: service_healthy}", "condition: service_healthy, restart: true}")
    assert render(SHOP).rendering.notes == ()
    assert [note.split(" ")[0] for note in render(text).rendering.notes] == [
        "services.migrate.depends_on.db.restart",
        "services.worker.depends_on.web.restart",
    ]


def test_a_process_has_nothing_kept_for_it_and_is_told_so(render: Callable[..., Any]) -> None:
    more = "reservations: {cpus: '1.0', memory: 1G}, limits: {memory: 300M}"
    shop = render(SHOP.replace("limits: {memory: 300M}", more))
    assert [note.split(":")[0] for note in shop.rendering.notes] == [
        "services.worker.deploy.resources.reservations has no effect"
    ]
    assert "reservations" not in shop.services["unified"]["deploy"]["resources"]


def test_limits_are_summed(render: Callable[..., Any]) -> None:
    mebibyte = 1024**2
    limits = render(SHOP).services["unified"]["deploy"]["resources"]["limits"]
    assert limits == {"memory": str((100 + 200 + 300 + 32) * mebibyte), "pids": 4096}
    given = render(SHOP, limits={"unified": {"memory": "1g", "cpus": 2}, "web": {"memory": "1m"}})
    limits = given.services["unified"]["deploy"]["resources"]["limits"]
    assert limits == {"cpus": "2", "memory": str(1024 * mebibyte), "pids": 4096}


def test_a_missing_limit_leaves_the_sum_open_and_says_so(render: Callable[..., Any]) -> None:
    text = SHOP.replace("    deploy: {resources: {limits: {memory: 300M}}}\n", "")
    shop = render(text)
    assert shop.services["unified"]["deploy"]["resources"]["limits"] == {"pids": 4096}
    assert "no memory limit of the unified container: worker names none" in shop.rendering.notes


def test_facts(render: Callable[..., Any]) -> None:
    facts = render(SHOP).rendering.to_dict()
    assert [
        (Path(v["path"]).name, v["owner"], v["group"], v["mode"]) for v in facts["volumes"]
    ] == [
        ("db-data", 10002, 10002, "0750"),
        ("work", 10001, 10001, "0700"),
    ]
    assert facts["secrets"] == [
        {
            "name": "password",
            "users": [10001, 10002],
            "generate": 48,
            "source": {"file": "password"},
            "optional": False,
        }
    ]
    assert facts["builds"] == [
        {
            "key": "unified",
            "image": "moorage/shop-unified",
            "build": {
                "context": ".",
                "dockerfile": "Dockerfile",
                "target": "unified",
                "additional_contexts": {"lib": "../lib"},
            },
        }
    ]
    assert facts["images"] == ["mariadb:11.8"]
    assert [(p["service"], p["host_ip"], p["port"], p["target"]) for p in facts["ports"]] == [
        ("db", "127.0.0.1", 3306, 3306),
        ("web", "", 8080, 5000),
    ]
    kinds = {s["name"]: (s["kind"], s["containers"], s["one_off"]) for s in facts["services"]}
    assert kinds["db"] == ("container", ["shop-db"], False)
    assert kinds["migrate"] == ("process", ["shop-unified"], True)
    assert facts["unresolved"] == ["mariadb:11.8", "unified"]


def test_configs_are_files_of_the_release(render: Callable[..., Any]) -> None:
    first = render(SHOP)
    file = first.rendering.files["configs/conf"]
    assert (file.content, file.install_as) == ("a = 5", "/opt/shop/config/files/conf")
    other = render(SHOP.replace("a = 5", "a = 6"))
    label = "moorage.config.conf"
    # Otherwise the container would go on with the old file.
    assert first.services["unified"]["labels"][label] != other.services["unified"]["labels"][label]


def test_docker_compose_reads_what_was_meant(
    render: Callable[..., Any], compose_config: Callable[[str], dict[str, Any]]
) -> None:
    tricky = '"1e3", B: "0800", C: "0o17", D: "yes", E: "2020-01-01", F: "~", G: "a: b # c"'
    text = SHOP.replace('PRICE: "5$$"', f'PRICE: "5$$", A: {tricky}, H: "two\\nlines", I: ""')
    read = compose_config(render(text).text)
    environment = read["services"]["db"]["environment"]
    assert environment["PRICE"].replace("$$", "$") == "5$"
    expected = ["1e3", "0800", "0o17", "yes", "2020-01-01", "~", "a: b # c", "two\nlines", ""]
    assert [environment[key] for key in "ABCDEFGHI"] == expected
    assert read["networks"]["default"]["name"] == "shop_default"
    assert read["services"]["db"]["deploy"]["resources"]["limits"]["cpus"] == 1.5


def test_publish_takes_the_place_of_ports(render: Callable[..., Any]) -> None:
    shop = render(SHOP, publish={"db": [], "web": ["192.0.2.1:80:5000", "8443:5443/tcp"]})
    assert "ports" not in shop.services["db"]
    assert shop.services["unified"]["ports"] == [
        {"target": 5000, "published": "80", "host_ip": "192.0.2.1", "protocol": "tcp"},
        {"target": 5443, "published": "8443", "protocol": "tcp"},
    ]
    assert [(p.service, p.host_ip, p.port) for p in shop.rendering.ports] == [
        ("web", "192.0.2.1", 80),
        ("web", "", 8443),
    ]


def test_settings_reach_the_files(render: Callable[..., Any]) -> None:
    shop = render(
        SHOP,
        environment={"web": {"LOG": "debug", "WORKERS": 4}, "db": {"EXTRA": True}},
        dns=["192.0.2.53"],
        log_max_size="1m",
        process_log_max_bytes=5000,
        base_dir="/srv/shop",
        image_refs={"mariadb:11.8": "moorage/mariadb:1", "unified": "u:1"},
    )
    assert shop.processes["web"]["environment"]["WORKERS"] == "4"
    assert shop.processes["web"]["log_max_bytes"] == 5000
    assert shop.services["db"]["environment"]["EXTRA"] == "true"
    assert shop.services["db"]["image"] == "moorage/mariadb:1"
    assert shop.services["db"]["dns"] == shop.services["unified"]["dns"] == ["192.0.2.53"]
    assert shop.services["db"]["logging"]["options"]["max-size"] == "1m"
    assert shop.services["db"]["volumes"][0]["source"] == "/srv/shop/data/db-data"
    assert shop.rendering.unresolved == ()


def test_replicas_of_a_worker(render: Callable[..., Any]) -> None:
    text = SHOP.replace("singleton: true, ", "").replace(
        "limits: {memory: 300M}}}", "limits: {memory: 300M}}, replicas: 2}"
    )
    shop = render(text)
    assert list(shop.processes) == ["migrate", "web", "worker", "worker-2"]
    assert "worker=127.0.0.1" in shop.services["unified"]["extra_hosts"]
    limits = shop.services["unified"]["deploy"]["resources"]["limits"]
    assert limits["memory"] == str((100 + 200 + 600 + 32) * 1024**2)
    Config(shop.supervisor)


def test_a_stack_of_data_services_only(render: Callable[..., Any]) -> None:
    shop = render("services: {cache: {image: redis}}")
    assert list(shop.services) == ["cache"]
    files = ["compose.yaml", "compose.json", "gateway.service"]
    assert list(shop.rendering.files) == files


@pytest.mark.parametrize("path", sorted(STACKS.glob("*/compose.yml")), ids=lambda p: p.parent.name)
def test_our_stacks(path: Path, compose_config: Callable[[str], dict[str, Any]]) -> None:
    stack = load_stack(path.parent)
    rendering = render_stack(stack, Settings.parse({}, stack=stack.name))
    read = compose_config(rendering.files["compose.yaml"].content)
    data = {name for name, service in stack.services.items() if service.is_data}
    assert set(read["services"]) == {"unified", *data}
    # Reservations are for where there is an engine that keeps them; what has no limit says so.
    vain = [note for note in rendering.notes if "has no effect" in note]
    assert [note for note in vain if ".reservations" not in note] == []


def test_the_same_input_gives_the_same_bytes_on_any_machine(tmp_path: Path) -> None:
    hashes = set()
    for place in ("one", "elsewhere/two"):
        directory = tmp_path / place / "shop"
        directory.mkdir(parents=True)
        (directory / "compose.yml").write_text(SHOP, encoding="utf-8")
        stack = load_stack(directory)
        rendering = render_stack(stack, Settings.parse({}, stack="shop"))
        hashes.add(digest(rendering.to_dict(), 64))
        assert str(tmp_path) not in str(rendering.to_dict())
        shutil.rmtree(directory)
    assert len(hashes) == 1


def test_topologies_by_name() -> None:
    assert [topology.name for topology in topologies()] == ["containers", "host", "unified"]
    stack = load_stack(STACKS / "tg2em")
    with pytest.raises(ComposeError, match=r"settings\.topology: .* did you mean 'unified'"):
        render_stack(stack, Settings.parse({"topology": "unifed"}, stack.name))


PANEL = """
x-moorage: {unified: {build: .}}
services:
  web:
    build: .
    command: [web]
    environment: {MOORAGE_CONTROL_SOCKET: /run/supervisor/control.sock}
"""
DATA = "  db: {image: mariadb}\n"


def test_whoever_controls_processes_has_the_data_services_beside_them(
    render: Callable[..., Any],
) -> None:
    shop = render(PANEL + DATA)
    own = next(entry for key, entry in shop.services.items() if key != "db")
    supervisor, gateway = "/run/supervisor/control.sock", "/run/moorage-control/control.sock"
    both = f"unix+supervisor://{supervisor},unix+http://{gateway}"
    assert shop.processes["web"]["environment"] == {"MOORAGE_CONTROL_SOCKET": both}
    (mount,) = [m for m in own["volumes"] if "gateway" in m["source"]]
    assert mount["source"] == "/run/moorage/shop/gateway"
    assert (mount["target"], mount["read_only"]) == ("/run/moorage-control", True)
    assert not any("gateway" in str(m) for m in shop.services["db"].get("volumes", []))
    directory = shop.rendering.directories[-1]
    assert (directory.path, directory.owner, directory.group) == (
        "/run/moorage/shop/gateway",
        10003,
        10001,
    )
    assert "--stack shop" in shop.rendering.files["gateway.service"].content


@pytest.mark.parametrize(
    "text",
    [PANEL, PANEL.replace("MOORAGE_CONTROL_SOCKET", "OTHER") + DATA],
    ids=["no data", "no panel"],
)
def test_a_unified_container_that_needs_no_gateway_stays_as_it_is(
    render: Callable[..., Any], text: str
) -> None:
    shop = render(text)
    value = "/run/supervisor/control.sock"
    assert list(shop.processes["web"]["environment"].values()) == [value]
    assert "gateway" not in str(next(v for k, v in shop.services.items() if k != "db"))
    groups = [d.group for d in shop.rendering.directories if d.path.endswith("/gateway")]
    assert groups == ([0] if "db" in text else [])


@pytest.mark.parametrize("above", ["/srv/x", "//srv/x", "/srv/./x/"])
def test_a_path_of_the_host_below_one_that_an_application_writes_is_refused(
    refused: Callable[..., dict[str, Problem]], above: str
) -> None:
    text = (
        f"services: {{a: {{image: x, user: '5:5', volumes: ['{above}:/a']}},"
        " b: {image: x, user: '5:5', volumes: ['/srv/x/sub:/b']}}"
    )
    found = refused(text, topology="containers")["services.b.volumes[0]"]
    assert "the engine would follow a link that a can put there" in found.message
