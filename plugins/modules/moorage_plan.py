"""Documentation of the action plugin of the same name; nothing of it runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: moorage_plan
short_description: Work out what a host should become
description:
  - Reads the Compose files of the stacks that the host runs (the groups that are named like a
    directory in C(files/stacks)) together with the variables C(STACK_*), and returns plain data;
    what to render, build and publish, and a hash of everything that goes into provisioning.
  - Runs on the controller and changes nothing. Where a stack names no user, the host is asked whose
    the directories of its stacks are; a new stack gets a number of its own.
options:
  stack:
    description: Plan this stack alone; a host that is not in its group has none.
    type: str
    default: ""
  service:
    description: A service that the stack has to have.
    type: str
    default: ""
  replicas:
    description: >-
      How often O(service) runs on the host, in place of what C(STACK_replicas) has for it. Nothing
      else of the service may differ from what runs then.
    type: str
    default: ""
  version:
    description: >-
      A tag, branch or commit of the repository that holds the stack's directory, to be planned
      instead of what lies in the working tree.
    type: str
    default: ""
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
- name: Work out what this host should become
  moorage_plan:
  register: moorage_plan
"""

RETURN = r"""
stacks:
  description: The plan of every stack of this host.
  returned: success
  type: list
  elements: dict
stamp:
  description: Hash of everything that goes into provisioning this host.
  returned: success
  type: str
engine:
  description: >-
    Whether the host needs a Docker engine: one of its stacks runs in containers, or its edge is
    asked to.
  returned: success
  type: bool
native:
  description: >-
    What its other stacks need of Debian: C(packages), and C(masked), the units of those that must
    not start.
  returned: success
  type: dict
directories:
  description: Every directory of every stack, with numeric owner and group, and mode.
  returned: success
  type: list
  elements: dict
encrypted:
  description: Names of the stacks whose data is encrypted on the disk.
  returned: success
  type: list
  elements: str
ports:
  description: The ports that the stacks publish.
  returned: success
  type: list
  elements: dict
"""
