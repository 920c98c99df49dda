"""Lookup plugin: what the roles of the play say that they manage on a host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: moorage_managed
short_description: What the roles of the play manage
description:
  - Adds up the variables C(ROLE_managed_KIND) of all roles that the play imports, which hold lists.
  - A role that has no such variable manages nothing of this kind.
options:
  _terms:
    description: One kind, such as V(files), V(packages) or V(services).
    required: true
author: The Moorage authors
"""

EXAMPLES = r"""
- name: Show what the roles of the play install
  ansible.builtin.debug:
    msg: "{{ query('moorage_managed', 'packages') }}"
"""

RETURN = r"""
_raw:
  description: The entries of all roles.
  type: list
"""


class LookupModule(LookupBase):
    """Reads variables of the play; asks no host."""

    def run(
        self, terms: list[str], variables: Mapping[str, Any] | None = None, **_options: Any
    ) -> list[Any]:
        """Return the entries of all roles."""
        known, templar = variables or {}, cast(Any, self._templar)
        names = [f"{role}_managed_{terms[0]}" for role in known["ansible_play_role_names"]]
        said = [templar.template(known[name]) for name in names if name in known]
        return [entry for entries in said for entry in entries]
