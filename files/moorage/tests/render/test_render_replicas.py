"""The operator's number of replicas: what it makes, what it leaves alone, and who may have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from moorage.compose.errors import ComposeError
from moorage.release.manifest import Unit
from moorage.settings.readers import Unusable

STACK = """
name: shop
x-moorage:
  unified: {build: {context: ., target: unified}}
services:
  web: {build: ., command: [web], ports: ["80:8000"], depends_on: [jobs]}
  jobs:
    build: .
    command: [jobs]
    deploy: {replicas: 2}
  page:
    build: .
    command: [page]
    depends_on: {jobs: {condition: service_started, restart: true}}
  beat: {build: ., command: [beat], x-moorage: {singleton: true}}
  migrate: {build: ., command: [migrate]}
  shell: {build: ., command: [sh], profiles: [tools]}
  named: {build: ., command: [n], container_name: named}
  still: {build: ., command: [s], networks: {n: {ipv4_address: 172.20.0.9}}}
  inside: {build: ., command: [i], ports: ["127.0.0.1:9:9"]}
  db: {image: mariadb, depends_on: {}}
  last:
    build: .
    command: [last]
    depends_on: {migrate: {condition: service_completed_successfully}}
networks:
  n: {ipam: {config: [{subnet: 172.20.0.0/16}]}}
"""
SMALL = """
name: shop
x-moorage:
  unified: {build: {context: ., target: unified}}
services:
  web: {build: ., command: [web], ports: ["80:8000"], depends_on: [jobs]}
  jobs: {build: ., command: [jobs], stop_grace_period: 1m}
  page:
    build: .
    command: [page]
    depends_on: {jobs: {condition: service_started, restart: true}}
"""


def units(rendered: Any) -> dict[str, Unit]:
    return {unit.name: unit for unit in rendered.rendering.units}


@pytest.mark.parametrize("topology", ["containers", "unified"])
def test_the_setting_takes_the_place_of_the_files_number(
    render: Callable[..., Any], topology: str
) -> None:
    text = SMALL.replace("command: [jobs],", "command: [jobs], scale: 5,")
    made = render(text, topology=topology, behind_edge=True, replicas={"jobs": "2"})
    (fact,) = [service for service in made.rendering.services if service.name == "jobs"]
    assert fact.replicas == 2
    there = (
        list(made.processes) if topology == "unified" else [u.service for u in units(made).values()]
    )
    assert len([name for name in there if name.startswith("jobs")]) == 2


def test_containers_that_stay_are_the_same_whatever_the_number(render: Callable[..., Any]) -> None:
    one, three = (
        units(render(SMALL, topology="containers", behind_edge=True, replicas=wanted))
        for wanted in ({"web": 1, "jobs": 1}, {"web": 3, "jobs": 3})
    )
    assert three.keys() - one.keys() == {
        *("shop-web-2", "shop-web-3", "shop-jobs-2", "shop-jobs-3"),
    }
    # Nor is who is replaced with it, or waits for it.
    assert {name: three[name] for name in one} == one
    assert three["shop-jobs-3"].stop_seconds == 60
    assert {unit.replica for unit in three.values() if unit.service == "web"} == {1, 2, 3}


def test_a_container_of_processes_stays_the_same_whatever_the_number(
    render: Callable[..., Any],
) -> None:
    one, three = (
        render(SMALL, topology="unified", behind_edge=True, replicas={"jobs": n}) for n in (1, 3)
    )
    assert three.processes.keys() - one.processes.keys() == {"jobs-2", "jobs-3"}
    (before,), (after,) = units(one).values(), units(three).values()
    assert (before.config, after.processes) == (
        after.config,
        ("web", "jobs", "jobs-2", "jobs-3", "page"),
    )
    # It waits for all of them when it starts; a running one takes that over as it is.
    assert [n for n in one.processes if one.processes[n] != three.processes[n]] == ["web", "page"]
    assert three.processes["web"]["depends_on"].keys() == {"jobs", "jobs-2", "jobs-3"}


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("beat", "it must run once"),
        ("migrate", "others wait until it has ended"),
        ("shell", "it is started by hand"),
        ("named", "container_name names one of them; remove container_name"),
        ("still", "they would share an address"),
        ("inside", "they would share a host port"),
        ("db", "it runs a ready image, and several would share its data"),
    ],
)
def test_what_runs_once_is_refused_with_the_reason(
    refused: Callable[..., Any], service: str, said: str
) -> None:
    wrong = refused(STACK, topology="containers", behind_edge=True, replicas={service: 3})
    assert list(wrong) == [f"settings.replicas.{service}"]
    problem = str(wrong[f"settings.replicas.{service}"])
    assert f"3 containers of it cannot run: {said}" in problem


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (
            "web",
            "it listens on a port, which they would share; let it have more workers of its own",
        ),
        ("beat", "it must run once"),
        ("migrate", "others wait until it has ended"),
        ("named", "container_name names one of them"),
        ("db", "it runs a ready image, and several would share its data"),
    ],
)
def test_in_one_container_what_listens_has_its_own_workers(
    refused: Callable[..., Any], service: str, said: str
) -> None:
    text = STACK.replace(", networks: {n: {ipv4_address: 172.20.0.9}}", "")
    wrong = refused(text, topology="unified", behind_edge=True, replicas={service: 3})
    assert f"3 {'containers' if service == 'db' else 'processes'} of it cannot run: {said}" in str(
        wrong[f"settings.replicas.{service}"]
    )


def test_one_of_each_is_no_demand(render: Callable[..., Any]) -> None:
    once = dict.fromkeys(("beat", "migrate", "named", "still", "inside", "db"), 1)
    made = render(STACK, topology="containers", behind_edge=True, replicas=once)
    assert {"shop-jobs", "shop-jobs-2"} < units(made).keys()


def test_an_unknown_service_has_the_nearest_name(refused: Callable[..., Any]) -> None:
    wrong = refused(SMALL, topology="containers", replicas={"job": 2})
    assert str(wrong["settings.replicas.job"]).endswith("is no service here; did you mean 'jobs'?")


@pytest.mark.parametrize("number", [0, -1, 101, 1.5, "many", True, None])
def test_a_number_that_cannot_be_meant(render: Callable[..., Any], number: Any) -> None:
    with pytest.raises((Unusable, ComposeError), match="whole number from 1 to 100"):
        render(SMALL, topology="containers", replicas={"web": number})


def test_a_process_called_like_a_replica_is_refused(refused: Callable[..., Any]) -> None:
    text = SMALL.replace("  page:", "  jobs-2:")
    wrong = refused(text, topology="unified", replicas={"jobs": 2})
    assert list(wrong) == ["services.jobs-2.name"]
