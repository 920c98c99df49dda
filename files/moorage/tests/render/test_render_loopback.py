"""Ports behind the edge stay where they are, whatever else comes to the host."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.render.loopback import COUNT, FIRST, assign, loopback_name

NAMES = st.builds(
    loopback_name,
    st.sampled_from(["tg2em", "shop", "blog"]),
    st.text("abcdefgh", min_size=1, max_size=6),
    st.integers(1, 9),
    st.sampled_from(["a", "b", ""]),
    st.integers(1, 65535),
)


def own(name: str) -> int:
    return FIRST + crc32(name.encode()) % COUNT


def colliding() -> tuple[str, str]:
    """Two names that fall on one port, in sorted order."""
    seen: dict[int, str] = {}
    for number in range(1, 65536):
        name = loopback_name("shop", "web", 1, "a", number)
        other = seen.setdefault(own(name), name)
        if other != name:
            first, second = sorted((other, name))
            return first, second
    raise AssertionError("no two of 65,535 names fall on one of 10,000 ports")


def test_a_port_follows_from_its_name() -> None:
    name = loopback_name("tg2em", "frontend", 1, "a", 5000)
    assert name == "tg2em/frontend/1/a/5000"
    # The formula is part of what hosts rely on: releases of before hold these numbers.
    assert assign([name]) == {name: 20000 + crc32(b"tg2em/frontend/1/a/5000") % 10000}


@settings(deadline=None)
@given(st.sets(NAMES, max_size=60), NAMES)
def test_another_name_moves_nobody_but_on_collision(names: set[str], another: str) -> None:
    before, after = assign(names), assign(names | {another})
    assert len(set(after.values())) == len(after)
    assert all(FIRST <= port < FIRST + COUNT for port in after.values())
    unique = len({own(name) for name in names | {another}}) == len(names | {another})
    if unique:
        assert all(after[name] == port for name, port in before.items())


def test_the_later_of_two_that_collide_steps_on() -> None:
    first, second = colliding()
    found = assign([second, first])
    assert found[first] == own(first)
    assert found[second] == FIRST + (own(first) + 1 - FIRST) % COUNT
    assert assign([second]) == {second: own(second)}


def test_published_ports_are_left_alone() -> None:
    name = loopback_name("shop", "web", 1, "a", 80)
    assert assign([name], {own(name), 80}) == {name: FIRST + (own(name) + 1 - FIRST) % COUNT}


def test_after_the_last_port_comes_the_first() -> None:
    name = loopback_name("shop", "web", 1, "a", 80)
    taken = range(own(name), FIRST + COUNT)
    assert assign([name], taken) == {name: FIRST}
    with pytest.raises(ValueError, match=r"no port is left on 127\.0\.0\.1 for shop/web"):
        assign([name], range(FIRST, FIRST + COUNT))
