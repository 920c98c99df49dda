"""The record of what provisioning left behind, and what differs from it now."""

from __future__ import annotations

import errno
import hashlib
import os
import pwd
import stat
from pathlib import Path
from typing import Any

from ansible.module_utils.moorage_host import dpkg, readers, units

RECORD = "/var/lib/moorage/provision.json"
VERSION = 1


def describe_file(path: str) -> dict[str, Any]:
    """Content hash, mode and owner of a file; FileNotFoundError when it is missing."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "no file")
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    return {"sha256": digest, **_owner_and_mode(status)}


def describe_directory(path: str) -> dict[str, Any]:
    """Mode and owner of a directory; NotADirectoryError when it is something else."""
    status = os.stat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(path)
    return _owner_and_mode(status)


def find_directory(path: str) -> dict[str, Any]:
    """Nothing but that it is there; raises as `describe_directory` does."""
    describe_directory(path)
    return {}


def _owner_and_mode(status: os.stat_result) -> dict[str, Any]:
    mode = format(stat.S_IMODE(status.st_mode), "04o")
    return {"mode": mode, "uid": status.st_uid, "gid": status.st_gid}


def describe_link(path: str) -> str:
    """Where a symbolic link points; OSError when it is none."""
    return os.readlink(path)


def read(path: str) -> dict[str, Any] | None:
    """The record, None when there is none (or none that this version can read)."""
    document = readers.read_note(Path(path))
    return document if document.get("version") == VERSION else None


def drift(record: dict[str, Any] | None, stamp: str | None, installed: Any = None) -> list[str]:
    """All that is not as the record says, by name. `installed` spares a second read of dpkg's."""
    if record is None:
        return ["host: never provisioned"]
    try:
        return _drift(record, stamp, installed)
    except (AttributeError, LookupError, TypeError, ValueError):
        # Provisioning writes it anew.
        return ["host: the record of its provisioning is damaged"]


def _drift(record: dict[str, Any], stamp: str | None, installed: Any) -> list[str]:
    found = []
    if stamp is not None and record["stamp"] != stamp:
        found.append("settings: changed since the last provisioning")
    found += _of_paths("file", record["files"], describe_file)
    found += _of_paths("directory", record["directories"], describe_directory)
    found += _of_links(record["links"])
    found += _of_users(record["users"])
    packages = dpkg.read_status() if installed is None else installed
    found += [
        f"package {name}: not installed" for name in dpkg.missing(record["packages"], packages)
    ]
    found += _of_services(record["services"])
    return found


def _of_paths(kind: str, recorded: dict[str, dict[str, Any]], describe: Any) -> list[str]:
    found = []
    for path, wanted in recorded.items():
        try:
            actual = describe(path)
        except FileNotFoundError:
            found.append(f"{kind} {path}: missing")
        except OSError as error:
            found.append(f"{kind} {path}: {error.strerror or 'not a directory'}")
        else:
            found += [f"{kind} {path}: {reason}" for reason in differences(wanted, actual)]
    return found


def differences(wanted: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    """What differs between two descriptions of a path, in words."""
    found = []
    if wanted.get("sha256") != actual.get("sha256"):
        found.append("content changed")
    if not wanted:
        # Only that it is there matters: whose it is changes with what runs.
        return found
    if wanted["mode"] != actual["mode"]:
        found.append(f"mode {actual['mode']} instead of {wanted['mode']}")
    if (wanted["uid"], wanted["gid"]) != (actual["uid"], actual["gid"]):
        owners = f"{actual['uid']}:{actual['gid']} instead of {wanted['uid']}:{wanted['gid']}"
        found.append(f"owner {owners}")
    return found


def _of_links(recorded: dict[str, str]) -> list[str]:
    found = []
    for path, target in recorded.items():
        try:
            actual = describe_link(path)
        except OSError:
            found.append(f"link {path}: missing")
            continue
        if actual != target:
            found.append(f"link {path}: points to {actual} instead of {target}")
    return found


def _of_users(recorded: dict[str, int]) -> list[str]:
    found = []
    for name, uid in recorded.items():
        try:
            actual = pwd.getpwnam(name).pw_uid
        except KeyError:
            found.append(f"user {name}: missing")
            continue
        if actual != uid:
            found.append(f"user {name}: number {actual} instead of {uid}")
    return found


def _of_services(recorded: list[str]) -> list[str]:
    found = []
    states = units.show(recorded)
    for name in recorded:
        unit = states.get(name)
        if unit is None or not unit.loaded:
            found.append(f"service {name}: {'masked' if unit and unit.masked else 'missing'}")
            continue
        if not unit.active:
            found.append(f"service {name}: not running")
        if not unit.enabled:
            found.append(f"service {name}: not enabled")
    return found
