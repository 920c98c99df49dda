"""A gateway takes for its own only what a deploy of its stack has made for that very service."""

import json
from pathlib import Path

import pytest

from moorage.control.membership import Membership

LABELS = {
    "moorage.stack": "shop",
    "moorage.service": "web",
    "com.docker.compose.project": "shop",
    "com.docker.compose.service": "web.b",
}


@pytest.fixture
def membership(tmp_path: Path) -> Membership:
    """The members of a stack with one service in two slots."""
    services = [{"name": "web", "kind": "container", "container": "shop-web", "ports": [80]}]
    units = [{"name": "shop-web", "service": "web", "keys": {"a": "web.a", "b": "web.b"}}]
    path = tmp_path / "release.json"
    path.write_text(json.dumps({"services": services, "units": units}))
    return Membership("shop", path)


def test_what_a_deploy_has_made_is_owned(membership: Membership) -> None:
    member = membership.member("web")
    assert member.keys == ("web.a", "web.b")
    assert membership.owns(member, LABELS)
    assert membership.owns(member, {**LABELS, "com.docker.compose.service": "web.a", "more": "x"})


@pytest.mark.parametrize("label", LABELS)
def test_what_lacks_a_label_or_has_another_ones_is_not(membership: Membership, label: str) -> None:
    member = membership.member("web")
    assert not membership.owns(member, {**LABELS, label: "db"})
    assert not membership.owns(member, {k: v for k, v in LABELS.items() if k != label})
    assert not membership.owns(member, None)
