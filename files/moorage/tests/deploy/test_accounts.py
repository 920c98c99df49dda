"""Numbers become names where logrotate wants names."""

from __future__ import annotations

import grp
import pwd
import subprocess

import pytest

from moorage.deploy.accounts import ensure_account, with_names


def test_numbers_become_the_names_of_their_accounts() -> None:
    user, group = pwd.getpwall()[1], grp.getgrall()[1]
    given = f"/opt/x/*.log {{\n    su {user.pw_uid} {group.gr_gid}\n    rotate 3\n}}\n"
    assert with_names(given.encode()).decode() == given.replace(
        f"su {user.pw_uid} {group.gr_gid}", f"su {user.pw_name} {group.gr_name}"
    )


def test_names_stay() -> None:
    given = b"{\n    su moorage-gateway moorage-gateway\n    # su 1 1 is not meant\n}\n"
    assert with_names(given) == given


def test_a_number_without_an_account_gets_one_that_nobody_signs_in_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[str, ...]] = []

    def run(argv: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        made.append(argv)
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    free = max(entry.pw_uid for entry in pwd.getpwall()) + 70000
    group = max(entry.gr_gid for entry in grp.getgrall()) + 70000
    named = with_names(f"    su {free} {group}\n".encode())
    assert named == f"    su moorage-{free} moorage-{group}\n".encode()
    by_name = {argv[0]: argv for argv in made}
    assert by_name["groupadd"][1:] == ("--gid", str(group), f"moorage-{group}")
    user = by_name["useradd"]
    assert user[user.index("--uid") + 1] == str(free) and user[-1] == f"moorage-{free}"
    assert user[user.index("--gid") + 1] == str(group)
    assert user[user.index("--shell") + 1] == "/usr/sbin/nologin"


def test_an_account_that_cannot_be_made_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 4, "", "cannot lock /etc/group\n")

    monkeypatch.setattr(subprocess, "run", run)
    free = max(entry.gr_gid for entry in grp.getgrall()) + 70000
    with pytest.raises(OSError, match=f"groupadd.*moorage-{free}.*cannot lock /etc/group"):
        with_names(f"su {free} {free}\n".encode())


def test_every_group_of_a_process_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, ...]] = []

    def run(argv: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        made.append(argv)
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    free = max(entry.gr_gid for entry in grp.getgrall()) + 70000
    ensure_account(0, 0, (free,))
    assert made == [("groupadd", "--gid", str(free), f"moorage-{free}")]
