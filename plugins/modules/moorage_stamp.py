#!/usr/bin/python
"""Ansible module: write down what provisioning left on a host."""

from __future__ import annotations

import json
import pwd
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.moorage_host import readers, record, units
from ansible.module_utils.moorage_host.files import write_atomically

DOCUMENTATION = r"""
module: moorage_stamp
short_description: Record what provisioning left on a host
description:
  - Describes the managed files, directories, links, accounts, packages and services as they are
    now and writes that to one file, together with the hash of the inputs. M(moorage_survey)
    compares the host with it, so that a run that has nothing to do takes one execution and still
    notices what somebody changed by hand.
  - Comes last in provisioning. A managed thing that is missing is an error, since a role that says
    it manages something and did not make it is wrong.
options:
  stamp:
    description: Hash of everything that went into provisioning this host.
    type: str
    required: true
  record:
    description: The file to write.
    type: path
    default: /var/lib/moorage/provision.json
  files:
    description: Managed files, and links that are to be followed.
    type: list
    elements: path
    default: []
  directories:
    description: Managed directories.
    type: list
    elements: path
    default: []
  kept_directories:
    description: Directories that have to be there, whosever they are.
    type: list
    elements: path
    default: []
  links:
    description: Managed symbolic links.
    type: list
    elements: path
    default: []
  users:
    description: Managed accounts.
    type: list
    elements: str
    default: []
  packages:
    description: Packages that must stay installed, C(a | b) for alternatives.
    type: list
    elements: str
    default: []
  services:
    description:
      - Units that must stay running and enabled. One that is not there or that its own conditions
        keep from running is left out of the record.
    type: list
    elements: str
    default: []
author:
  - Moorage contributors
"""

EXAMPLES = r"""
- name: Record what provisioning left
  moorage_stamp:
    stamp: "{{ provision_stamp }}"
    files: "{{ host_managed_files + docker_managed_files }}"
    packages: "{{ host_managed_packages + docker_managed_packages }}"
    services: "{{ host_managed_services + docker_managed_services }}"
"""

RETURN = r"""
record:
  description: What was recorded.
  type: dict
  returned: always
"""

_ARGUMENTS: dict[str, dict[str, Any]] = {
    "stamp": {"type": "str", "required": True},
    "record": {"type": "path", "default": record.RECORD},
    "files": {"type": "list", "elements": "path", "default": []},
    "directories": {"type": "list", "elements": "path", "default": []},
    "kept_directories": {"type": "list", "elements": "path", "default": []},
    "links": {"type": "list", "elements": "path", "default": []},
    "users": {"type": "list", "elements": "str", "default": []},
    "packages": {"type": "list", "elements": "str", "default": []},
    "services": {"type": "list", "elements": "str", "default": []},
}


class MissingError(Exception):
    """Managed things that are not there."""


def describe(wanted: dict[str, Any], dry_run: bool) -> dict[str, Any]:
    """The record of everything named in `wanted`; MissingError lists all that is not there.

    A dry run on a bare host has made nothing yet, so there what is missing is left out.
    """
    absent: list[str] = []

    def each(kind: str, names: list[str], look: Any) -> dict[str, Any]:
        found = {}
        for name in sorted(set(names)):
            try:
                found[name] = look(name)
            except (OSError, KeyError):
                absent.append(f"{kind} {name}")
        return found

    document = {
        "version": record.VERSION,
        "stamp": wanted["stamp"],
        "files": each("file", wanted["files"], record.describe_file),
        "directories": {
            **each("directory", wanted["directories"], record.describe_directory),
            **each("directory", wanted["kept_directories"], record.find_directory),
        },
        "links": each("link", wanted["links"], record.describe_link),
        "users": each("user", wanted["users"], lambda name: pwd.getpwnam(name).pw_uid),
        "packages": sorted(set(wanted["packages"])),
        "services": [],
    }
    states = units.show(sorted(set(wanted["services"])))
    for name, unit in states.items():
        if unit.active:
            document["services"].append(name)
        elif unit.loaded and not unit.refused:
            absent.append(f"running service {name}")
    if absent and not dry_run:
        raise MissingError(f"these are managed, but not there: {', '.join(absent)}")
    return document


def present(path: Path) -> str:
    """The record that is there, as text, whatever it holds."""
    try:
        return (readers.read_bytes(path) or b"").decode("utf-8", "replace")
    except readers.Damaged as damage:
        return f"{damage}\n"


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=_ARGUMENTS, supports_check_mode=True)
    path = Path(module.params["record"])
    try:
        document = describe(module.params, module.check_mode)
        before = present(path)
        after = json.dumps(document, indent=1, sort_keys=True) + "\n"
        if before != after and not module.check_mode:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_atomically(path, after)
    except (OSError, MissingError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=before != after,
        record=document,
        diff={
            "before_header": str(path),
            "after_header": str(path),
            "before": before,
            "after": after,
        },
    )


if __name__ == "__main__":
    main()
