"""Packet rules that published ports need, in what `iptables-save` says of a real host."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from ansible.module_utils.moorage_host import packets

RULES = """\
*nat
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -o br-883c43cbffaf -m addrtype --src-type LOCAL -j MASQUERADE
-A POSTROUTING -s 172.28.1.0/24 ! -o br-883c43cbffaf -j MASQUERADE
-A DOCKER -d 127.0.0.1/32 -p tcp -m tcp --dport 27188 -j DNAT --to-destination 172.28.1.2:8000
-A DOCKER -p udp -m udp --dport 53 -j DNAT --to-destination 172.28.1.3:53
COMMIT
*filter
-A FORWARD -o br-883c43cbffaf -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o br-883c43cbffaf -j DOCKER
-A FORWARD -i br-883c43cbffaf ! -o br-883c43cbffaf -j ACCEPT
COMMIT
"""
GUARD = """\
# Written by somebody.
*mangle
:MOORAGE - [0:0]
-A MOORAGE -m conntrack --ctstate ESTABLISHED,RELATED,DNAT -j RETURN
-A MOORAGE -i br-+ -j RETURN
-A MOORAGE -o br-+ -j DROP
COMMIT
"""
# As the kernel tells it.
SAVED = """\
*mangle
:FORWARD ACCEPT [0:0]
:MOORAGE - [0:0]
-A FORWARD -j MOORAGE
-A MOORAGE -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j RETURN
-A MOORAGE -i br-+ -j RETURN
-A MOORAGE -o br-+ -j DROP
COMMIT
*raw
-A PREROUTING -d 127.0.0.0/8 ! -i lo -j DROP
COMMIT
"""
ROUTES = [(IPv4Network("172.28.1.0/24"), "br-883c43cbffaf")]
PORTS = [("pilot-web", "127.0.0.1", 27188, "tcp"), ("dns", "0.0.0.0", 53, "udp")]


def test_a_host_with_all_rules_lacks_none() -> None:
    assert packets.missing(RULES, PORTS, ROUTES, False) == []
    assert packets.missing(RULES, [("v6", "::", 53, "udp")], ROUTES, False) == []
    assert packets.missing("", [], ROUTES, False) == []
    assert packets.missing("", PORTS, ROUTES, True) == [], "a process answers as well"


@pytest.mark.parametrize(
    ("without", "words"),
    [
        ("-A PREROUTING", "PREROUTING"),
        ("-A OUTPUT", "OUTPUT"),
        ("-A POSTROUTING -o", "the way back from br-883c43cbffaf"),
        ("-A DOCKER -d", "port 127.0.0.1:27188 of pilot-web"),
        ("-A DOCKER -p", "port 0.0.0.0:53 of dns"),
        ("-A FORWARD -o br-883c43cbffaf -j", "the filter to br-883c43cbffaf"),
        ("-A FORWARD -o br-883c43cbffaf -m", "the filter to br-883c43cbffaf"),
        ("-A FORWARD -i", "the filter from br-883c43cbffaf"),
    ],
)
def test_each_rule_is_missed(without: str, words: str) -> None:
    kept = "\n".join(line for line in RULES.splitlines() if not line.startswith(without))
    (found,) = packets.missing(kept, PORTS, ROUTES, False)
    assert words in found
    flushed = RULES.partition("*nat")[0]
    assert len(packets.missing(flushed, PORTS, ROUTES, False)) == 4


@pytest.mark.parametrize(
    ("four", "six", "lacking"),
    [
        (SAVED, SAVED, 0),
        # A host without IPv6.
        (SAVED, None, 0),
        ("", SAVED, 2),
        (SAVED, "", 1),
        ("", "", 3),
        (SAVED.replace("-A FORWARD -j MOORAGE\n", ""), SAVED, 1),
        (SAVED, SAVED.replace("-A FORWARD -j MOORAGE\n", ""), 1),
        (SAVED.replace("-A MOORAGE -o br-+ -j DROP\n", ""), SAVED, 1),
        (SAVED, SAVED.replace("-A MOORAGE -m", "-A MOORAGE -j RETURN\n-A MOORAGE -m"), 1),
        (SAVED.replace("*mangle", "*filter"), SAVED, 1),
        (SAVED.partition("*raw")[0], SAVED, 1),
    ],
)
def test_our_own_rules_are_missed_in_either_family(
    four: str, six: str | None, lacking: int
) -> None:
    found = packets.unguarded(GUARD, four, six)
    assert len(found) == lacking
    assert any("IPv6" in words for words in found) == (six is not None and six != SAVED)


def test_another_port_s_rule_is_none_of_this_one() -> None:
    ports = [("web", "127.0.0.1", 2718, "tcp"), ("web", "10.0.0.1", 27188, "tcp")]
    assert len(packets.missing(RULES, ports, ROUTES, False)) == 2


def test_routes_are_read_as_the_kernel_writes_them() -> None:
    table = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "br-883c43cbffaf\t00011CAC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    assert packets.parse_routes(table) == ROUTES
