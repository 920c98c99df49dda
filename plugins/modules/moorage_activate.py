"""Documentation of moorage_activate; the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: moorage_activate
short_description: Make a release the running one
description:
  - Asks the C(moorage) command on the host, which does the work in a transient systemd unit, so
    that a lost connection does not stop it half-way. When the connection comes back, the same
    activation is followed to its end.
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
