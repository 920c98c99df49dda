"""Files, directories and links as they are wanted, and how to make them so."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.moorage_host import files


class PathError(Exception):
    """A path cannot be made as wanted; the message says which and why."""


def user_id(owner: str) -> int:
    """The number of an account given by name or number; a number need not have an account."""
    if owner.isdigit():
        return int(owner)
    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError:
        raise PathError(f"there is no user {owner} on this host") from None


def group_id(group: str) -> int:
    """The number of a group given by name or number."""
    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise PathError(f"there is no group {group} on this host") from None


def ensure_directory(entry: dict[str, Any], dry_run: bool) -> dict[str, Any] | None:
    """Have a directory with owner and mode; the diff of what changed, or None.

    A link to a directory is followed: that is how an operator moves data to another disk. One that
    is there stays as it is with ``keep``.
    """
    path = Path(entry["path"])
    if path.exists() and not path.is_dir():
        raise PathError(f"{path} is wanted as a directory, but is a file")
    if path.is_symlink() and not path.exists():
        raise PathError(f"{path} is a link that leads nowhere ({os.readlink(path)})")
    if entry.get("keep") and path.exists():
        return None
    before = _attributes(path) if path.exists() else "absent"
    after = _wanted_attributes(entry, dry_run)
    if before == after:
        return None
    if not dry_run:
        # Missing parents get the usual mode; those that matter are listed themselves, before it.
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _apply_attributes(path, entry)
    return _diff(str(path), f"{before}\n", f"{after}\n")


def ensure_link(entry: dict[str, Any], dry_run: bool) -> dict[str, Any] | None:
    """Have a symbolic link that points to a target that exists; the diff, or None."""
    path, target = Path(entry["path"]), entry["target"]
    before = os.readlink(path) if path.is_symlink() else ("a file" if path.exists() else "absent")
    if before == target:
        return None
    if path.is_dir() and not path.is_symlink():
        raise PathError(f"{path} is wanted as a link, but is a directory")
    if not dry_run:
        if not (path.parent / target).exists():
            raise PathError(f"{path} cannot point to {target}: that does not exist")
        files.lead(path, target)
    return _diff(str(path), f"{before}\n", f"{target}\n")


def ensure_file(entry: dict[str, Any], dry_run: bool) -> dict[str, Any] | None:
    """Have a file with content, owner and mode, or not at all; the diff, or None.

    A new content is validated before it takes the place of the old one. When the command in
    `apply` fails, the old content comes back: the next run then sees a difference and tries again,
    rather than taking a file for applied that never was. The command in `verify` finds what was
    undone by hand although the file is as it should be.
    """
    path = Path(entry["path"])
    if path.is_dir():
        raise PathError(f"{path} is wanted as a file, but is a directory")
    old = path.read_bytes() if path.exists() else None
    new = None if entry["state"] == "absent" else entry["content"].encode()
    before = "absent" if old is None else _attributes(path)
    after = "absent" if new is None else _wanted_attributes(entry, dry_run)
    if old == new and before == after:
        return _ensure_applied(entry, old, dry_run)
    _validate(entry, new, old)
    if not dry_run:
        _put(path, entry, new)
        if old != new and entry["apply"]:
            _apply(path, entry, old)
    return _file_diff(entry, old, new, before, after)


def _validate(entry: dict[str, Any], new: bytes | None, old: bytes | None) -> None:
    if not entry["validate"] or new is None or new == old:
        return
    # A configuration may be in place before the program that it is for.
    if shutil.which(entry["validate"].split()[0]) is None:
        return
    # In a directory of its own, so that the checker sees the real name but nothing picks it up.
    with tempfile.TemporaryDirectory(prefix="moorage-") as directory:
        candidate = Path(directory) / Path(entry["path"]).name
        candidate.write_bytes(new)
        candidate.chmod(0o600)
        argv = [word.replace("%s", str(candidate)) for word in entry["validate"].split()]
        _run(argv, f"the new content of {entry['path']} is not valid")


def _put(path: Path, entry: dict[str, Any], new: bytes | None) -> None:
    if new is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    owner = user_id(entry["owner"]), group_id(entry["group"])
    files.write_atomically(path, new, int(entry["mode"], 8), owner)


def _apply(path: Path, entry: dict[str, Any], old: bytes | None) -> None:
    try:
        _run(entry["apply"], f"{path} is written, but could not be applied")
    except PathError:
        _put(path, entry, old)
        raise


def _ensure_applied(
    entry: dict[str, Any], old: bytes | None, dry_run: bool
) -> dict[str, Any] | None:
    if old is None or not entry["verify"]:
        return None
    try:
        _run(entry["verify"], "not in effect")
    except PathError as error:
        if not dry_run:
            _apply(Path(entry["path"]), entry, old)
        return _diff(entry["path"], f"{error}\n", "in effect\n")
    return None


def _run(argv: list[str], failure: str) -> None:
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except OSError as error:
        raise PathError(f"{failure}: {argv[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise PathError(f"{failure}: {' '.join(argv)} says:\n{done.stdout.strip()}")


def _attributes(path: Path) -> str:
    status = path.stat()
    return f"owner {status.st_uid}:{status.st_gid} mode {stat.S_IMODE(status.st_mode):04o}"


def _wanted_attributes(entry: dict[str, Any], dry_run: bool) -> str:
    try:
        owner, group = user_id(entry["owner"]), group_id(entry["group"])
    except PathError:
        # On a bare host the run itself would create the account first.
        if not dry_run:
            raise
        return f"owner {entry['owner']}:{entry['group']} mode {int(entry['mode'], 8):04o}"
    return f"owner {owner}:{group} mode {int(entry['mode'], 8):04o}"


def _apply_attributes(path: Path, entry: dict[str, Any]) -> None:
    owner, group = user_id(entry["owner"]), group_id(entry["group"])
    handle = os.open(str(path), os.O_RDONLY | os.O_NONBLOCK)
    try:
        # What was opened, whatever the path stands for by now.
        os.fchown(handle, owner, group)
        # After chown, which drops the set-id bits.
        os.fchmod(handle, int(entry["mode"], 8))
    finally:
        os.close(handle)


def _file_diff(
    entry: dict[str, Any], old: bytes | None, new: bytes | None, before: str, after: str
) -> dict[str, Any]:
    if old == new:
        return _diff(entry["path"], f"{before}\n", f"{after}\n")
    if not entry["show_diff"]:
        return _diff(entry["path"], "", "(the content is not shown)\n")
    return _diff(
        entry["path"],
        (old or b"").decode("utf-8", "replace"),
        (new or b"").decode("utf-8", "replace"),
    )


def _diff(path: str, before: str, after: str) -> dict[str, Any]:
    return {"before_header": path, "after_header": path, "before": before, "after": after}
