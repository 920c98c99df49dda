"""Migrations: what only adds can be taken back from, what destroys needs a yes."""

from __future__ import annotations

import gzip
import re

from update_site import BASE, STACK, Harbour, Operator, outer_file


def test_back_from_a_migration_that_only_adds(site: Harbour, operator: Operator) -> None:
    old = dict(operator.build)
    with site.visited() as visitors:
        build = {"WEB_VERSION": operator.next_version(), "SCHEMA": "2"}
        operator.update(site.name, build).ok  # noqa: B018
        assert site.schema() == 2
        ((step),) = site.receipt()["migrations"]["pending"]
        assert (step["revision"], step["kind"]) == ("0002", "expand")
        operator.rollback(site.name).ok  # noqa: B018
    assert site.version() == old["WEB_VERSION"], "older code"
    assert site.schema() == 2, "on the newer tables"
    visitors.seen.assert_none_failed(200)
    operator.build = old


def test_a_migration_without_return_needs_a_yes(site: Harbour, operator: Operator) -> None:
    operator.update(site.name, {"WEB_VERSION": operator.next_version(), "SCHEMA": "2"}).ok  # noqa: B018
    running, version = site.serving_containers(), site.version()
    build = {"WEB_VERSION": operator.next_version(), "SCHEMA": "3"}
    with site.visited() as visitors:
        refused = operator.update(site.name, build)
    assert refused.status != 0
    assert re.search(r"0003.*Forget what notes said", refused.output), refused.output
    assert "allow_one_way" in refused.output
    assert site.schema() == 2 and site.version() == version
    assert site.serving_containers() == running
    visitors.seen.assert_none_failed(50)

    operator.update(site.name, build, allow_one_way=True).ok  # noqa: B018
    assert site.schema() == 3 and site.version() == build["WEB_VERSION"]
    copy = outer_file(site, site.sh(f"ls -t {BASE}/backups/*-harbour.sql.gz | head -n 1"))
    assert b"CREATE TABLE notes" in gzip.decompress(copy), "as it was before"
    assert site.sh(f"stat -c %a {BASE}/backups/*-harbour.sql.gz | sort -u") == "600"


def test_no_way_back_from_there(site: Harbour, operator: Operator) -> None:
    assert site.schema() == 3, "the test before has gone there"
    version, running = site.version(), site.serving_containers()
    with site.visited() as visitors:
        refused = operator.rollback(site.name)
    assert refused.status != 0, refused.output
    assert "serves code from 0003 on" in refused.output and "restore" in refused.output
    assert site.version() == version and site.serving_containers() == running
    visitors.seen.assert_none_failed(50)
    assert site.sh(f"readlink {BASE}/current").rpartition("/")[2] == site.release(STACK)
