#!/usr/bin/python
"""Keep the secrets of a stack as files that only root and their users can read."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: moorage_secrets
short_description: Keep the secrets of a stack as files that only root and their users can read
description:
  - The secret itself is O(directory)/NAME, owned by root with mode 0400.
  - Every user that needs it has a copy of its own, O(directory)/for/UID/NAME, mode 0400, which is
    what containers mount; so no user reads what was meant for another. Where only the image knows
    the user (-1), it is O(directory)/for/any/NAME, of mode 0444, in a directory of root's alone.
  - A secret without a value is generated once and then kept; a value that is given replaces it.
  - No value is ever returned, shown in a diff or logged.
options:
  directory:
    description: Where the secrets of the stack are, such as C(/opt/tg2em/secrets).
    type: path
    required: true
  secrets:
    description: The secrets that the stack declares.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the secret.
        type: str
        required: true
      users:
        description: Numeric ids of the users that read it.
        type: list
        elements: int
        default: []
      length:
        description: How many characters are generated, or 0 when it must be given.
        type: int
        default: 0
      services:
        description: Who reads it; not used here.
        type: list
        elements: str
        default: []
      optional:
        description: Whether an empty file stands for a secret that is not given.
        type: bool
        default: false
  values:
    description: Values from the operator's vault, by name.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Reports which secrets would be made or replaced.
  diff_mode:
    support: none
    description: A difference would show the value.
author: The Moorage authors
"""

EXAMPLES = r"""
- name: Ensure the stack has its secrets
  moorage_secrets:
    directory: /opt/tg2em/secrets
    secrets:
      - {name: mysql_password, users: [10001, 10002], length: 40}
      - {name: telegram_bot_token, users: [10001], optional: true}
    values: "{{ vault_tg2em_secrets }}"
  no_log: true
"""

RETURN = r"""
generated:
  description: Names of the secrets made by this run.
  returned: always
  type: list
  elements: str
given:
  description: Names of the secrets that were not there, and were given.
  returned: always
  type: list
  elements: str
replaced:
  description: Names of the secrets whose given value differed.
  returned: always
  type: list
  elements: str
repaired:
  description: Paths whose copy, owner or mode was put right.
  returned: always
  type: list
  elements: str
"""

import os
import secrets
import stat
import string
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.moorage_host.files import write_atomically
from ansible.module_utils.moorage_host.names import ANY_READER, reader_directory

# ASCII only: PyMySQL encodes a password as latin1. No quotes, so it survives every config format.
ALPHABET = string.ascii_letters + string.digits
MINIMUM_LENGTH = 32


class Keeper:
    """Brings files to their content, owner and mode, and remembers what it had to do."""

    def __init__(self, check_mode: bool) -> None:
        self._check_mode = check_mode
        self.repaired: list[str] = []

    def directory(self, path: Path, mode: int = 0o711) -> None:
        """Ensure a directory that anybody passes through and only root lists or writes."""
        if not path.is_dir():
            self.repaired.append(str(path))
            if self._check_mode:
                return
            path.mkdir(mode=mode, parents=True)
        self._own(path, mode, 0)

    def file(self, path: Path, content: str, uid: int, mode: int = 0o400) -> None:
        """Ensure a file for its owner alone; its inode stays, since containers have it mounted."""
        if read(path) != content:
            self.repaired.append(str(path))
            if self._check_mode:
                return
            if os.path.lexists(path):
                # In place: a bind mount of a single file would go on showing a replaced inode.
                fill(path, content, uid)
            else:
                # A half of a secret would be taken for a secret by the next run.
                write_atomically(path, content.encode("ascii"), 0o400, (uid, uid))
        self._own(path, mode, uid)

    def _own(self, path: Path, mode: int, uid: int) -> None:
        if not path.exists():
            return
        now = path.stat()
        if (stat.S_IMODE(now.st_mode), now.st_uid, now.st_gid) != (mode, uid, uid):
            self.repaired.append(str(path))
            if not self._check_mode:
                os.chown(path, uid, uid)
                path.chmod(mode)


def fill(path: Path, content: str, uid: int) -> None:
    """Write a secret into a file; where the disk has no room for it, the file stays as it is."""
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "w", encoding="ascii") as out:
        os.fchmod(fd, 0o400)
        os.fchown(fd, uid, uid)
        before = os.fstat(fd).st_size
        try:
            os.posix_fallocate(fd, 0, max(1, len(content)))
        except OSError as trouble:
            os.ftruncate(fd, before)
            raise OSError(trouble.errno, trouble.strerror, str(path)) from None
        out.write(content)
        out.truncate()
        out.flush()
        os.fsync(fd)


def read(path: Path) -> str | None:
    """Return the content of a file, None when there is none; raises ValueError for a pipe."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError(f"{path} is to be a file and is none: move it away")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read().decode("ascii", "surrogateescape")
    finally:
        os.close(fd)


def generate(length: int) -> str:
    """Return a random value of ``length`` characters, never fewer than 32."""
    return "".join(secrets.choice(ALPHABET) for _ in range(max(length, MINIMUM_LENGTH)))


def decide(secret: dict[str, Any], given: str | None, kept: str | None) -> tuple[str, str]:
    """Return the value that a secret shall have and what that means.

    That is kept, generated, given (for the first time) or replaced.

    Raises ValueError when there is no way to get one.
    """
    name = secret["name"]
    if given:
        if not given.isascii():
            raise ValueError(f"secret {name}: the given value has characters that are not ASCII")
        return given, "kept" if given == kept else ("given" if kept is None else "replaced")
    if kept is not None and (not kept.isascii() or "\0" in kept):
        raise ValueError(
            f"secret {name}: its file is damaged. Give its value in the stack's `*_secrets`, or "
            f"remove the file, and a new one is generated where the Compose file says so"
        )
    if kept is not None and (kept or secret["optional"]):
        return kept, "kept"
    if secret["length"]:
        return generate(secret["length"]), "generated"
    if secret["optional"]:
        return "", "generated"
    raise ValueError(
        f"secret {name} has no source: give it in the stack's `*_secrets` (from a vault), or let "
        f"it be generated with `x-moorage: {{generate: {{length: 40}}}}` in the Compose file"
    )


def ensure(module: AnsibleModule) -> dict[str, Any]:
    """Bring all secrets to what they shall be."""
    root = Path(module.params["directory"])
    keeper = Keeper(module.check_mode)
    done: dict[str, list[str]] = {what: [] for what in ("generated", "given", "replaced", "kept")}
    values = {
        secret["name"]: decide(
            secret,
            module.params["values"].get(secret["name"]),
            read(root / secret["name"]),
        )
        for secret in module.params["secrets"]
    }
    for path in (root, root / "for"):
        keeper.directory(path)
    for uid in sorted({uid for s in module.params["secrets"] for uid in s["users"]}):
        # What containers have mounted is read by whoever they run as: nobody else comes there.
        only_root = uid == ANY_READER
        keeper.directory(root / "for" / reader_directory(uid), 0o700 if only_root else 0o711)
    for secret in module.params["secrets"]:
        value, what = values[secret["name"]]
        done[what].append(secret["name"])
        keeper.file(root / secret["name"], value, 0)
        for uid in secret["users"]:
            path = root / "for" / reader_directory(uid) / secret["name"]
            keeper.file(path, value, *((0, 0o444) if uid == ANY_READER else (uid,)))
    repaired = sorted(set(keeper.repaired))
    return {
        "changed": bool(repaired),
        **{what: done[what] for what in ("generated", "given", "replaced")},
        "repaired": repaired,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "secrets": {
                "type": "list",
                "elements": "dict",
                "required": True,
                # These are descriptions of secrets, not secrets.
                "no_log": False,
                "options": {
                    "name": {"type": "str", "required": True},
                    "users": {"type": "list", "elements": "int", "default": []},
                    "length": {"type": "int", "default": 0},
                    "optional": {"type": "bool", "default": False},
                    "services": {"type": "list", "elements": "str", "default": []},
                },
            },
            "values": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    try:
        result = ensure(module)
    except (ValueError, OSError) as trouble:
        module.fail_json(msg=str(trouble))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
