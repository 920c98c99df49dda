"""What Supervisor is told of a stack without containers."""

from __future__ import annotations

import configparser
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

STACK = """
name: coinex_customer_chatbot
x-moorage:
  host: {requirements: requirements.txt, sources: {app: app}}
services:
  server:
    build: .
    command: ["web", "$${MOORAGE_LISTEN}:$${MOORAGE_PORT_5000}"]
    user: "10001:10001"
    ports: ["80:5000"]
    stop_signal: SIGINT
    stop_grace_period: 1500ms
    restart: always
  task: {build: ., command: [task], user: "10001:10001", deploy: {replicas: REPLICAS}}
  migrate: {build: ., command: [migrate], user: "10001:10001", restart: on-failure}
  db: {image: "postgres:17", user: "10004:10004", volumes: ["db:/var/lib/postgresql/data"]}
volumes: {db: {}}
"""
NAME = "coinex_customer_chatbot"
Programs = Mapping[str, Mapping[str, str]]


def programs(render: Callable[..., Any], text: str = STACK, replicas: int = 2) -> Programs:
    files = rendered(render, text, replicas)
    found = configparser.RawConfigParser()
    found.read_string(files["supervisor.conf"].content)
    return {name.removeprefix("program:"): found[name] for name in found.sections()}


def rendered(render: Callable[..., Any], text: str, replicas: int) -> Any:
    text = text.replace("REPLICAS", str(replicas))
    asked = {"topology": "host", "process_manager": "supervisor", "behind_edge": True}
    return render(text, **asked).rendering.files


def test_names_files_and_logs_are_those_of_the_document(render: Callable[..., Any]) -> None:
    files = rendered(render, STACK, 2)
    found = programs(render)

    assert files["supervisor.conf"].install_as == f"/etc/supervisor/conf.d/{NAME}.conf"
    assert {f"{NAME}_server", f"{NAME}_task_00", f"{NAME}_task_01"} <= found.keys()
    for name in (f"{NAME}_server", f"{NAME}_task_00"):
        assert found[name]["stdout_logfile"] == f"/var/log/supervisor/{name}.log"
    second = found[f"{NAME}_server_b"]
    assert second["stdout_logfile"] == f"/var/log/supervisor/{NAME}_server.log"
    group = found[f"group:{NAME}"]["programs"].split(",")
    assert set(group) == found.keys() - {f"group:{NAME}"}


def test_two_services_have_no_program_of_one_name(refused: Callable[..., Any]) -> None:
    text = STACK.replace("REPLICAS", "2").replace("  migrate:", "  server_b:")
    asked = {"topology": "host", "process_manager": "supervisor", "behind_edge": True}
    found = refused(text, **asked)
    assert f"{NAME}_server_b" in found["services.server_b"].message


def test_a_program_is_the_launcher_and_starts_by_no_other_hand(render: Callable[..., Any]) -> None:
    server = programs(render)[f"{NAME}_server"]

    path = f"/opt/{NAME}/processes/{NAME}_server.json"
    assert server["command"] == f"/usr/bin/python3 -P -m moorage.launch --pace {path}"
    assert (server["autostart"], server["autorestart"]) == ("false", "unexpected")
    assert (server["stopsignal"], server["stopwaitsecs"]) == ("INT", "2")
    assert server["exitcodes"] == "78"


def test_restart_policies_are_kept(render: Callable[..., Any]) -> None:
    found = programs(render)

    assert found[f"{NAME}_migrate"]["exitcodes"] == "0,78"
    assert found[f"{NAME}_task_00"]["autorestart"] == "false"


def test_more_workers_change_nothing_of_the_group(render: Callable[..., Any]) -> None:
    def text(replicas: int) -> str:
        content: str = rendered(render, STACK, replicas)["supervisor.conf"].content
        return content

    assert text(1) == text(2) == text(8)
    assert text(9) != text(8)
    assert f"program:{NAME}_task_08" in text(9)


def test_a_server_that_says_how_many_it_is_grows_without_a_change_too(
    render: Callable[..., Any],
) -> None:
    one = STACK.replace("    stop_signal", "    deploy: {replicas: 1}\n    stop_signal")
    three = one.replace("replicas: 1", "replicas: 3")

    assert programs(render, one) == programs(render, three)
    assert {f"{NAME}_server_00", f"{NAME}_server_07_b"} <= programs(render, one).keys()


def test_one_that_does_not_keeps_its_name_with_others_beside_it(
    render: Callable[..., Any],
) -> None:
    asked = {"topology": "host", "process_manager": "supervisor", "behind_edge": True}
    text = STACK.replace("REPLICAS", "2")
    content = render(text, **asked, replicas={"server": 2}).rendering.files["supervisor.conf"]
    names = [f"{NAME}_server", f"{NAME}_server_b", f"{NAME}_server_01", f"{NAME}_server_01_b"]
    assert [name for name in names if f"[program:{name}]" in content.content] == names


def test_a_change_of_what_runs_changes_nothing_of_the_group(render: Callable[..., Any]) -> None:
    other = STACK.replace("[task]", "[other]").replace("[web]", "[other]")

    assert programs(render, other) == programs(render)


def test_data_services_are_systemds(render: Callable[..., Any]) -> None:
    files = rendered(render, STACK, 2)
    processes = json.loads(files["processes.json"].content)

    assert processes["db"]["manager"] == "systemd"
    assert "systemd/db.service" in files
    assert {p["manager"] for k, p in processes.items() if k != "db"} == {"supervisor"}
    after = files["supervisor-after.conf"]
    assert f"After=postgresql@17-{NAME}.service" in after.content
    assert after.install_as == f"/etc/systemd/system/supervisor.service.d/{NAME}.conf"


@pytest.mark.parametrize("name", ["SIGTREM", "SIGRTMIN+3", "99"])
def test_a_signal_that_supervisor_cannot_read_is_refused(
    refused: Callable[..., Any], name: str
) -> None:
    text = STACK.replace("REPLICAS", "2").replace("SIGINT", f'"{name}"')
    asked = {"topology": "host", "process_manager": "supervisor", "behind_edge": True}
    assert "no signal" in refused(text, **asked)["services.server.stop_signal"].message
