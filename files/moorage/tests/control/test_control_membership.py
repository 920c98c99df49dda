"""A gateway takes for its own only what a deploy of its stack has made for that very service."""

from pathlib import Path

import pytest

from moorage.control.membership import Membership
from moorage.release.manifest import FORMAT, Manifest, Service, Unit, text_of

LABELS = {
    "moorage.stack": "shop",
    "moorage.service": "web",
    "com.docker.compose.project": "shop",
    "com.docker.compose.service": "web.b",
}


@pytest.fixture
def membership(tmp_path: Path) -> Membership:
    """The members of a stack with one service in two slots."""
    service = Service("web", ports=(80,), containers=("shop-web",))
    unit = Unit("shop-web", "web", "0123", rolled=True, keys={"a": "web.a", "b": "web.b"})
    path = tmp_path / "release.json"
    said = Manifest("containers", FORMAT, services=(service,), units=(unit,))
    path.write_text(text_of(said))
    return Membership("shop", path)


def test_replicas_have_names_of_their_own_and_the_first_one_the_services(tmp_path: Path) -> None:
    names = ("shop-web", "shop-web-2")
    units = tuple(Unit(name, "web", "0123", False, {"": name}) for name in names)
    said = Manifest("containers", FORMAT, services=(Service("web", containers=names),), units=units)
    (tmp_path / "release.json").write_text(text_of(said))
    members = Membership("shop", tmp_path / "release.json").members()
    assert {name: member.container for name, member in members.items()} == {
        "web": "shop-web", "web-2": "shop-web-2",
    }  # fmt: skip


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
