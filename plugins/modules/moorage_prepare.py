"""Documentation of moorage_prepare; the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: moorage_prepare
short_description: Bring everything to a host that a rollout of a stack needs
description:
  - Reserves the stack, then brings the release's files, the secrets and the images, each only where
    the host lacks it. A host that lacks nothing is asked one question.
  - Nothing that runs is touched. Where a step fails, the reservation is given back.
  - A reservation of a run of this controller whose process is gone is taken over; for any other one
    it waits O(lock_wait) seconds and then says who holds the stack, since when and for what.
  - In check mode nothing is written or reserved; with C(--diff) it shows files of the release
    against those that run, names the images to build, and lists what the rollout would do.
options:
  plan:
    description: The plan of the stack, as M(moorage_plan) returns it.
    type: dict
    required: true
  images:
    description: The images' settings, as M(moorage_plan) returns them.
    type: dict
    required: true
  service:
    description: Update this service alone; all others stay as they run.
    type: str
    default: ""
  purpose:
    description: What the reservation says that it is for; followed by the release.
    type: str
    default: update
  lock_wait:
    description: Seconds to wait for another update of the stack.
    type: float
    default: 60
  break_lock:
    description: Whether to take the stack from whoever has reserved it.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Reports what would be brought.
  diff_mode:
    support: full
    description: Shows files, images and containers.
author: The Moorage authors
"""

EXAMPLES = r"""
- name: Bring what the rollout needs
  moorage_prepare:
    plan: "{{ stack_plan }}"
    images: "{{ moorage_plan.images }}"
  register: __stack_prepared
"""

RETURN = r"""
release:
  description: Id of the release to activate.
  returned: success
  type: str
token:
  description: What shows that the reservation is one's own.
  returned: success
  type: str
restart:
  description: Services that have to start anew, since a secret that they read was replaced.
  returned: success
  type: list
  elements: str
operations:
  description: What the rollout would do, one line each, in check and diff mode.
  returned: success
  type: list
  elements: str
notes:
  description: What a person should know of it.
  returned: success
  type: list
  elements: str
built:
  description: The images that were built, with their references.
  returned: success
  type: list
  elements: dict
pulled:
  description: The images of registries that were asked for, as M(moorage_images) returns them.
  returned: success
  type: list
  elements: dict
"""
