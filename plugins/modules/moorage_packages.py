#!/usr/bin/python
"""Ansible module: have Debian packages installed."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.moorage_host import dpkg

DOCUMENTATION = r"""
module: moorage_packages
short_description: Have Debian packages installed
description:
  - Installs what is missing of a list of packages in one transaction, without their
    recommendations, and never removes another package for it.
  - Differs from M(ansible.builtin.apt) in what a dry run on a bare host needs, where package lists
    and python3-apt are not there yet. The package lists are fetched only when something has to be
    installed, and nothing but Python's standard library is needed.
options:
  name:
    description:
      - The packages. C(a | b) is satisfied by any of the names, installed or provided; the first
        is installed when none is.
    type: list
    elements: str
    required: true
  lock_timeout_seconds:
    description: How long to wait for another package manager that holds dpkg's lock.
    type: int
    default: 300
  lists_max_age_seconds:
    description:
      - Package lists that are younger are used as they are; should the installation fail with
        them, they are fetched anew and it is tried once more.
    type: int
    default: 3600
author:
  - Moorage contributors
"""

EXAMPLES = r"""
- name: Ensure the packages are installed
  moorage_packages:
    name: [curl, systemd-timesyncd | time-daemon]
"""

RETURN = r"""
installed:
  description: What was installed, or would be in check mode.
  type: list
  elements: str
  returned: always
"""

LISTS = Path("/var/lib/apt/lists")

_QUIET = {
    # A question on the terminal would hang the run.
    "DEBIAN_FRONTEND": "noninteractive",
    "NEEDRESTART_MODE": "l",
    "LC_ALL": "C.UTF-8",
}


class InstallError(Exception):
    """apt-get failed; the message holds the end of what it said."""


def apt_get(arguments: list[str], lock_timeout: int) -> None:
    """Run apt-get without questions; InstallError when it fails."""
    options = ["-qq", "-o", f"DPkg::Lock::Timeout={lock_timeout}", "-o", "Dpkg::Use-Pty=0"]
    done = subprocess.run(
        ["apt-get", *options, *arguments],
        env={**os.environ, **_QUIET},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise InstallError(f"apt-get {' '.join(arguments)} failed:\n{said}")


def lists_age(lists: Path = LISTS) -> float:
    """How old the package lists are in seconds; infinite when there are none."""
    if not any(lists.glob("*_Packages*")):
        return float("inf")
    # apt-get touches "partial" at every update, the lists themselves only when they changed.
    return time.time() - max(path.stat().st_mtime for path in (lists, lists / "partial"))


def update(lock_timeout: int) -> None:
    """Fetch the package lists; unlike apt-get by itself, one that is missing is an error."""
    apt_get(["update", "-o", "APT::Update::Error-Mode=any"], lock_timeout)


def bring(entries: list[str], lock_timeout: int, max_age: float) -> None:
    """Install from lists that are young enough, and from fresh ones if those will not do.

    Old lists may name files that the archive has replaced since.
    """
    fresh = lists_age() > max_age
    if fresh:
        update(lock_timeout)
    try:
        install(entries, lock_timeout)
    except InstallError:
        if fresh:
            raise
        update(lock_timeout)
        install(entries, lock_timeout)


def install(entries: list[str], lock_timeout: int) -> None:
    """Install the preferred name of each entry; InstallError when one is missing afterwards."""
    names = [dpkg.alternatives(entry)[0] for entry in entries]
    options = ["--yes", "--no-install-recommends", "--no-remove"]
    # The operator's own version of a configuration file stays.
    keep = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
    apt_get(["install", *options, *keep, "--", *names], lock_timeout)
    still = dpkg.missing(entries, dpkg.read_status())
    if still:
        raise InstallError(f"apt-get reported success, but these are not installed: {still}")


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "list", "elements": "str", "required": True},
            "lock_timeout_seconds": {"type": "int", "default": 300},
            "lists_max_age_seconds": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    missing = dpkg.missing(module.params["name"], dpkg.read_status())
    if missing and not module.check_mode:
        try:
            bring(
                missing,
                module.params["lock_timeout_seconds"],
                module.params["lists_max_age_seconds"],
            )
        except InstallError as error:
            module.fail_json(msg=str(error))
    lines = "".join(f"{dpkg.alternatives(entry)[0]}\n" for entry in missing)
    module.exit_json(
        changed=bool(missing),
        installed=missing,
        diff={
            "before_header": "packages",
            "after_header": "packages",
            "before": "",
            "after": lines,
        },
    )


if __name__ == "__main__":
    main()
