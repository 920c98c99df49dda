"""The table of Compose keys is what happens, key by key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from moorage.compose.schema import SERVICE_KEYS
from moorage.render import planned, topologies
from moorage.render.containers.keys import SERVICE
from moorage.render.key_table import KEYS, column, honoured
from moorage.render.unified.keys import CONTAINER, PROCESS

TOP = "x-moorage: {unified: {build: .}}\n"

# A value for each key, so that the table is tried and not only read.
VALUES: dict[str, Any] = {
    "annotations": "{a: b}", "attach": "true", "blkio_config": "{weight: 300}",
    "cap_add": "[NET_ADMIN]", "cap_drop": "[ALL]", "cgroup": "private", "cgroup_parent": "p",
    "configs": "[conf]", "container_name": "named", "cpu_count": "1", "cpu_percent": "10",
    "cpu_period": "1000", "cpu_quota": "1000", "cpu_rt_period": "1000", "cpu_rt_runtime": "1000",
    "cpu_shares": "10", "cpus": "0.5", "cpuset": "'0'", "credential_spec": "{file: f}",
    "depends_on": "[db]", "deploy": "{labels: [a=b]}", "develop": "{watch: []}",
    "device_cgroup_rules": "['c 1:3 r']", "devices": "['/dev/null']", "dns": "192.0.2.1",
    "dns_opt": "[use-vc]", "dns_search": "example.com", "domainname": "example.com",
    "entrypoint": "[e]", "env_file": "[{path: none, required: false}]", "environment": "{A: b}",
    "expose": "[1]", "extends": "db", "external_links": "[x]", "extra_hosts": "['h:192.0.2.1']",
    "gpus": "all", "label_file": "[]", "post_start": "[{command: a}]", "pre_stop": "[{command: a}]",
    "group_add": "[5]", "healthcheck": "{test: t}", "hostname": "h", "image": "img",
    "init": "true", "ipc": "host", "isolation": "default", "labels": "{a: b}", "links": "[db]",
    "logging": "{driver: local}", "mac_address": "'02:42:ac:11:00:02'", "mem_limit": "1g",
    "mem_reservation": "1g", "mem_swappiness": "5", "memswap_limit": "1g", "network_mode": "host",
    "networks": "[default]", "oom_kill_disable": "true", "oom_score_adj": "5", "pid": "host",
    "pids_limit": "5", "platform": "linux/amd64", "ports": "['80:80']", "privileged": "true",
    "profiles": "[]", "pull_policy": "always", "read_only": "true", "restart": "always",
    "runtime": "runc", "scale": "2", "secrets": "[s]", "security_opt": "['a:b']",
    "shm_size": "64m", "stdin_open": "true", "stop_grace_period": "5s", "stop_signal": "SIGINT",
    "storage_opt": "{size: 1g}", "sysctls": "{a: 1}", "tmpfs": "/t", "tty": "true",
    "ulimits": "{nofile: 5}", "user": "'10001:10001'", "userns_mode": "host", "uts": "host",
    "volumes": "['data:/d']", "volumes_from": "[db]", "working_dir": "/w",
    "x-moorage": "{singleton: true}", "command": "[c]", "build": ".",
}  # fmt: skip
DEPLOY = {
    "endpoint_mode": "vip",
    "labels": "{a: b}",
    "mode": "global",
    "placement": "{constraints: [a]}",
    "replicas": "2",
    "resources": "{limits: {memory: 1g}}",
    "restart_policy": "{condition: any}",
    "rollback_config": "{order: stop-first}",
    "update_config": "{order: stop-first}",
}
REST = "\nvolumes: {data: }\nsecrets: {s: {file: f}}\nconfigs: {conf: {content: c}}\n"


def _value(key: str) -> str:
    part = key.removeprefix("deploy.")
    return f"deploy: {{{part}: {DEPLOY[part]}}}" if part != key else f"{key}: {VALUES[key]}"


def test_the_table_holds_every_key() -> None:
    assert {key for key in KEYS if not key.startswith("deploy.")} == set(SERVICE_KEYS)
    assert {key for key in KEYS if key.startswith("deploy.")} == {f"deploy.{key}" for key in DEPLOY}
    columns = [c for topology in topologies() for c in topology.columns.values()]
    assert all(set(found) == set(KEYS) for found in [*columns, *planned.COLUMNS.values()])
    with pytest.raises(ValueError, match="no keys of Compose: prots"):
        column(honoured(), {"prots": honoured()})


# How a service comes into a column: its topology, and what makes it such a service.
PLACES = {
    "process": (PROCESS, "unified", "build: ., command: [c]"),
    "container": (CONTAINER, "unified", "image: x, user: '10001:10001'"),
    "containers": (SERVICE, "containers", "image: x, user: '10001:10001'"),
}
# A service with build is a process in unified: there is no such container.
CELLS = [(key, place) for key in KEYS for place in PLACES if (key, place) != ("build", "container")]


@pytest.mark.parametrize(("key", "place"), CELLS)
def test_the_table_is_what_happens(
    key: str,
    place: str,
    render: Callable[..., Any],
    refused: Callable[..., dict[str, Any]],
) -> None:
    judged_by, topology, kind = PLACES[place]
    given = "" if f"{key}:" in kind else f", {_value(key)}"
    text = f"{TOP}services: {{web: {{{kind}{given}}}, db: {{image: y}}}}{REST}"
    entry = judged_by[key]
    if entry.verdict == "refused":
        assert f"services.web.{key}" in refused(text, topology=topology)
        return
    shop = render(text, topology=topology)
    noted = [note for note in shop.rendering.notes if note.startswith(f"services.web.{key} ")]
    dropped_on_reading = key in ("attach", "develop")
    assert bool(noted) == (entry.verdict == "ignored" and not dropped_on_reading)


# Keys whose honoured value stands elsewhere in the release's file.
_MOVED = {"mem_limit", "cpus", "pids_limit", "deploy.resources"}


def test_compose_reads_what_is_honoured_unchanged(
    render: Callable[..., Any], compose_config: Callable[[str], dict[str, Any]]
) -> None:
    kept = [key for key in KEYS if SERVICE[key].verdict == "honoured" and key not in _MOVED]
    entries = [
        f"  s{number}: {{image: x, container_name: shop-s{number}, {key}: {VALUES[key]}}}"
        for number, key in enumerate(kept)
        if key != "image"
    ]
    text = "services:\n  db: {image: x}\n" + "\n".join(entries) + REST
    source = compose_config(text)["services"]
    result = compose_config(render(text, topology="containers").text)["services"]
    assert len(entries) > 50
    for number, key in enumerate(kept):
        name = f"s{number}"
        assert source[name].get(key), key
        assert result[name][key] == source[name][key], key
