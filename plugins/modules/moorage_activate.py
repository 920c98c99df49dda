#!/usr/bin/python
"""Make a release the running one, in a unit on the host that outlives the connection."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: moorage_activate
short_description: Make a release the running one
description:
  - Asks the C(moorage) command on the host, which does the work in a transient systemd unit, so
    that a lost connection does not stop it half-way.
  - The release must become healthy within O(gate_timeout); if it does not, the previous release is
    put back and the module fails with what each service showed.
options:
  base:
    description: Directory of the stack, such as C(/opt/tg2em).
    type: path
    required: true
  stack:
    description: Name of the stack.
    type: str
    required: true
  release:
    description: Id of a release that is on the host.
    type: str
    required: true
  purpose:
    description: What is noted in the lock and in the journal.
    type: str
    default: deploy
  keep:
    description: How many releases are retained.
    type: int
    default: 5
  start_timeout:
    description: Seconds that the engine may take to start what is new.
    type: int
    default: 300
  gate_timeout:
    description: Seconds within which every service must be healthy.
    type: int
    default: 120
  lock_wait:
    description: Seconds to wait for another activation of the same stack.
    type: int
    default: 60
  restart:
    description: Services that start anew even where nothing of the release concerns them.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Reports a change when another release is the running one.
  diff_mode:
    support: full
    description: Shows which release would replace which.
author: The Moorage authors
"""

EXAMPLES = r"""
- name: Ensure the release runs
  moorage_activate:
    base: /opt/tg2em
    stack: tg2em
    release: 4f0c2d9a71be
"""

RETURN = r"""
outcome:
  description: What became of it, with the duration of every phase in seconds.
  returned: when the host did the work
  type: dict
"""

import json
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

COMMAND = "/usr/local/bin/moorage"


def current(base: Path) -> str:
    """Return the id of the running release, or an empty string."""
    try:
        return (base / "current").readlink().name
    except FileNotFoundError:
        return ""


def command_line(args: dict[str, Any]) -> list[str]:
    """Return the command that activates the release."""
    argv = [COMMAND, "--base", str(Path(args["base"]).parent), "activate", "--json"]
    for option in ("purpose", "keep", "start_timeout", "gate_timeout"):
        argv += [f"--{option.replace('_', '-')}", str(args[option])]
    for service in args["restart"]:
        argv += ["--restart", service]
    return [*argv, "--wait", str(args["lock_wait"]), args["stack"], args["release"]]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "base": {"type": "path", "required": True},
            "stack": {"type": "str", "required": True},
            "release": {"type": "str", "required": True},
            "purpose": {"type": "str", "default": "deploy"},
            "keep": {"type": "int", "default": 5},
            "start_timeout": {"type": "int", "default": 300},
            "gate_timeout": {"type": "int", "default": 120},
            "lock_wait": {"type": "int", "default": 60},
            "restart": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    args = module.params
    before = current(Path(args["base"]))
    diff = {"before": f"{before}\n" if before else "", "after": f"{args['release']}\n"}
    if module.check_mode:
        module.exit_json(changed=bool(before != args["release"] or args["restart"]), diff=diff)
    _, out, err = module.run_command(command_line(args))
    try:
        outcome = json.loads(out)
    except ValueError:
        module.fail_json(msg=(err or out).strip() or f"{COMMAND} said nothing")
    if outcome["outcome"] not in ("activated", "unchanged"):
        module.fail_json(
            msg=f"release {args['release']} of {args['stack']} was not activated "
            f"({outcome['outcome']}): {outcome['message']}",
            outcome=outcome,
        )
    module.exit_json(changed=outcome["changed"], outcome=outcome, diff=diff)


if __name__ == "__main__":
    main()
