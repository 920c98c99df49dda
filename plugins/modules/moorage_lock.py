#!/usr/bin/python
"""Reserve a stack on a host, or give the reservation back."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: moorage_lock
short_description: Reserve a stack on a host, or give the reservation back
description:
  - A reservation keeps other updates of the same stack out for as long as a whole playbook needs.
    M(moorage_prepare) takes one as its first step; this module takes or ends one alone.
  - It lies on the host, so it survives a lost connection. After 15 minutes without a sign of its
    holder it is called stale; it is never taken from anybody without being told to.
options:
  stack:
    description: Name of the stack.
    type: str
    required: true
  state:
    description: V(absent) gives the reservation of O(token) back, V(broken) ends anybody's.
    type: str
    choices: [absent, broken]
    default: absent
  token:
    description: What shows that the reservation is one's own.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Nothing is reserved in check mode, so there is nothing to give back.
  diff_mode:
    support: none
    description: There is nothing to compare.
author: The Moorage authors
"""

EXAMPLES = r"""
- name: Give the stack back
  moorage_lock:
    stack: tg2em
    token: "{{ prepared.token }}"
"""

RETURN = r"""
holder:
  description: The reservation that was ended, without its token, or null.
  returned: always
  type: dict
"""

import sys
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.moorage_host import names


def end(stack: str, token: str, broken: bool) -> dict[str, Any] | None:
    """End a reservation and return it, if it was there and may be ended."""
    sys.path.insert(0, names.LIBRARY)
    from moorage.deploy.reservation import break_reservation, give_back, read_reservation
    from moorage.release.layout import Layout

    layout = Layout.of(stack)
    holder = read_reservation(layout)
    if broken:
        holder = break_reservation(layout)
    elif not give_back(layout, token):
        holder = None
    return {k: v for k, v in holder.to_dict().items() if k != "token"} if holder else None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "stack": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["absent", "broken"], "default": "absent"},
            "token": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    args = module.params
    if module.check_mode or not (Path("/opt") / args["stack"]).is_dir():
        module.exit_json(changed=False, holder=None)
    try:
        holder = end(args["stack"], args["token"], args["state"] == "broken")
    except (ImportError, OSError) as trouble:
        module.fail_json(msg=f"the reservation of {args['stack']} could not be ended: {trouble}")
    # A reservation is nothing that the host is to be: giving it back is no change of it.
    module.exit_json(changed=False, holder=holder)


if __name__ == "__main__":
    main()
