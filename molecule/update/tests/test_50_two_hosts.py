"""An update of two hosts is one update: what one of them cannot take, the other gives back."""

from __future__ import annotations

from update_site import BASE, STACK, Harbour, Operator

BOTH = "harbour"


def test_both_are_updated(
    site: Harbour, sites: tuple[Harbour, Harbour], operator: Operator
) -> None:
    build = {"WEB_VERSION": operator.next_version()}
    with site.visited() as visitors, sites[1].visited(60) as others:
        operator.update(BOTH, build).ok  # noqa: B018
    assert {s.version() for s in sites} == {build["WEB_VERSION"]}
    visitors.seen.assert_none_failed(100)
    others.seen.assert_none_failed(50)


def test_when_the_second_fails_the_first_goes_back_too(
    site: Harbour, sites: tuple[Harbour, Harbour], operator: Operator
) -> None:
    second = sites[1]
    before = [(s.version(), s.release(STACK)) for s in sites]
    second.sh(f"touch {BASE}/data/state/doomed")
    build = {"WEB_VERSION": operator.next_version(), "WEB_FAULT": "doomed"}
    try:
        with site.visited() as visitors, second.visited(60) as others:
            played = operator.update(BOTH, build)
    finally:
        second.sh(f"rm {BASE}/data/state/doomed")
    assert played.status != 0, played.output
    assert "this host is doomed" in played.output, "the reason"
    assert second.name in played.output
    assert [(s.version(), s.release(STACK)) for s in sites] == before
    assert build["WEB_VERSION"] in visitors.seen.versions, "the first had been updated"
    visitors.seen.assert_none_failed(200)
    others.seen.assert_none_failed(100)
    assert others.seen.versions == {before[1][0]}
    for s in sites:
        s.assert_in_order()
