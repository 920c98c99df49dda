#!/usr/bin/python
"""Have the edge of a host as described."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: moorage_edge
short_description: Have the edge of a host as described
description:
  - Hands a document to the C(moorage) command on the host, which has the edge's files in place,
    runs nginx as a container or as a unit, and removes what is left of the other kind.
  - A configuration that nginx refuses never replaces the one in force; the module fails with
    nginx's words.
  - Its action plugin reads O(certificates) on the controller and decrypts them where they are
    encrypted with Ansible Vault.
options:
  kind:
    description: How the edge runs; V(none) removes it and keeps its data.
    type: str
    choices: [container, native, none]
    required: true
  image:
    description: Reference of the image, for V(container).
    type: str
    default: ""
  settings:
    description: Settings as the plan has them, by their names without C(edge_).
    type: dict
    default: {}
  certificates:
    description: Certificates and keys of the operator.
    type: list
    elements: dict
    default: []
    suboptions:
      certificate:
        description: A path on the controller; the action plugin puts the file's text here.
        type: str
        required: true
      key:
        description: A path on the controller; the action plugin puts the file's text here.
        type: str
        required: true
      domains:
        description: The domains that it serves; all of them when not given.
        type: list
        elements: str
        default: []
  files:
    description: The edge's files outside its own directory, as the role has rendered them.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the file is.
        type: path
        required: true
      content:
        description: What is in it.
        type: str
        required: true
      state:
        description: Whether it is there; a unit that is not is stopped and disabled before.
        type: str
        choices: [present, absent]
        default: present
  command:
    description: The C(moorage) command on the host.
    type: path
    default: /usr/local/bin/moorage
attributes:
  check_mode:
    support: full
    description: Tells what would change.
  diff_mode:
    support: full
    description: Shows files, but no certificate and no key.
author: The Moorage authors
"""

EXAMPLES = r"""
- name: Ensure the edge runs as described
  moorage_edge:
    kind: "{{ moorage_plan.edge.kind }}"
    image: "{{ moorage_plan.edge.image }}"
    settings: "{{ moorage_plan.edge.settings }}"
"""

RETURN = r"""
did:
  description: What was changed, or would be in check mode.
  returned: always
  type: list
  elements: str
"""

import json
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.moorage_host import names

# What the command ends with when it does not know an option or an action.
_USAGE = 2
_CERTIFICATE = {
    "certificate": {"type": "str", "required": True},
    "key": {"type": "str", "required": True, "no_log": True},
    "domains": {"type": "list", "elements": "str", "default": []},
}
_FILE = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def diff_of(change: dict[str, str]) -> dict[str, str]:
    """Return one change as Ansible shows it."""
    return {
        "before_header": change["what"],
        "after_header": change["what"],
        "before": change["before"],
        "after": change["after"],
    }


def carry_out(module: AnsibleModule) -> list[dict[str, str]]:
    """Ask the host's command and return the changes; ends the module when it fails."""
    args: dict[str, Any] = module.params
    document = {name: args[name] for name in ("kind", "image", "settings", "certificates")}
    document["files"] = [
        {"path": file["path"], "content": file["content"] if file["state"] == "present" else None}
        for file in args["files"]
    ]
    argv = [args["command"], "edge", "provision", *(["--check"] if module.check_mode else [])]
    # Keys travel through a pipe: an argument list is for everybody to read.
    status, said, errors = module.run_command(argv, data=json.dumps(document))
    if status == _USAGE and module.check_mode:
        # The host's command is older than the edge, and would have been replaced by now.
        return [{"what": "edge", "before": "", "after": "installed\n"}]
    if status != 0:
        reason = errors.strip().removeprefix("moorage: ") or said.strip()
        module.fail_json(msg=f"the edge could not be made as described: {reason}")
    found: list[dict[str, str]] = json.loads(said)["changes"]
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "kind": {"type": "str", "choices": ["container", "native", "none"], "required": True},
            "image": {"type": "str", "default": ""},
            "settings": {"type": "dict", "default": {}},
            "certificates": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": _CERTIFICATE,
            },
            "files": {"type": "list", "elements": "dict", "default": [], "options": _FILE},
            "command": {"type": "path", "default": names.COMMAND},
        },
        supports_check_mode=True,
    )
    if module.check_mode and not Path(module.params["command"]).exists():
        # A bare host, where the command would have been installed by now.
        wanted = module.params["kind"] != "none"
        changes = [{"what": "edge", "before": "", "after": "installed\n"}] if wanted else []
    else:
        changes = carry_out(module)
    did = [change["what"] for change in changes]
    module.exit_json(changed=bool(changes), did=did, diff=[diff_of(c) for c in changes])


if __name__ == "__main__":
    main()
