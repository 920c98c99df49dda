#!/usr/bin/python
"""Ansible module: have systemd units running and enabled."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.moorage_host import engine, packets, units

DOCUMENTATION = r"""
module: moorage_services
short_description: Have systemd units running and enabled
description:
  - Looks at all units with one question, and touches only those that are not as wanted.
  - Differs from M(ansible.builtin.systemd_service) in a dry run on a bare host, where a unit that
    is not there yet is no error, and for units whose own conditions refuse to start them (time
    synchronisation in a container), which are reported in RV(refused) and not as a change of every
    run.
options:
  units:
    description: The units, acted on in this order.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The unit's full name, suffix included.
        type: str
        required: true
      state:
        description:
          - V(started) acts only on a unit that does not run; V(restarted) and V(reloaded) always.
        type: str
        choices: [started, restarted, reloaded]
        default: started
      enabled:
        description: Whether it is started at boot.
        type: bool
        default: true
      optional:
        description: Whether a unit that is not there is no error.
        type: bool
        default: false
      configuration:
        description:
          - Files that the unit reads when it starts. When it runs since before one of them was
            written, it is returned in RV(outdated); restarting it is a handler's work. Unlike a
            notification by the task that wrote the file, that is not lost with an interrupted run.
        type: list
        elements: path
        default: []
      publishes:
        description:
          - Whether the unit is the engine. One whose rules for published ports somebody has flushed
            is in RV(outdated) too, since only a start makes them again.
        type: bool
        default: false
author:
  - Moorage contributors
"""

EXAMPLES = r"""
- name: Ensure the engine runs
  moorage_services:
    units:
      - {name: docker.service, configuration: [/etc/docker/daemon.json]}
  register: __engine
  changed_when: __engine.changed or __engine.outdated | length > 0
  # Whose condition is __engine.outdated | length > 0.
  notify: Restart the engine
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode.
  type: list
  elements: str
  returned: always
  sample: [enable docker.service, start docker.service]
outdated:
  description: Units that run with an older configuration, as O(units) that restart them.
  type: list
  elements: dict
  returned: always
  sample: [{name: docker.service, state: restarted}]
refused:
  description: Units that systemd does not start because of their own conditions.
  type: list
  elements: str
  returned: always
"""

_VERBS = {"restarted": "restart", "reloaded": "reload"}

_UNIT = {
    "name": {"type": "str", "required": True},
    "state": {
        "type": "str",
        "choices": ["started", "restarted", "reloaded"],
        "default": "started",
    },
    "enabled": {"type": "bool", "default": True},
    "optional": {"type": "bool", "default": False},
    "configuration": {"type": "list", "elements": "path", "default": []},
    "publishes": {"type": "bool", "default": False},
}


class UnitError(Exception):
    """A unit is missing or masked, or systemctl failed."""


def plan(wanted: dict[str, Any], unit: units.Unit | None, dry_run: bool) -> list[list[str]]:
    """The systemctl commands that bring one unit to what is wanted (a pure function)."""
    name = wanted["name"]
    if unit is not None and unit.masked:
        raise UnitError(f"{name} is masked: somebody forbade to start it. systemctl unmask {name}")
    if unit is None or not unit.loaded:
        if wanted["optional"]:
            return []
        if not dry_run:
            raise UnitError(f"{name} is not there: is the package that brings it installed?")
    enabled = unit is not None and unit.enabled
    active = unit is not None and unit.active
    commands = []
    if wanted["enabled"] and not enabled:
        commands.append(["enable", name])
    if wanted["state"] == "started":
        if not active and not (unit is not None and unit.refused):
            commands.append(["start", name])
    elif wanted["state"] == "reloaded" and not active:
        commands.append(["start", name])
    else:
        commands.append([_VERBS[wanted["state"]], name])
    return commands


def outdated(wanted: dict[str, Any], unit: units.Unit | None) -> bool:
    """Whether a running unit was started before its configuration was written."""
    if unit is None or not unit.active or unit.started is None:
        return False
    running = time.monotonic() - unit.started
    now = time.time()
    if wanted.get("publishes") and lost_rules():
        return True
    files = [Path(path) for path in wanted["configuration"]]
    return any(path.exists() and now - path.stat().st_mtime < running for path in files)


def lost_rules() -> list[str]:
    """Packet rules that published ports need and do not have; none while the engine is silent."""
    try:
        return list(packets.look(engine.published(engine.containers())))
    except OSError:
        return []


def systemctl(arguments: list[str]) -> None:
    """Run systemctl; UnitError with the unit's last log lines when it fails."""
    done = subprocess.run(
        ["systemctl", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return
    journal = subprocess.run(
        ["journalctl", "--no-pager", "-n", "15", "-o", "cat", "-u", arguments[-1]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    said = f"{done.stdout.strip()}\n{journal.stdout.strip()}"
    raise UnitError(f"systemctl {' '.join(arguments)} failed:\n{said}")


def ensure(wanted: list[dict[str, Any]], dry_run: bool) -> dict[str, Any]:
    """Bring all units to what is wanted; the module's result."""
    names = [entry["name"] for entry in wanted]
    states = units.show(names)
    if not dry_run and any(unit.stale for unit in states.values()):
        systemctl(["daemon-reload"])
        states = units.show(names)
    actions: list[list[str]] = []
    for entry in wanted:
        actions += plan(entry, states.get(entry["name"]), dry_run)
    if not dry_run:
        for command in actions:
            systemctl(command)
        states = units.show(names)
    refused = sorted({name for name in names if name in states and states[name].refused})
    started = {command[1] for command in actions if command[0] != "enable"}
    done = [command for command in actions if command[1] not in refused or command[0] == "enable"]
    failed = (
        []
        if dry_run
        else sorted(name for name in started if not states[name].active and name not in refused)
    )
    if failed:
        raise UnitError(f"did not stay up after their start: {', '.join(failed)}")
    return {
        "changed": bool(done),
        "actions": [" ".join(command) for command in done],
        "outdated": [
            {"name": entry["name"], "state": "restarted"}
            for entry in wanted
            if outdated(entry, states.get(entry["name"]))
        ],
        "refused": refused,
    }


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "dict", "options": _UNIT, "required": True},
        },
        supports_check_mode=True,
    )
    try:
        result = ensure(module.params["units"], module.check_mode)
    except UnitError as error:
        module.fail_json(msg=str(error))
    text = "".join(f"{action}\n" for action in result["actions"])
    diff = {"before_header": "units", "after_header": "units", "before": "", "after": text}
    module.exit_json(diff=diff, **result)


if __name__ == "__main__":
    main()
