"""What two stacks of one host would both have: who goes first, and what no order serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moorage.deploy.claims import (
    Claim,
    advice,
    claims_of,
    claims_on_host,
    refuse_held,
    turns,
    way_out,
)
from moorage.deploy.release import ReleaseError, read_release
from moorage.release.layout import Layout

Claims = dict[str, list[Claim]]


def port(number: int, address: str = "0.0.0.0", protocol: str = "tcp") -> Claim:
    return Claim("port", f"{number}/{protocol}", "web", address)


def subnet(text: str, network: str) -> Claim:
    return Claim("subnet", text, "its network n", network)


def having(**ports: int) -> Claims:
    """Stacks that each publish one port."""
    return {stack: [port(number)] for stack, number in ports.items()}


def test_who_takes_a_port_comes_after_who_gives_it_up() -> None:
    found = turns(having(a=2, b=3, c=4), having(a=1, b=2, c=3))
    assert (found.after, found.blocked, found.circle) == ({"a": ["b"], "b": ["c"]}, [], [])


def test_a_stack_that_is_not_taken_keeps_what_it_has() -> None:
    found = turns(having(a=2), having(a=1, b=2))
    (meeting,) = found.blocked
    assert str(meeting) == "port 2/tcp, wanted by a (web), is held by the stack b (web)"
    assert "`ansible-playbook playbooks/update.yml -e stack=b`" in advice(meeting)
    assert "`a_publish`" in advice(meeting)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_circle_is_told_with_an_order_that_serves_it(count: int) -> None:
    names = [f"s-{n}" for n in range(count)]
    held = having(**{name: n for n, name in enumerate(names)})
    wanted = having(**{name: (n + 1) % count for n, name in enumerate(names)})
    found = turns(wanted, held)
    assert found.blocked == []
    assert {m.stack for m in found.circle} == set(names)
    # The order that is told, played: each step takes what is free by then.
    told = way_out(found.circle)
    steps = [part.split("`")[0] for part in told.split("-e stack=")[1:]]
    assert steps[0] == steps[-1] and sorted(steps[:-1]) == names
    assert f"`{steps[0].replace('-', '_')}_publish`" in told
    has = {**held, steps[0]: [port(99)]}
    for step in steps[1:]:
        assert not turns({step: wanted[step]}, has).blocked, (told, step)
        has[step] = wanted[step]
    assert has == wanted


def test_a_circle_beside_a_chain_is_found() -> None:
    wanted, held = having(a=2, b=1, c=3, d=9), having(a=1, b=2, c=4, d=3)
    assert {m.stack for m in turns(wanted, held).circle} == {"a", "b"}


def test_what_a_stack_has_itself_is_no_matter_of_the_other() -> None:
    assert turns(having(a=1), having(a=1, b=1)).blocked == []


@pytest.mark.parametrize(
    ("mine", "theirs", "meet"),
    [
        (port(1), port(1, "192.0.2.1"), True),
        (port(1, "192.0.2.1"), port(1, "192.0.2.2"), False),
        (port(1, "127.0.0.1"), port(1, "::"), True),
        (port(1), port(1, protocol="udp"), False),
        (Claim("port", "80/tcp", "its domains"), Claim("port", "80/tcp", "its domains"), False),
        (Claim("port", "80/tcp", "its domains", "0.0.0.0"), port(80), True),
        (Claim("route", "x.org/", "web"), Claim("route", "x.org/", "api"), True),
        (Claim("container", "shop-api-db", "api-db"), Claim("container", "shop-api-db"), True),
        (Claim("container", "x"), Claim("network", "x"), False),
        (subnet("172.20.0.0/16", "a_n"), subnet("172.20.7.0/24", "b_n"), True),
        (subnet("172.20.0.0/16", "a_n"), subnet("172.21.0.0/16", "b_n"), False),
        (subnet("172.20.0.0/16", "a_n"), subnet("fd00::/8", "b_n"), False),
    ],
)
def test_what_meets(mine: Claim, theirs: Claim, meet: bool) -> None:
    assert bool(turns({"a": [mine]}, {"b": [theirs]}).blocked) is meet


def test_a_stack_that_widens_its_subnet_meets_its_neighbours() -> None:
    held = {"a": [subnet("172.20.0.0/24", "a_n")], "b": [subnet("172.20.9.0/24", "b_n")]}
    (meeting,) = turns({"a": [subnet("172.20.0.0/16", "a_n")]}, held).blocked
    assert str(meeting) == (
        "the subnet 172.20.0.0/16, wanted by a (its network n), is held by the stack b "
        "(its network n)"
    )
    assert "give a another subnet (`ipam` of the network in its compose.yml)" in advice(meeting)
    assert turns({"a": held["a"]}, held).blocked == []
    given_up = {"a": [subnet("172.20.0.0/16", "a_n")], "b": []}
    assert turns(given_up, held).after == {"a": ["b"]}


def manifest(stack: str, service: str, public: int, **facts: Any) -> dict[str, Any]:
    return {
        "stack": stack,
        "topology": "containers",
        "services": [{"name": service, "kind": "container", "containers": [f"{stack}-{service}"]}],
        "install": {"tmpfiles.conf": f"/etc/tmpfiles.d/moorage-{stack}-containers.conf"},
        "edge": {
            "pools": {"p": {"service": service, "port": 80}},
            "listeners": [{"port": public, "address": "", "pool": "p"}],
            "domains": [],
            "routes": [],
            **facts,
        },
    }


def compose(stack: str, published: int) -> dict[str, Any]:
    entry = {"ports": [{"target": 80, "published": str(published), "host_ip": "127.0.0.1"}]}
    return {
        "services": {"web.a": {**entry, "labels": {"moorage.service": "web"}}},
        "networks": {"default": {"name": f"{stack}_default"}, "shared": {"name": "shared"}},
    }


def test_the_claims_of_a_release() -> None:
    facts = {"domains": ["x.org"], "routes": [{"path": "/api/", "pool": "p"}]}
    found = claims_of(manifest("shop", "web", 8000, **facts), compose("shop", 20001), [80])
    assert {(c.kind, c.name, c.address) for c in found} == {
        ("container", "shop-web", ""),
        ("container", "shop-web-next", ""),
        ("network", "shop_default", ""),
        ("port", "20001/tcp", "127.0.0.1"),
        ("file", "/etc/tmpfiles.d/moorage-shop-containers.conf", ""),
        ("port", "8000/tcp", "0.0.0.0"),
        ("route", "x.org/api", ""),
        ("port", "80/tcp", "0.0.0.0"),
    }


def test_programs_of_supervisor_meet_where_their_scopes_have_one_name() -> None:
    asked = {"manager": "supervisor", "install": {}, "edge": {}}
    found = {
        stack: claims_of({**manifest(stack, service, 80), **asked}, {})
        for stack, service in (("shop", "web_b"), ("shop_web", "b"))
    }
    wanted, held = ({stack: found[stack]} for stack in found)
    assert [m.wants.name for m in turns(wanted, held).blocked] == ["shop_web_b"]


def deployed(base: Path, stack: str, service: str, public: int, **facts: Any) -> Layout:
    layout = Layout.of(stack, base)
    release = layout.releases / "0123456789ab"
    release.mkdir(parents=True)
    document = manifest(stack, service, public, **facts)
    (release / "release.json").write_text(json.dumps(document))
    (release / "compose.json").write_text(json.dumps(compose(stack, public + 20000)))
    layout.current.symlink_to("releases/0123456789ab")
    return layout


def with_edge(base: Path, kind: str = "container", **facts: Any) -> None:
    edge = base / "moorage" / "edge"
    (edge / "stacks").mkdir(parents=True)
    (edge / "settings.json").write_text(json.dumps({"kind": kind}))
    for stack, told in facts.items():
        text = told if isinstance(told, str) else json.dumps(told)
        (edge / "stacks" / f"{stack}.json").write_text(text)


def test_a_release_that_asks_for_what_a_neighbour_has_is_refused_by_name(tmp_path: Path) -> None:
    deployed(tmp_path, "shop", "api-db", 8000)
    ours = deployed(tmp_path, "shop-api", "db", 8001)
    release = read_release(ours, "0123456789ab")
    refuse_held(release, tmp_path)
    ours.current.unlink()
    with pytest.raises(ReleaseError, match=r"the container name shop-api-db, wanted by") as told:
        refuse_held(release, tmp_path)
    assert "is held by the stack shop (api-db)" in str(told.value)
    assert len(str(told.value).splitlines()) == 1


def test_what_the_edge_was_told_by_a_first_release_that_never_ran_counts(tmp_path: Path) -> None:
    facts = manifest("ghost", "web", 8001)["edge"]
    with_edge(tmp_path, ghost=facts, torn="{")
    release = read_release(deployed(tmp_path, "shop", "web", 8000), "0123456789ab")
    refuse_held(release, tmp_path)
    other = deployed(tmp_path, "blog", "web", 8001)
    other.current.unlink()
    with pytest.raises(ReleaseError, match=r"port 8001/tcp, wanted by blog \(web\), .* ghost"):
        refuse_held(read_release(other, "0123456789ab"), tmp_path)


def test_a_host_without_an_edge_has_no_listeners_of_one(tmp_path: Path) -> None:
    with_edge(tmp_path, "none", ghost=manifest("ghost", "web", 8001)["edge"])
    assert claims_on_host(tmp_path) == {}


def test_the_ports_of_domains_are_everybody_s_who_has_some(tmp_path: Path) -> None:
    with_edge(tmp_path)
    for stack in ("one", "two"):
        facts = {"domains": [f"{stack}.org"], "routes": [{"path": "/", "pool": "p"}]}
        deployed(tmp_path, stack, "web", 8000 + len(stack + "x" * (stack == "two")), **facts)
    refuse_held(read_release(Layout.of("one", tmp_path), "0123456789ab"), tmp_path)
    third = deployed(tmp_path, "three", "web", 80)
    third.current.unlink()
    with pytest.raises(ReleaseError, match=r"port 80/tcp, .* the stack one \(its domains\)"):
        refuse_held(read_release(third, "0123456789ab"), tmp_path)


@pytest.mark.parametrize(
    "torn", ["", "{", "[]", '{"services": 5, "edge": [], "install": [1]}', '{"edge": {"pools": 3}}']
)
def test_a_neighbour_that_cannot_be_read_holds_up_nobody(tmp_path: Path, torn: str) -> None:
    path = deployed(tmp_path, "torn", "web", 8000).releases / "0123456789ab"
    ours = deployed(tmp_path, "shop", "web", 8001)
    for name in ("release.json", "compose.json"):
        (path / name).write_text(torn)
        refuse_held(read_release(ours, "0123456789ab"), tmp_path)
