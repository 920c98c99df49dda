"""Numbers become names where logrotate wants names."""

from __future__ import annotations

import grp
import pwd

from moorage.deploy.accounts import with_names


def test_numbers_become_the_names_of_their_accounts() -> None:
    user, group = pwd.getpwall()[1], grp.getgrall()[1]
    given = f"/opt/x/*.log {{\n    su {user.pw_uid} {group.gr_gid}\n    rotate 3\n}}\n"
    assert with_names(given.encode()).decode() == given.replace(
        f"su {user.pw_uid} {group.gr_gid}", f"su {user.pw_name} {group.gr_name}"
    )


def test_names_stay() -> None:
    given = b"{\n    su moorage-gateway moorage-gateway\n    # su 1 1 is not meant\n}\n"
    assert with_names(given) == given
