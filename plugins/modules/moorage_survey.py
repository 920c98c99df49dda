#!/usr/bin/python
"""Ansible module: look at a host once and say what a run needs to know about it."""

from __future__ import annotations

import pwd
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.moorage_host import (
    dpkg,
    edge,
    engine,
    listeners,
    machine,
    packets,
    preflight,
    record,
    routes,
    stacks,
    units,
)

DOCUMENTATION = r"""
module: moorage_survey
short_description: Survey a host in one execution
description:
  - Answers three questions in one execution. Is the host fit for what is asked of it
    (preflight), is it still as the last provisioning left it (C(provisioned), C(drift)), and
    which release of each stack runs on it (C(stacks)).
  - Changes nothing, needs nothing but Python's standard library on the host, and works on a
    bare host and in check mode.
  - Finds all problems in one go and returns them; it does not fail because of them, so that the
    play can print one report for the whole host and stop there.
options:
  stamp:
    description: Hash of everything that goes into provisioning this host, as the controller has it.
    type: str
  record:
    description: The file in which M(moorage_stamp) has written what provisioning left behind.
    type: path
    default: /var/lib/moorage/provision.json
  controller_time:
    description:
      - The controller's clock in seconds since the epoch; the host's may differ by at most
        O(clock_skew_seconds). Without it the clock is not checked.
    type: float
  clock_skew_seconds:
    description: How far the host's clock may be from the controller's, in seconds.
    type: float
    default: 60
  releases:
    description: Supported releases of Debian (C(VERSION_ID) of /etc/os-release).
    type: list
    elements: str
    default: ["13"]
  architectures:
    description: Supported architectures, by Debian's names.
    type: list
    elements: str
    default: [amd64, arm64]
  disk:
    description: Free disk wanted, by the file system that holds each path.
    type: list
    elements: dict
    default:
      - {path: /opt, free_mb: 2048}
      - {path: /var/lib/docker, free_mb: 4096}
    suboptions:
      path:
        description: A path on the file system; it need not exist yet.
        type: path
        required: true
      free_mb:
        description: Free space wanted, in MiB.
        type: int
        required: true
  memory_mb:
    description: Memory wanted in all (not free), in MiB.
    type: int
    default: 900
  ports:
    description: Ports that stacks want to publish on this host.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port's number.
        type: int
        required: true
      protocol:
        description: Transport.
        type: str
        choices: [tcp, udp]
        default: tcp
      address:
        description: The address to listen on.
        type: str
        default: 0.0.0.0
      stack:
        description: The stack that wants it; its own containers and units may hold it already.
        type: str
        required: true
      service:
        description: The service that wants it, for the message.
        type: str
        default: ""
  users:
    description: Accounts that provisioning creates with a fixed number.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The account's name.
        type: str
        required: true
      uid:
        description: Its number, for user and group.
        type: int
        required: true
  packages:
    description:
      - Debian packages that provisioning installs. While one is missing, the package sources must
        be reachable.
    type: list
    elements: str
    default: []
  sources:
    description:
      - Whether to try the host's package sources. V(needed) tries them only while one of
        O(packages) is missing.
    type: str
    choices: [needed, always, never]
    default: needed
  sources_timeout_seconds:
    description: How long one package source may take to answer.
    type: float
    default: 8
  engine:
    description:
      - Whether the host is to have a Docker engine. Otherwise neither that nor its packet rules are
        looked at, nor the disk and memory that it wants.
    type: bool
    default: true
  masked:
    description:
      - Units of Debian's packages that provisioning keeps from starting. One that is in use here is
        somebody's, and a problem.
    type: list
    elements: str
    default: []
  edge:
    description:
      - How the edge of the host runs. One that does not run, or is left of another kind, is drift.
        Without it the edge is not looked at.
    type: str
    choices: [container, native, none]
  stacks:
    description: Stacks whose releases and containers are wanted.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The stack's name, which its containers carry in the label C(moorage.stack).
        type: str
        required: true
      dir:
        description: The stack's directory; C(/opt/NAME) when not given.
        type: path
      claims:
        description: What it wants of the host for itself, as M(moorage_plan) has it.
        type: list
        elements: dict
        default: []
      encrypted:
        description: Whether its data is to be encrypted on the disk.
        type: bool
        default: false
      pulls:
        description: Images of registries that it runs, C(ref) and C(policy) of each.
        type: list
        elements: dict
        default: []
author:
  - Moorage contributors
"""

EXAMPLES = r"""
- name: Survey the host
  moorage_survey:
    stamp: "{{ provision_stamp }}"
    controller_time: "{{ now().timestamp() }}"
    packages: "{{ host_managed_packages + docker_managed_packages }}"
    ports:
      - {port: 5000, stack: tg2em, service: frontend}
      - {port: 3306, address: 127.0.0.1, stack: tg2em, service: mysql}
    stacks:
      - {name: tg2em}
  register: moorage_survey

- name: Stop before any change when the host is not fit
  ansible.builtin.fail:
    msg: "{{ moorage_survey.report }}"
  when: not moorage_survey.ok
"""

RETURN = r"""
ok:
  description: Whether no problem was found.
  type: bool
  returned: always
problems:
  description: Everything that stands in the way, each with what to do about it.
  type: list
  elements: dict
  returned: always
  sample:
    - check: port
      problem: port 5000/tcp, wanted by tg2em (frontend), is taken
      value: nginx (pid 812, nginx.service)
      fix: stop it, or publish another port in group_vars/tg2em.yml
report:
  description: The problems (or that there are none) as text for a person, several lines.
  type: str
  returned: always
host:
  description: >-
    Facts: os_id, os_version, os_name, architecture, kernel, python, cpus, memory_mb, container
    (bool), container_kind, systemd (bool), clock_skew_seconds, disk, missing_packages,
    sources (tried ones only) and docker (installed
    version, running, error).
  type: dict
  returned: always
provisioned:
  description: Whether the host is as the last provisioning left it, by the same O(stamp).
  type: bool
  returned: always
drift:
  description: What is not as provisioning left it, each by name; empty when RV(provisioned).
  type: list
  elements: str
  returned: always
  sample: ["file /etc/docker/daemon.json: content changed", "service docker.service: inactive"]
stacks:
  description: >-
    By stack: C(current) (the plain values of current/release.json and its directory's name as
    C(dir), or null), C(interrupted) (whether a rollout was cut off), C(stale_secrets) (names of
    those whose file is another one than what runs has read), C(after) (stacks whose turn is before
    it, since it takes what they give up), C(astray) (directories that are another's than the
    running release wants), C(lacking) (environments that it needs and that are not there, or for
    another Python), C(due) (images that are to be pulled again), C(containers), and
    processes of stacks without any (name, id, service, image, state, health, exit_code).
  type: dict
  returned: always
duration_ms:
  description: How long the survey took on the host, without Python's start.
  type: int
  returned: always
"""

_OF_THE_ENGINE = "/var/lib/docker"
_PORT = {
    "port": {"type": "int", "required": True},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
    "address": {"type": "str", "default": "0.0.0.0"},
    "stack": {"type": "str", "required": True},
    "service": {"type": "str", "default": ""},
}
_DISK = {
    "path": {"type": "path", "required": True},
    "free_mb": {"type": "int", "required": True},
}
_USER = {
    "name": {"type": "str", "required": True},
    "uid": {"type": "int", "required": True},
}
_STACK = {
    "name": {"type": "str", "required": True},
    "dir": {"type": "path"},
    "claims": {"type": "list", "elements": "dict", "default": []},
    "encrypted": {"type": "bool", "default": False},
    "pulls": {"type": "list", "elements": "dict", "default": []},
}
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "stamp": {"type": "str"},
    "record": {"type": "path", "default": record.RECORD},
    "controller_time": {"type": "float"},
    "clock_skew_seconds": {"type": "float", "default": 60},
    "releases": {"type": "list", "elements": "str", "default": ["13"]},
    "architectures": {"type": "list", "elements": "str", "default": ["amd64", "arm64"]},
    "disk": {
        "type": "list",
        "elements": "dict",
        "options": _DISK,
        "default": [
            {"path": "/opt", "free_mb": 2048},
            {"path": "/var/lib/docker", "free_mb": 4096},
        ],
    },
    "memory_mb": {"type": "int", "default": 900},
    "ports": {"type": "list", "elements": "dict", "options": _PORT, "default": []},
    "users": {"type": "list", "elements": "dict", "options": _USER, "default": []},
    "packages": {"type": "list", "elements": "str", "default": []},
    "sources": {"type": "str", "choices": ["needed", "always", "never"], "default": "needed"},
    "sources_timeout_seconds": {"type": "float", "default": 8},
    "engine": {"type": "bool", "default": True},
    "masked": {"type": "list", "elements": "str", "default": []},
    "edge": {"type": "str", "choices": ["container", "native", "none"]},
    "stacks": {"type": "list", "elements": "dict", "options": _STACK, "default": []},
}


def survey(wanted: dict[str, Any]) -> dict[str, Any]:
    """All that the module returns, for its arguments as documented."""
    started = time.monotonic()
    installed = dpkg.read_status()
    host = machine.facts(dpkg.native_architecture(installed), wanted["controller_time"])
    running = engine.is_running()
    host["docker"] = {
        "version": installed["docker.io"].version if "docker.io" in installed else None,
        "running": running,
        "error": None,
    }
    containers: list[dict[str, Any]] = []
    if running:
        try:
            containers = engine.containers()
        except OSError as error:
            host["docker"]["error"] = str(error)
    host["disk"] = [
        {**machine.disk(entry["path"]), "wanted_mb": entry["free_mb"]}
        for entry in wanted["disk"]
        if wanted["engine"] or entry["path"] != _OF_THE_ENGINE
    ]
    host["missing_packages"] = dpkg.missing(wanted["packages"], installed)
    host["sources"] = _try_sources(wanted, host["missing_packages"])
    neighbours = stacks.Neighbours(wanted["stacks"])
    processes = stacks.processes(wanted["stacks"])
    problems = _problems(wanted, host, containers, processes, neighbours)
    drift = record.drift(record.read(wanted["record"]), wanted["stamp"], installed)
    drift += edge.drift(wanted["edge"], containers)
    if wanted["engine"]:
        lost = packets.look(engine.published(containers))
        drift += [f"packet rules: without {name}" for name in lost]
    return {
        "ok": not problems,
        "problems": problems,
        "report": preflight.report(host, problems),
        "host": host,
        "provisioned": not drift,
        "drift": drift,
        "stacks": stacks.survey(wanted["stacks"], [*containers, *processes], neighbours.after),
        "duration_ms": round((time.monotonic() - started) * 1000),
    }


def _try_sources(wanted: dict[str, Any], missing: list[str]) -> list[dict[str, Any]]:
    if wanted["sources"] == "always" or (wanted["sources"] == "needed" and missing):
        # Imported here because HTTP and TLS take longer to import than the rest of a survey takes.
        from ansible.module_utils.moorage_host import sources

        tried: list[dict[str, Any]] = sources.try_sources(wanted["sources_timeout_seconds"])
        return tried
    return []


def _problems(
    wanted: dict[str, Any],
    host: dict[str, Any],
    containers: list[dict[str, Any]],
    processes: list[dict[str, Any]],
    neighbours: stacks.Neighbours,
) -> list[dict[str, str]]:
    accounts = pwd.getpwall()
    problems: list[dict[str, str]] = preflight.check_system(host, wanted)
    problems += preflight.check_disk(host["disk"])
    problems += preflight.check_users(
        wanted["users"],
        {account.pw_name: account.pw_uid for account in accounts},
        {account.pw_uid: account.pw_name for account in accounts},
    )
    if wanted["engine"]:
        problems += preflight.check_engine(host["docker"])
    problems += preflight.check_masked(units.show(wanted["masked"]))
    problems += preflight.check_ports(
        wanted["ports"],
        listeners.read_listeners(),
        [*containers, *processes],
        listeners.holders,
        neighbours.know,
    )
    problems += preflight.check_names(wanted["stacks"], containers, neighbours.know)
    if any(claim["kind"] == "subnet" for s in wanted["stacks"] for claim in s["claims"]):
        answers = host["docker"]["running"] and not host["docker"]["error"]
        networks = engine.networks() if answers else []
        problems += preflight.check_subnets(
            wanted["stacks"], networks, routes.read_routes(), neighbours.know
        )
    problems += neighbours.problems
    problems += stacks.check_encryption(wanted["stacks"])
    problems += preflight.check_sources(host["sources"])
    return problems


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=_ARGUMENTS, supports_check_mode=True)
    try:
        result = survey(module.params)
    except OSError as error:
        module.fail_json(msg=f"the survey of this host failed: {error}")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
