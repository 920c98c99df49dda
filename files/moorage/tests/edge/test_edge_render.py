"""What the edge's files say, without an nginx; and what a plan refuses."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moorage.compose.errors import ComposeError
from moorage.controller.edge import check_conflicts
from moorage.edge import EdgeError
from moorage.edge.model import Facts, Settings, host_settings
from moorage.edge.render import Site, generation, render

SITE = Site("/opt/moorage/edge", "/run/moorage/edge", True, {})


def facts(stack: str, **changes: Any) -> Facts:
    """Return the facts of a stack with one pool."""
    wanted = {"pools": {"web:80": {}}, "routes": [{"path": "/", "pool": "web:80"}], **changes}
    return Facts.parse(stack, wanted)


def stacks_conf(*stacks: Facts, site: Site = SITE, **settings: Any) -> str:
    """Return the part of the configuration that is the stacks'."""
    return render(Settings(**settings), stacks, site)["stacks.conf"]


def listener(port: int, address: str = "") -> list[dict[str, Any]]:
    """Return the listeners of a stack at one port."""
    return [{"port": port, "address": address, "pool": "web:80"}]


def test_the_same_input_gives_the_same_files_in_any_order() -> None:
    one, two = facts("one", listeners=listener(81)), facts("two", listeners=listener(82))
    first = render(Settings(), [one, two], SITE)
    assert first == render(Settings(), [two, one], SITE)
    assert generation(first) != generation(render(Settings(), [one], SITE))
    assert json.loads(first["edge.json"])["stacks"] == {"one": ["web:80"], "two": ["web:80"]}


def test_peers_are_no_part_of_the_files() -> None:
    files = render(Settings(), [facts("one")], SITE)
    assert "127.0.0.1" not in "".join(t for name, t in files.items() if name != "edge.lua")


def test_where_peers_are_asked_how_they_are_is() -> None:
    pools = {"web:80": {"health": "/up?a=b"}, "api:81": {"health": ""}}
    files = render(Settings(), [facts("one", pools=pools)], SITE)
    assert json.loads(files["edge.json"])["health"] == {"one/web:80": "/up?a=b"}


@pytest.mark.parametrize("path", ["up", "/a b", "/a\r\nX: y", "/\x7f", "/ü"])
def test_a_path_of_health_is_one_word_of_a_request(path: str) -> None:
    with pytest.raises(EdgeError, match="health of web:80"):
        facts("one", pools={"web:80": {"health": path}})


@pytest.mark.parametrize(
    ("address", "ipv6", "lines"),
    [
        ("", True, ["listen 81", "listen [::]:81"]),
        ("", False, ["listen 81"]),
        ("192.0.2.1", True, ["listen 192.0.2.1:81"]),
        ("2001:db8::1", True, ["listen [2001:db8::1]:81"]),
    ],
)
def test_listeners_bind_where_they_are_asked_to(address: str, ipv6: bool, lines: list[str]) -> None:
    text = stacks_conf(facts("one", listeners=listener(81, address)), site=replace(SITE, ipv6=ipv6))
    found = [line.strip() for line in text.splitlines() if "listen" in line]
    assert [line.partition(" default_server so_keepalive=")[0] for line in found] == lines


def test_a_path_without_a_slash_is_itself_and_what_is_below_it() -> None:
    route = [{"path": "/api", "pool": "web:80"}]
    text = stacks_conf(facts("one", domains=["a.example.com"], routes=route))
    assert "location = /api {" in text
    assert "location ^~ /api/ {" in text
    assert "location ^~ / {" not in text


def test_a_pool_has_half_of_the_room_for_bodies_or_what_two_of_its_largest_need() -> None:
    mib = 2**20

    def bodies(**options: int) -> dict[str, int]:
        one = facts("shop", listeners=listener(81), options=options)
        found = json.loads(render(Settings(bodies_mb=64), [one], SITE)["edge.json"])["bodies"]
        assert found["host"] == 64 * mib
        limit: dict[str, int] = found["pools"]["shop/web:80"]
        return limit

    assert bodies(max_body_bytes=mib)["all"] == 32 * mib
    assert bodies(max_body_bytes=20 * mib) | {"rate": 0} == {
        "all": 40 * mib, "one": 20 * mib, "rate": 0
    }  # fmt: skip
    # Never more than the host has.
    assert bodies(max_body_bytes=60 * mib)["all"] == 64 * mib
    assert bodies(max_body_bytes=mib, max_bodies_bytes=3 * mib)["all"] == 3 * mib


def location(text: str, match: str) -> list[str]:
    """Return the lines of one location."""
    assert text.count(f"location {match} {{\n") == 1, match
    inside = text.partition(f"location {match} {{\n")[2].partition("    }\n")[0]
    return [line.strip() for line in inside.splitlines()]


def test_private_paths_let_in_the_host_and_named_networks_alone() -> None:
    options = {
        "private_paths": ["/metrics", "/admin/"],
        "private_networks": ["192.0.2.0/24"],
        "static_paths": ["/admin/static/", "/static/"],
        "static_max_age_seconds": 60,
    }
    text = stacks_conf(facts("shop", domains=["a.example.com"], options=options))
    rules = [
        "allow 127.0.0.0/8;",
        "allow ::1;",
        "allow 192.0.2.0/24;",
        "deny all;",
        "error_page 403 =404 @moorage_unknown;",
    ]
    # Before everything else that is said there; the path itself and all that is below it.
    for match in ("= /metrics", "^~ /metrics/", "^~ /admin/", "= /admin"):
        assert location(text, match)[: len(rules)] == rules
    assert "deny all;" not in location(text, "^~ /")
    # A location for files would take them out of what keeps strangers out.
    assert "location ^~ /admin/static/" not in text
    assert "deny all;" not in location(text, "^~ /static/")
    unkept = stacks_conf(
        facts("shop", domains=["a.example.com"], options={**options, "static_max_age_seconds": 0})
    )
    assert "location ^~ /static/" not in unkept


def test_static_paths_are_those_of_the_stack_that_answers_there() -> None:
    options = {"static_paths": ["/static/"]}
    shop = facts("shop", domains=["a.example.com"], options=options)
    route = [{"path": "/static/blog/", "pool": "web:80"}]
    blog = facts("blog", domains=["a.example.com"], routes=route, options=options)
    text = stacks_conf(shop, blog)
    assert text.count("location ^~ /static/ {") == 1
    assert "set $moorage_stack shop;" in text.partition("location ^~ /static/ {")[2].split("}")[0]


def test_trusted_proxies_are_believed_and_nobody_else() -> None:
    assert "set_real_ip_from" not in render(Settings(), [], SITE)["http.conf"]
    text = render(Settings(trusted_proxies=("192.0.2.0/24",)), [], SITE)["http.conf"]
    assert "set_real_ip_from 192.0.2.0/24;" in text
    assert "geo $realip_remote_addr $moorage_trusted { default 0; 192.0.2.0/24 1; }" in text


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"kind": "both"}, "edge_kind: 'both'"),
        ({"tls": "on"}, "edge_tls: 'on'"),
        ({"http_port": 0}, "edge_http_port: 0"),
        ({"trusted_proxies": ["everybody"]}, r"edge_trusted_proxies\[0\]: 'everybody'"),
        ({"colour": "red"}, "edge_colour: unknown setting of the edge"),
    ],
)
def test_settings_that_cannot_be_used_are_named(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(EdgeError, match=words):
        host_settings(raw)


@pytest.mark.parametrize(
    ("kind", "states", "found"),
    [
        ("container", ["running"], []),
        ("container", [], ["edge moorage-edge: missing"]),
        ("container", ["exited"], ["edge moorage-edge: exited"]),
        ("native", [], []),
        ("none", ["running"], ["edge moorage-edge: is there, although the edge is none"]),
        (None, [], []),
    ],
)
def test_a_survey_notices_an_edge_that_is_not_as_it_should_be(
    kind: str | None, states: list[str], found: list[str]
) -> None:
    path = Path(__file__).resolve().parents[4] / "plugins/module_utils/moorage_host/edge.py"
    spec = importlib.util.spec_from_file_location("moorage_host_edge", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (
        module.drift(kind, [{"name": "moorage-edge", "state": state} for state in states]) == found
    )


def test_stacks_may_share_a_domain_but_no_path_of_it() -> None:
    domain = ["a.example.com"]
    shop = facts("shop", domains=domain)
    check_conflicts([shop, facts("blog", domains=["b.example.com"])], Settings())
    below = [{"path": "/blog", "pool": "web:80"}]
    check_conflicts([shop, facts("blog", domains=domain, routes=below)], Settings())
    with pytest.raises(ComposeError, match=r"a\.example\.com/ is a route of the stack shop"):
        check_conflicts([shop, facts("the-blog", domains=domain)], Settings())
    same = facts("wiki", domains=domain, routes=[{"path": "/blog/", "pool": "web:80"}])
    with pytest.raises(ComposeError, match="/blog/ is a route of the stack blog"):
        check_conflicts([facts("blog", domains=domain, routes=below), same], Settings())


def test_a_listener_may_not_have_the_port_of_all_domains() -> None:
    shop = facts("shop", listeners=listener(80))
    check_conflicts([shop], Settings())
    with pytest.raises(ComposeError, match="shop_publish: port 80 is where the domains"):
        check_conflicts([shop, facts("blog", domains=["a.example.com"])], Settings())


def test_domains_without_a_route_or_a_certificate_are_refused() -> None:
    with pytest.raises(ComposeError, match="shop_domains: no path of these domains"):
        check_conflicts([facts("shop", domains=["a.example.com"], routes=[])], Settings())
    with pytest.raises(ComposeError, match=r"none is for a\.example\.com"):
        check_conflicts([facts("shop", domains=["a.example.com"])], Settings(tls="files"))
