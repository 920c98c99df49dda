"""The module that keeps secrets, run as Ansible runs it, on directories of this test."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLUGINS = Path(__file__).resolve().parents[4] / "plugins"
# Ansible packs a module with those of our module_utils that it imports.
RUN = f"""
import ansible.module_utils, runpy
ansible.module_utils.__path__.append({str(PLUGINS / "module_utils")!r})
runpy.run_path({str(PLUGINS / "modules/moorage_secrets.py")!r}, run_name="__main__")
"""
# Owners can only be changed by root; anybody else keeps secrets for oneself.
UID = 10001 if os.geteuid() == 0 else os.geteuid()


def secret(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "users": [UID], **more}


# Stands for a file system that refuses to give away a file or to change its mode.
STUBBORN = """
import os
def refuse(*_): raise PermissionError(1, "Operation not permitted")
os.fchmod = os.fchown = refuse
"""


def run(
    directory: Path,
    secrets: list[dict[str, Any]],
    check: bool = False,
    first: str = "",
    **values: str,
) -> Any:
    arguments = {
        "directory": str(directory),
        "secrets": secrets,
        "values": values,
        "_ansible_check_mode": check,
    }
    done = subprocess.run(
        [sys.executable, "-c", first + RUN],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
    )
    for value in filter(None, values.values()):
        assert value not in done.stdout
    return json.loads(done.stdout)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    # The module owns what it makes as root does: without root this has to be our own directory.
    if os.geteuid() != 0:
        raise RuntimeError("these tests change owners: run them as root, as `make test` does")
    return tmp_path / "secrets"


def test_a_secret_is_generated_once_and_then_kept(home: Path) -> None:
    first = run(home, [secret("key", length=40)])
    assert first["changed"] and first["generated"] == ["key"]
    value = (home / "key").read_text()
    assert len(value) == 40 and value.isalnum() and value.isascii()
    again = run(home, [secret("key", length=40)])
    assert not again["changed"]
    assert (home / "key").read_text() == value


def test_owners_and_modes(home: Path) -> None:
    run(home, [secret("key", length=40)])
    copy = home / "for" / str(UID) / "key"
    assert copy.read_text() == (home / "key").read_text()
    for path, uid, mode in (
        (home, 0, 0o711),
        (home / "key", 0, 0o400),
        (copy.parent, 0, 0o711),
        (copy, UID, 0o400),
    ):
        seen = path.stat()
        assert (seen.st_uid, stat.S_IMODE(seen.st_mode)) == (uid, mode), path
    copy.chmod(0o444)
    repaired = run(home, [secret("key", length=40)])
    assert repaired["changed"] and repaired["repaired"] == [str(copy)]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o400


def test_for_an_images_own_user_it_lies_where_root_alone_comes(home: Path) -> None:
    anybody = {**secret("key", length=40), "users": [-1]}
    run(home, [anybody])
    copy = home / "for" / "any" / "key"
    assert copy.read_text() == (home / "key").read_text()
    for path, mode in ((copy.parent, 0o700), (copy, 0o444)):
        seen = path.stat()
        assert (seen.st_uid, stat.S_IMODE(seen.st_mode)) == (0, mode), path
    done = run(home, [anybody], key="a-value-from-the-vault-0123456789")
    assert done["replaced"] == ["key"] and stat.S_IMODE(copy.stat().st_mode) == 0o444
    assert not run(home, [anybody], key="a-value-from-the-vault-0123456789")["changed"]


def test_a_value_that_is_given_at_first_was_not_generated(home: Path) -> None:
    done = run(home, [secret("key", length=40)], key="a-value-from-the-vault-0123456789")
    assert done["given"] == ["key"] and done["generated"] == done["replaced"] == []


def test_a_given_value_replaces_in_place(home: Path) -> None:
    run(home, [secret("key", length=40)])
    copy = home / "for" / str(UID) / "key"
    inode = copy.stat().st_ino
    done = run(home, [secret("key", length=40)], key="a-value-from-the-vault-0123456789")
    assert done["replaced"] == ["key"] and done["generated"] == done["given"] == []
    assert copy.read_text() == "a-value-from-the-vault-0123456789"
    # A container has this very file mounted: another inode would never be seen inside.
    assert copy.stat().st_ino == inode
    assert not run(home, [secret("key")], key="a-value-from-the-vault-0123456789")["changed"]


def test_nothing_is_written_before_nobody_else_can_read_it(home: Path) -> None:
    run(home, [secret("key", length=40)])
    value = (home / "key").read_text()
    for path in (home / "key", home / "for" / str(UID) / "key"):
        path.chmod(0o644)
    done = run(home, [secret("key")], first=STUBBORN, key="a-value-from-the-vault-0123456789-ab")
    assert done["failed"] and "not permitted" in done["msg"]
    assert (home / "key").read_text() == value
    assert (home / "for" / str(UID) / "key").read_text() == value
    assert run(home, [secret("new", length=40)], first=STUBBORN)["failed"]
    assert not (home / "new").exists()


def test_an_optional_one_is_empty_until_it_is_given(home: Path) -> None:
    run(home, [secret("token", optional=True)])
    assert (home / "token").read_text() == ""
    run(home, [secret("token", optional=True)], token="123456:ABCDEF-abcdef-0123456789")
    assert (home / "token").read_text() == "123456:ABCDEF-abcdef-0123456789"
    assert not run(home, [secret("token", optional=True)])["changed"], "it is not taken away again"


def test_one_without_a_source_is_an_error_that_says_what_to_do(home: Path) -> None:
    done = run(home, [secret("key", length=40), secret("licence")])
    assert done["failed"] and "secret licence has no source" in done["msg"]
    assert not home.exists(), "nothing is written when something is missing"


def test_a_value_that_is_not_ascii_is_refused(home: Path) -> None:
    done = run(home, [secret("key")], key="密码密码密码密码")
    assert done["failed"] and "ASCII" in done["msg"] and "密码" not in done["msg"]


def test_a_dry_run_writes_nothing(home: Path) -> None:
    done = run(home, [secret("key", length=40)], check=True)
    assert done["changed"] and not home.exists()


def test_a_file_that_no_secret_is_in_is_told_and_given_anew(home: Path) -> None:
    run(home, [secret("key", length=40)])
    for torn in (b"\xff\xfe", bytes(40)):
        (home / "key").write_bytes(torn)
        failed = run(home, [secret("key", length=40)])
        assert "secret key: its file is damaged" in failed["msg"]
        assert (home / "key").read_bytes() == torn
        assert run(home, [secret("key", length=40)], key="another")["replaced"] == ["key"]
        assert (home / "key").read_text() == "another"


@pytest.mark.parametrize("what", ["directory", "pipe"])
def test_what_is_no_file_is_told(home: Path, what: str) -> None:
    run(home, [secret("key", length=40)])
    (home / "key").unlink()
    os.mkfifo(home / "key") if what == "pipe" else (home / "key").mkdir()
    for value in ("", "another"):
        assert str(home / "key") in run(home, [secret("key", length=40)], key=value)["msg"]


def test_a_full_disk_leaves_no_half_of_a_secret(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        home = disk / "secrets"
        assert run(home, [secret("old")], old="one")["given"] == ["old"]
        with (disk / "fill").open("wb", buffering=0) as out, pytest.raises(OSError, match="space"):
            while True:
                out.write(bytes(4096))
        failed = run(home, [secret("old"), secret("new")], old="one", new="n" * 100)
        assert "No space left on device" in failed["msg"]
        assert not (home / "new").exists() and (home / "old").read_text() == "one"
        failed = run(home, [secret("old")], old="o" * 9000)
        assert "No space left on device" in failed["msg"]
        assert (home / "old").read_text() == "one"
        (disk / "fill").unlink()
        assert run(home, [secret("old"), secret("new")], new="n" * 100)["given"] == ["new"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
