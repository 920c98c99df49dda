"""The edge of a host with a stand-in for nginx: what is kept, told and taken back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from moorage.edge import core, provision, report
from moorage.edge.core import Edge
from moorage.edge.errors import EdgeError
from moorage.edge.model import Facts, host_settings
from moorage.edge.provision import Provision
from moorage.edge.store import Store
from moorage.edge.tls import own_certificate

FACTS: dict[str, Any] = {
    "pools": {"web:80": {}},
    "listeners": [{"port": 8080, "address": "", "pool": "web:80"}],
}
OTHER: dict[str, Any] = {
    "pools": {"site:80": {}},
    "listeners": [{"port": 8080, "address": "", "pool": "site:80"}],
}


class Nginx:
    """A process that takes what is in force, or refuses it; its workers answer."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.up = True
        self.generation, self.loads = "", 1
        self.old_workers = 0
        self.refuses = self.complains = ""
        self.told: list[dict[str, Any]] = []
        self.did: list[str] = []

    def running(self) -> bool:
        return self.up

    def start(self) -> None:
        self.up = True
        self.reload()

    def test(self, configuration: Path) -> None:
        self.did.append("test")
        assert configuration.is_file()
        if self.refuses:
            raise EdgeError(self.refuses)

    def reload(self) -> None:
        self.did.append("reload")
        if self.complains:
            (self.store.base / "error.log").write_text(f"x [emerg] 1#1: {self.complains}\n")
            return
        self.generation, self.loads, self.old_workers = self.store.in_force(), self.loads + 1, 2

    def said(self) -> str:
        return ""

    def ask(self, _: Path, told: dict[str, Any] | None = None) -> dict[str, Any]:
        """Answer as the workers do; those of before are gone after a few questions."""
        if not self.up:
            raise EdgeError("nobody listens")
        if told:
            self.told.append(told)
        workers = {"1": self.loads}
        if self.old_workers:
            self.old_workers -= 1
            workers["2"] = self.loads - 1
        return {"generation": self.generation, "loads": self.loads, "workers": workers,
                "connections": 1, "in_flight": {"127.0.0.1:1": 3}}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The files of an edge that is provisioned."""
    made = Store(tmp_path / "moorage/edge", tmp_path / "run")
    for name in ("stacks", "pools", "generations", "acme"):
        (made.base / name).mkdir(parents=True)
    settings = {"kind": "native", "image": "", "certificates": [], "log_dir": str(made.base)}
    made.settings_file.write_text(json.dumps(settings))
    return made


@pytest.fixture
def nginx(store: Store, monkeypatch: pytest.MonkeyPatch) -> Nginx:
    """An nginx that runs, with nothing to serve."""
    made = Nginx(store)
    monkeypatch.setattr(core, "nginx_of", lambda _: made)
    monkeypatch.setattr(core, "ask", made.ask)
    monkeypatch.setattr(core, "_BIND_SECONDS", 0.0)
    return made


@pytest.fixture
def edge(store: Store, nginx: Nginx) -> Edge:
    """The edge of both."""
    return Edge(store)


def test_what_is_new_is_tested_put_in_force_and_waited_for(edge: Edge, nginx: Nginx) -> None:
    assert edge.apply("shop", FACTS, {"web:80": ["127.0.0.1:1"]}, 5.0)
    assert nginx.did == ["test", "reload"]
    assert nginx.generation == edge.store.in_force() != ""
    # Workers of before had their turns: it was not through until they were gone.
    assert nginx.old_workers == 0
    assert edge.pools("shop") == {"web:80": ["127.0.0.1:1"]}
    assert edge.facts("shop") == FACTS
    # Connections in use are told to end before, and no longer afterwards.
    assert [*nginx.told[0], *nginx.told[-1]] == ["closing_seconds"] * 2
    assert nginx.told[0]["closing_seconds"] > nginx.told[-1]["closing_seconds"] == 0


def test_what_is_in_force_already_is_no_reload(edge: Edge, nginx: Nginx) -> None:
    edge.apply("shop", FACTS)
    nginx.did.clear()
    assert not edge.apply("shop", FACTS)
    assert not edge.refresh()
    assert nginx.did == []
    assert edge.reload()
    assert nginx.did == ["test", "reload"]
    nginx.did.clear()
    # What somebody has changed of its files is put right.
    (edge.store.generation(edge.store.in_force()) / "nginx.conf").write_text("spoilt")
    assert edge.refresh() and nginx.did == ["test", "reload"]
    nginx.did.clear()
    nginx.generation = "of somebody else"
    assert edge.refresh() and nginx.did == ["test", "reload"]


@pytest.mark.parametrize("how", ["refuses", "complains"])
def test_what_nginx_does_not_take_changes_nothing(edge: Edge, nginx: Nginx, how: str) -> None:
    edge.apply("shop", FACTS, {"web:80": ["127.0.0.1:1"]})
    before = edge.store.in_force()
    setattr(nginx, how, "cannot bind 8081")
    wanted = {**FACTS, "listeners": [{**FACTS["listeners"][0], "port": 8081}]}
    with pytest.raises(EdgeError, match="cannot bind 8081"):
        edge.apply("shop", wanted)
    assert edge.facts("shop") == FACTS
    assert edge.store.in_force() == before == nginx.generation
    assert edge.pools("shop") == {"web:80": ["127.0.0.1:1"]}
    setattr(nginx, how, "")
    assert not edge.refresh(), "nothing is left to do"


def test_an_edge_that_does_not_run_is_started(edge: Edge, nginx: Nginx) -> None:
    nginx.up = False
    assert edge.apply("shop", FACTS)
    assert nginx.up and nginx.generation == edge.store.in_force()


def test_one_stack_changes_and_the_others_stay(edge: Edge) -> None:
    edge.apply("shop", FACTS)
    blog = {"pools": {"a:1": {}}, "listeners": [{"port": 9090, "pool": "a:1"}]}
    edge.apply("blog", blog)
    text = (edge.store.generation(edge.store.in_force()) / "stacks.conf").read_text()
    assert re.search(r"listen \S*8080", text) and re.search(r"listen \S*9090", text)
    edge.forget("blog")
    assert edge.facts("blog") is None and edge.facts("shop") == FACTS
    text = (edge.store.generation(edge.store.in_force()) / "stacks.conf").read_text()
    assert re.search(r"listen \S*8080", text) and "9090" not in text


def test_a_switch_is_on_the_disk_and_told(edge: Edge, nginx: Nginx) -> None:
    edge.apply("shop", FACTS, {"web:80": ["127.0.0.1:1"]})
    edge.switch("shop", {"web:80": ["127.0.0.1:2"]}, 7.0)
    told = {"shop/web:80": {"peers": ["127.0.0.1:2"], "hold_seconds": 7.0}}
    assert nginx.told[-1] == {"pools": told}
    state = edge.store.pools("shop")
    assert (state["pools"], state["hold_seconds"]) == (
        {"web:80": ["127.0.0.1:2"]}, {"web:80": 7.0}
    )  # fmt: skip
    with pytest.raises(EdgeError, match="shop has no pool other:1 at the edge; it has web:80"):
        edge.switch("shop", {"other:1": []})
    assert edge.in_flight(["127.0.0.1:1", "127.0.0.1:9"]) == {"127.0.0.1:1": 3, "127.0.0.1:9": 0}


@pytest.mark.parametrize(
    "peer", ["", "127.0.0.1", ":80", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:-1", "a,b:80",
             "127.0.0.1:80 ", "127.0.0.1:80,127.0.0.1:81"],
)  # fmt: skip
def test_what_is_no_peer_gets_into_no_pool(edge: Edge, peer: str) -> None:
    edge.apply("shop", FACTS, {"web:80": ["127.0.0.1:1"]})
    with pytest.raises(EdgeError, match="is no peer"):
        edge.switch("shop", {"web:80": ["127.0.0.1:1", peer]})
    assert edge.pools("shop") == {"web:80": ["127.0.0.1:1"]}


def test_a_pool_that_takes_a_door_over_has_its_peers_unless_others_are_ready(edge: Edge) -> None:
    edge.apply("shop", FACTS, {"web:80": ["127.0.0.1:1"]})
    edge.apply("shop", OTHER, hold_seconds=4.0)
    assert edge.pools("shop") == {"site:80": ["127.0.0.1:1"]}
    assert edge.store.pools("shop")["hold_seconds"]["site:80"] == 4.0
    edge.apply("shop", FACTS, {"web:80": ["127.0.0.1:5"]})
    assert edge.pools("shop") == {"web:80": ["127.0.0.1:5"]}


def test_maintenance_outlives_a_boot_and_is_one_stacks(edge: Edge, nginx: Nginx) -> None:
    edge.apply("shop", FACTS, {"web:80": ["127.0.0.1:1"]})
    edge.maintenance("shop", True)
    assert nginx.told[-1] == {"maintenance": {"shop": True}}
    assert edge.store.pools("shop")["maintenance"] is True
    assert edge.store.pools("blog")["maintenance"] is False
    edge.maintenance("shop", False)
    assert nginx.told[-1] == {"maintenance": {"shop": False}}
    assert edge.store.pools("shop")["maintenance"] is False
    assert edge.pools("shop") == {"web:80": ["127.0.0.1:1"]}


def test_every_change_keeps_others_out(
    edge: Edge, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []

    @contextmanager
    def locked(_: Store) -> Iterator[None]:
        held.append(True)
        yield
        held[-1] = False

    monkeypatch.setattr(Store, "locked", locked)
    written: list[bool] = []
    for name in ("put_facts", "put_pools", "enforce"):
        real = getattr(Store, name)

        def watched(*given: Any, _real: Any = real) -> Any:
            written.append(bool(held) and held[-1])
            return _real(*given)

        monkeypatch.setattr(Store, name, watched)
    edge.apply("shop", FACTS)
    edge.switch("shop", {"web:80": ["127.0.0.1:1"]})
    edge.maintenance("shop", True)
    edge.reload()
    edge.forget("shop")
    assert len(held) == 5 and len(written) > 5 and all(written)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pools": {"../x": {}}}, "pool: '../x' cannot be used"),
        ({"listeners": [{"port": 80, "pool": "other:1"}]}, "pool: 'other:1' .*web:80"),
        ({"listeners": [{"port": 0, "pool": "web:80"}]}, "0 cannot be used; .* 1 to 65535"),
        ({"listeners": [{"port": 65536, "pool": "web:80"}]}, "65536 cannot be used"),
        ({"listeners": [{"port": 80, "address": "host", "pool": "web:80"}]}, "'host' cannot"),
        ({"routes": [{"path": "/a", "pool": "other:1"}]}, "pool: 'other:1'"),
        ({"routes": [{"path": "/a; }", "pool": "web:80"}]}, "shop: route"),
        ({"domains": ["a b"]}, "domain: 'a b' cannot be used"),
        ({"domains": ["x;y"]}, "domain: 'x;y' cannot be used"),
    ],
)
def test_nothing_else_gets_into_a_configuration(
    edge: Edge, nginx: Nginx, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(EdgeError, match=said):
        edge.apply("shop", {**FACTS, **change})
    with pytest.raises(EdgeError, match="stack: 'a/b' cannot be used"):
        Facts.parse("a/b", FACTS)
    assert nginx.did == [] and edge.facts("shop") is None


def test_addresses_of_the_host_are_those_that_the_kernel_calls_local(tmp_path: Path) -> None:
    (tmp_path / "fib_trie").write_text(
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n"
        "     |-- 10.0.0.5\n        /32 host LOCAL\n"
        "     |-- 10.0.0.255\n        /32 link BROADCAST\n"
    )
    (tmp_path / "if_inet6").write_text("fe800000000000000000000000000001 02 40 20 80 eth0\n")
    assert report.local_addresses(tmp_path) == {"10.0.0.5", "fe80::1"}
    assert report.local_addresses(tmp_path / "none") == set()


def test_a_certificate_is_that_of_the_domain_or_of_its_parent() -> None:
    def entry(name: str, *domains: str) -> dict[str, Any]:
        return {"certificate": f"{name}.crt", "key": f"{name}.key", "domains": list(domains)}

    listed = [entry("a", "a.example"), entry("wild", "*.example.org")]
    settings = host_settings({"kind": "native", "certificates": listed})
    assert own_certificate(settings, "a.example") == ("a.crt", "a.key")
    assert own_certificate(settings, "x.example.org") == ("wild.crt", "wild.key")
    for stranger in ("b.example", "example.org", "x.y.example.org"):
        with pytest.raises(EdgeError, match=f"none is for {stranger}"):
            own_certificate(settings, stranger)
    rest = host_settings({"kind": "native", "certificates": [*listed, entry("any")]})
    assert own_certificate(rest, "b.example") == ("any.crt", "any.key")


DOCUMENT: dict[str, Any] = {
    "kind": "native",
    "settings": {},
    "certificates": [{"certificate": "PUBLIC", "key": "SECRET", "domains": ["a.example"]}],
    "files": [
        {"path": "/etc/systemd/system/moorage-edge.service", "content": "[Unit]\n"},
        {"path": "/etc/gone", "content": None},
    ],
}


def test_keys_are_roots_alone_and_a_dry_run_writes_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(provision, "run", lambda argv: asked.append(" ".join(argv)))
    monkeypatch.setattr(Provision, "_process", lambda *_: None)
    monkeypatch.setattr(Provision, "_check_process", lambda *_: None)
    monkeypatch.setattr(Provision, "_other_kind", lambda *_: None)
    places = {"log_dir": str(tmp_path / "log"), "cache_dir": str(tmp_path / "cache")}
    document = {**DOCUMENT, "settings": places}
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/gone").write_text("old")
    before = store.settings_file.read_text()

    def differs(check: bool) -> list[str]:
        changes = Provision.of(Edge(store), document, root).carry_out(check=check)
        assert not any("SECRET" in change.before + change.after for change in changes)
        return [change.what for change in changes]

    planned = differs(check=True)
    assert store.settings_file.read_text() == before and not store.tls.exists()
    assert (root / "etc/gone").exists() and not (root / "etc/systemd").exists() and asked == []
    assert differs(check=False) == planned
    assert len(planned) == 5
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in (store.tls / "own").iterdir()}
    assert modes == {".crt": 0o644, ".key": 0o600}
    for path in (store.tls, store.tls / "own", store.run):
        assert path.stat().st_mode & 0o777 == 0o700, path
    (key,) = (store.tls / "own").glob("*.key")
    assert key.read_text() == "SECRET"
    assert asked == ["systemctl daemon-reload"]
    assert not (root / "etc/gone").exists()
    assert (root / "etc/systemd/system/moorage-edge.service").read_text() == "[Unit]\n"
    assert differs(check=False) == [] and asked == ["systemctl daemon-reload"]
