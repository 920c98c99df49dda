"""Documentation of the action plugin of the same name; nothing of it runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: moorage_options
short_description: Refuse options that a playbook does not know
description:
  - Compares the variables given with C(-e) with the play's variable C(moorage_options), which names
    its C(required) and C(optional) options and whether C(all) stacks may be meant, and with the
    settings that there are. What is neither, and in none of the inventory's templates, is refused
    with the nearest name; so is a stack that no host has.
  - Runs on the controller alone and changes nothing. M(moorage_plan) does the same.
options: {}
attributes:
  check_mode:
    support: full
    description: Never changes anything.
  diff_mode:
    support: none
    description: Never changes anything.
author: The Moorage authors
"""

EXAMPLES = r"""
- name: Refuse to guess what is meant
  moorage_options:
  run_once: true
"""

RETURN = r"""
"""
