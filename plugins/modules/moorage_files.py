#!/usr/bin/python
"""Ansible module: have files, directories and links in place."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.moorage_host import paths

DOCUMENTATION = r"""
module: moorage_files
short_description: Have files, directories and links in place
description:
  - Takes whole lists and needs one execution for all of them, where a loop over
    M(ansible.builtin.file) or M(ansible.builtin.template) costs half a second an entry.
  - Touches only what differs. Directories come first, then files, then links, each in the order
    given. Supports check mode and diff, on a bare host too.
options:
  directories:
    description: Directories; a link to a directory is followed.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The directory.
        type: path
        required: true
      owner:
        description: Account, by name or number (which needs no account).
        type: str
        default: root
      group:
        description: Group, by name or number.
        type: str
        default: root
      mode:
        description: Permissions in octal digits.
        type: str
        default: "0755"
      keep:
        description:
          - Whether one that is there stays as it is, whosever it is, since what runs may be at work
            in it.
        type: bool
        default: false
  files:
    description: Files.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file; missing parents are made with mode 0755.
        type: path
        required: true
      content:
        description: Its whole content, usually a rendered template.
        type: str
        default: ""
      owner:
        description: Account, by name or number.
        type: str
        default: root
      group:
        description: Group, by name or number.
        type: str
        default: root
      mode:
        description: Permissions in octal digits.
        type: str
        default: "0644"
      state:
        description: Whether it is to be there.
        type: str
        choices: [present, absent]
        default: present
      validate:
        description:
          - A command that checks new content before it takes the old one's place; C(%s) stands for
            the candidate. Left out while the command is not installed.
        type: str
      apply:
        description:
          - A command to run after new content is in place. When it fails, the old content comes
            back, so that the next run tries again.
        type: list
        elements: str
      verify:
        description:
          - A command that succeeds while the content is in effect. When it fails, O(files[].apply)
            runs although the file is as it should be.
        type: list
        elements: str
      show_diff:
        description: Whether the content may show in a diff.
        type: bool
        default: true
  links:
    description: Symbolic links; the target must exist.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The link.
        type: path
        required: true
      target:
        description: Where it points.
        type: str
        required: true
author:
  - Moorage contributors
"""

EXAMPLES = r"""
- name: Ensure the engine's configuration is in place
  moorage_files:
    files:
      - path: /etc/docker/daemon.json
        content: "{{ lookup('ansible.builtin.template', 'etc/docker/daemon.json.j2') }}"
        validate: dockerd --validate --config-file %s
  notify: Restart the engine

- name: Ensure the data directories are in place
  moorage_files:
    directories:
      - {path: /opt/tg2em/data/mysql-data, owner: "10002", group: "10002", mode: "0750"}
"""

RETURN = r"""
changed_paths:
  description: What was changed, or would be in check mode.
  type: list
  elements: str
  returned: always
"""

_OWNERSHIP = {
    "path": {"type": "path", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}
_DIRECTORY = {
    **_OWNERSHIP,
    "mode": {"type": "str", "default": "0755"},
    "keep": {"type": "bool", "default": False},
}
_FILE = {
    **_OWNERSHIP,
    "mode": {"type": "str", "default": "0644"},
    "content": {"type": "str", "default": ""},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "validate": {"type": "str"},
    "apply": {"type": "list", "elements": "str"},
    "verify": {"type": "list", "elements": "str"},
    "show_diff": {"type": "bool", "default": True},
}
_LINK = {
    "path": {"type": "path", "required": True},
    "target": {"type": "str", "required": True},
}
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "directories": {"type": "list", "elements": "dict", "options": _DIRECTORY, "default": []},
    "files": {"type": "list", "elements": "dict", "options": _FILE, "default": []},
    "links": {"type": "list", "elements": "dict", "options": _LINK, "default": []},
}


def ensure(wanted: dict[str, Any], dry_run: bool) -> list[dict[str, Any]]:
    """Have everything in place; one diff for each path that changed."""
    diffs = [paths.ensure_directory(entry, dry_run) for entry in wanted["directories"]]
    diffs += [paths.ensure_file(entry, dry_run) for entry in wanted["files"]]
    diffs += [paths.ensure_link(entry, dry_run) for entry in wanted["links"]]
    return [diff for diff in diffs if diff]


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=_ARGUMENTS, supports_check_mode=True)
    try:
        diffs = ensure(module.params, module.check_mode)
    except (OSError, paths.PathError) as error:
        module.fail_json(msg=str(error))
    changed_paths = [diff["after_header"] for diff in diffs]
    module.exit_json(changed=bool(diffs), changed_paths=changed_paths, diff=diffs)


if __name__ == "__main__":
    main()
