#!/usr/bin/python
"""Make a release the running one, in a unit on the host that outlives the connection."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: moorage_activate
short_description: Make a release the running one
description:
  - Asks the C(moorage) command on the host, which does the work in a transient systemd unit, so
    that a lost connection does not stop it half-way. When the connection comes back, the action
    plugin follows the same activation to its end.
  - The release must become healthy within O(gate_timeout); if it does not, the previous release is
    put back and the module fails with what each service showed.
  - Options that are not given have the defaults of C(moorage activate) on the host.
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
    description: >-
      Id of a release that is on the host. Empty, with O(action) V(rollback), is the one that ran
      before the running one.
    type: str
  action:
    description: What the receipt calls it.
    type: str
    choices: [deploy, update, rollback]
  purpose:
    description: What is noted in the lock and in the journal.
    type: str
  token:
    description: That of the reservation which this activation is a part of.
    type: str
  give_back:
    description: Whether the reservation ends with this activation, however it goes.
    type: bool
    default: false
  allow_one_way:
    description: Yes to migrations from which no older release comes back.
    type: bool
  hooks:
    description: Whether what the stack wants done before and after an update is done.
    type: bool
  keep:
    description: How many releases are retained.
    type: int
  start_timeout:
    description: Seconds that the engine may take to start what is new.
    type: float
  gate_timeout:
    description: Seconds within which every service must be healthy.
    type: float
  lock_wait:
    description: Seconds to wait for another activation of the same stack.
    type: float
  restart:
    description: Services that start anew even where nothing of the release concerns them.
    type: list
    elements: str
  rejoin:
    description: Follow the activation that was started last instead of starting one.
    type: bool
    default: false
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

- name: Go back to what ran before
  moorage_activate:
    base: /opt/tg2em
    stack: tg2em
    action: rollback
"""

RETURN = r"""
reservation_ended:
  description: Whether the reservation has ended.
  returned: when the host was asked
  type: bool
stack:
  description: Name of the stack.
  returned: always
  type: str
outcome:
  description: What became of it.
  returned: when the host did the work
  type: dict
phases:
  description: The seconds that each phase took, in order.
  returned: when the host did the work
  type: dict
receipt:
  description: Path of the evidence on the host, or null when nothing was done.
  returned: when the host did the work
  type: str
"""

import json
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.moorage_host import names

# What this module keeps to itself; all other options are fields of deploy.activate.Request.
OWN = ("base", "give_back", "rejoin")
# The same words as moorage.deploy.activate.Outcome.
GOOD = ("activated", "unchanged")


def current(base: Path) -> str:
    """Return the id of the running release, or an empty string."""
    try:
        return (base / "current").readlink().name
    except OSError:
        # There is none yet, or it is no link: the rollout says so.
        return ""


def request(args: dict[str, Any]) -> str:
    """Return what is asked of the host, as JSON; what is not said has the default of there."""
    return json.dumps({k: v for k, v in args.items() if k not in OWN and v is not None})


def sentence(args: dict[str, Any], outcome: dict[str, Any]) -> str:
    """Return why it failed, the reason first, and then what it was about."""
    lines = [outcome["message"].strip() or "no reason was given"]
    what = f"{args['action'] or 'deploy'} of {args['stack']} to release {outcome['release']}"
    lines.append(f"{what}: {outcome['outcome']}")
    phases = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in outcome["phases"].items())
    if phases:
        lines.append(f"phases: {phases}")
    if outcome.get("receipt"):
        lines.append(f"receipt: {outcome['receipt']}")
    return "\n".join(lines)


def give_back(module: AnsibleModule) -> None:
    """End the reservation that this was a part of."""
    import sys

    sys.path.insert(0, names.LIBRARY)
    from moorage.deploy import reservation
    from moorage.release.layout import Layout

    args = module.params
    reservation.give_back(Layout.of(args["stack"], Path(args["base"]).parent), args["token"])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "base": {"type": "path", "required": True},
            "stack": {"type": "str", "required": True},
            "release": {"type": "str"},
            "action": {"type": "str", "choices": ["deploy", "update", "rollback"]},
            "purpose": {"type": "str"},
            "token": {"type": "str", "no_log": True},
            "give_back": {"type": "bool", "default": False},
            "allow_one_way": {"type": "bool"},
            "hooks": {"type": "bool"},
            "keep": {"type": "int"},
            "start_timeout": {"type": "float"},
            "gate_timeout": {"type": "float"},
            "lock_wait": {"type": "float"},
            "restart": {"type": "list", "elements": "str"},
            "rejoin": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    args = module.params
    before = current(Path(args["base"]))
    wanted = args["release"] or "what ran before"
    diff = {"before": f"{before}\n" if before else "", "after": f"{wanted}\n"}
    if module.check_mode:
        changed = bool(before != args["release"] or args["restart"])
        module.exit_json(changed=changed, stack=args["stack"], diff=diff)
    argv = [names.COMMAND, "--base", str(Path(args["base"]).parent), "request"]
    argv += ["--rejoin"] if args["rejoin"] else []
    _, out, err = module.run_command(argv, data=request(args))
    gave_back = bool(args["give_back"] and args["token"])
    if gave_back:
        give_back(module)
    try:
        outcome = json.loads(out)
    except ValueError:
        message = (err or out).strip() or f"{names.COMMAND} said nothing"
        message = message.removeprefix("moorage: ")
        module.fail_json(msg=message, stack=args["stack"], reservation_ended=gave_back)
    result = {
        "stack": args["stack"],
        "reservation_ended": gave_back,
        "outcome": outcome,
        "phases": outcome["phases"],
        "receipt": outcome.get("receipt"),
    }
    for line in outcome.get("warnings", []):
        module.warn(f"{args['stack']}: {line}")
    if outcome["outcome"] not in GOOD:
        # The message tells all of it; a play needs the rest to decide what to do.
        short = {key: outcome[key] for key in ("outcome", "release", "previous", "changed")}
        module.fail_json(
            msg=sentence(args, outcome),
            changed=bool(outcome["changed"]),
            stack=args["stack"],
            reservation_ended=gave_back,
            outcome=short,
        )
    diff["after"] = f"{outcome['release']}\n"
    module.exit_json(changed=outcome["changed"], diff=diff, **result)


if __name__ == "__main__":
    main()
