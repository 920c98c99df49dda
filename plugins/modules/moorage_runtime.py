#!/usr/bin/python
"""Install Moorage's own Python package and its command on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: moorage_runtime
short_description: Install Moorage's own Python package and its command on a host
description:
  - Unpacks the package to C(/usr/local/lib/moorage) and writes the command
    C(/usr/local/bin/moorage). It needs nothing but the host's own Python.
  - Makes the keys that the host signs its receipts with, where it has none; that needs C(minisign).
  - Its action plugin packs the sources on the controller and ships them only when the host's
    version differs.
options:
  version:
    description: Hash of the sources; filled in by the action plugin.
    type: str
  archive:
    description: Path of the shipped archive on the host; filled in by the action plugin.
    type: path
attributes:
  check_mode:
    support: full
    description: Reports whether the package would be replaced or keys would be made.
  diff_mode:
    support: full
    description: Shows the version, and the keys that are made.
author: The Moorage authors
"""

EXAMPLES = r"""
- name: Ensure the moorage command is installed
  moorage_runtime:
"""

RETURN = r"""
wanted:
  description: Whether the host lacks this version and waits for the archive.
  returned: always
  type: bool
"""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.moorage_host import names
from ansible.module_utils.moorage_host.files import write_atomically

# Units, rotations and rollouts know these places.
LIBRARY = Path(names.LIBRARY)
COMMAND = Path(names.COMMAND)
KEYS = Path("/opt/moorage/keys")
VERSION_FILE = "VERSION"
KEY_FILES = ("receipt.key", "receipt.pub")
MAKE_KEYS = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from moorage.common.signing import SigningError, ensure_key
try:
    ensure_key(pathlib.Path(sys.argv[2]))
except SigningError as error:
    sys.exit(str(error))
"""
WRAPPER = """#!/bin/sh
# Moorage's command: status, logs, start, stop, restart … of the stacks on this host.
# -P keeps the current directory off the module path, so no file there can stand in for ours.
PYTHONPATH={directory} exec /usr/bin/python3 -P -m moorage.cli "$@"
"""


def read(path: Path) -> str:
    """Return the content of a file, or an empty string."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def install(archive: str, directory: Path, version: str) -> None:
    """Unpack beside the old package and change places with it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".moorage.", dir=directory.parent))
    retired = scratch.with_name(f"{scratch.name}.old")
    try:
        with tarfile.open(archive) as source:
            source.extractall(scratch, filter="data")
        (scratch / VERSION_FILE).write_text(version + "\n", encoding="utf-8")
        scratch.chmod(0o755)
        if directory.is_dir():
            directory.rename(retired)
        scratch.rename(directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def restart_gateways() -> None:
    """Have the gateways and watchers of the stacks here run what was just installed."""
    # Where there is no systemd there are none.
    if shutil.which("systemctl"):
        argv = ["systemctl", "try-restart", "moorage-watch-*.service", "moorage-gateway-*.service"]
        subprocess.run(argv, capture_output=True, check=False, timeout=120)


def make_keys(directory: Path, package: Path) -> None:
    """Make the keys with the package that was just installed; RuntimeError tells why it cannot."""
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", MAKE_KEYS, str(package), str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"no keys in {directory}: {done.stderr.strip()}")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "version": {"type": "str"},
            "archive": {"type": "path"},
        },
        supports_check_mode=True,
    )
    args = module.params
    if not args["version"]:
        module.fail_json(
            msg="moorage_runtime is driven by its action plugin, which packs the sources"
        )
    before = read(LIBRARY / VERSION_FILE).strip()
    wrapper = WRAPPER.format(directory=LIBRARY)
    outdated = before != args["version"]
    changed = outdated or read(COMMAND) != wrapper
    keyless = not all((KEYS / name).exists() for name in KEY_FILES)
    diff = {"before": f"{before}\n", "after": f"{args['version']}\n"}
    if keyless:
        diff["after"] += f"new keys in {KEYS}\n"
    if changed and not module.check_mode and (args["archive"] or not outdated):
        if outdated:
            install(args["archive"], LIBRARY, args["version"])
            restart_gateways()
        write_atomically(COMMAND, wrapper, 0o755)
        outdated = False
    # Not before the package: it knows how. Asked again with the archive, it is there.
    if keyless and not outdated and not module.check_mode:
        try:
            make_keys(KEYS, LIBRARY)
        except RuntimeError as error:
            module.fail_json(msg=str(error))
    module.exit_json(changed=changed or keyless, wanted=outdated, diff=diff)


if __name__ == "__main__":
    main()
