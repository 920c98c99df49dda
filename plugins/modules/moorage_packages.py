#!/usr/bin/python
"""Ansible module: have Debian packages installed."""

from __future__ import annotations

import os
import subprocess

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


def install(entries: list[str], lock_timeout: int) -> None:
    """Install the preferred name of each entry from fresh package lists."""
    # A list that is a day old may name files that the archive has replaced since.
    apt_get(["update", "-o", "APT::Update::Error-Mode=any"], lock_timeout)
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
        },
        supports_check_mode=True,
    )
    missing = dpkg.missing(module.params["name"], dpkg.read_status())
    if missing and not module.check_mode:
        try:
            install(missing, module.params["lock_timeout_seconds"])
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
