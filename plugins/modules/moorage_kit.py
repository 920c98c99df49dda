"""Documentation of the action plugin of the same name; nothing of it runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: moorage_kit
short_description: Take a host's recovery kit to the controller
description:
  - Asks a host for what its backups cannot be read without, which is the repository's address, what
    its backend wants in its environment, and its password, and for the users of its stacks; writes
    that to a file of the controller's as one YAML document, encrypted with the vault password of
    this run.
  - A kit that says the same already is left alone. One that this run cannot decrypt is never
    replaced.
  - Such a task says C(no_log), which hides the message of a failure too. So what stands in the way
    is no failure but RV(trouble), for a task of its own to tell.
options:
  dest:
    description: Where the kit goes; relative to the checkout.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    description: Says whether the kit would be written.
  diff_mode:
    support: none
    description: What is in a kit is never shown.
author: The Moorage authors
"""

EXAMPLES = r"""
- name: Ensure the recovery kit is here
  moorage_kit:
    dest: recovery/{{ inventory_hostname }}.yml
  register: kit
  no_log: true
"""

RETURN = r"""
path:
  description: Where the kit is.
  type: str
  returned: always
trouble:
  description: Why there is none, and what to do; empty when there is one.
  type: str
  returned: always
"""
