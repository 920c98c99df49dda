"""A configuration that does not work never replaces one that does."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from edge_rig import Application, EdgeRig, docker, free_port, get, until

from moorage.cli.edge import text
from moorage.edge import EdgeError
from moorage.edge.report import local_addresses, report, troubles, unheard

Start = Callable[..., Application]
FACTS = {"pools": {"web:80": {}}, "routes": [{"path": "/", "pool": "web:80"}]}


def test_what_nginx_refuses_leaves_everything_as_it_was(rig: EdgeRig, application: Start) -> None:
    port = rig.stack("steady", application().peer)
    before, facts = rig.edge.store.in_force(), rig.edge.facts("steady")
    with pytest.raises(EdgeError, match=r"nginx refuses(.|\n)*could not build"):
        # Longer than nginx's table of names takes: only nginx itself can know.
        long = ".".join(["a" * 60] * 4)
        rig.edge.apply("bad", {**FACTS, "domains": [long]})
    with pytest.raises(EdgeError, match="nginx refuses"):
        rig.edge.apply("steady", {**FACTS, "domains": [long]})
    assert rig.edge.store.in_force() == before
    assert rig.edge.facts("bad") is None
    assert rig.edge.facts("steady") == facts
    assert get(port).status == 200
    assert not rig.edge.apply("steady", facts)


def test_a_port_that_somebody_holds_is_told_in_words_and_undone(
    rig: EdgeRig, application: Start
) -> None:
    port = rig.stack("here", application().peer)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        listener = {"port": taken, "address": "127.0.0.1", "pool": "web:80"}
        with pytest.raises(EdgeError, match=f"bind.. to 127.0.0.1:{taken} failed"):
            rig.edge.apply("there", {**FACTS, "listeners": [listener]})
    assert get(port).status == 200
    assert rig.edge.facts("there") is None
    assert rig.edge.apply("there", {**FACTS, "listeners": [listener]})
    rig.edge.forget("there")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"routes": [{"path": "/x y", "pool": "web:80"}]},
            "route: '/x y' cannot be used: it must be a path",
        ),
        ({"routes": [{"path": "/", "pool": "api:80"}]}, "one of the pools"),
        ({"domains": ["ex ample.com; root /"]}, "it has to be a host name"),
        ({"listeners": [{"port": 0, "pool": "web:80"}]}, "a port from 1 to 65535"),
        ({"options": {"static_path": []}}, "static_path: unknown key; did you mean 'static_paths'"),
        (
            {"options": {"max_body_bytes": -1}},
            "max_body_bytes: -1 cannot be used: it must be a size",
        ),
        ({"options": {"static_paths": ['/"{']}}, "static_paths[0]:"),
        ({"options": {"frame_options": "x; y"}}, "must be one of SAMEORIGIN"),
        ({"pools": {'w"': {}}}, "a name such as web:5000"),
    ],
)
def test_facts_that_cannot_be_used_are_named(
    rig: EdgeRig, facts: dict[str, object], words: str
) -> None:
    with pytest.raises(EdgeError) as caught:
        rig.edge.apply("odd", {**FACTS, **facts})
    assert words in str(caught.value)


def test_nothing_to_change_is_no_reload(rig: EdgeRig, application: Start) -> None:
    rig.stack("same", application().peer)
    facts = rig.edge.facts("same")

    def workers() -> list[str]:
        # Those of an earlier configuration, and what reads the cache at a start, end by themselves.
        lines = docker("top", rig.container, "-eo", "pid,args").splitlines()
        return [x for x in lines if "worker process" in x and "shutting down" not in x]

    before = workers()
    assert before
    assert not rig.edge.apply("same", facts)
    assert not rig.edge.refresh()
    assert workers() == before
    assert rig.provision() == []


def test_a_stopped_edge_is_started_by_the_next_change(rig: EdgeRig, application: Start) -> None:
    port = rig.stack("early", application().peer)
    docker("stop", rig.container)
    assert rig.provision(check=True) == ["nginx"]
    assert rig.provision() == ["nginx"]
    assert get(port).status == 200


def test_an_edge_that_crashes_takes_the_configuration_that_mends_it(
    rig: EdgeRig, application: Start
) -> None:
    port = rig.stack("crash", application().peer)
    (rig.edge.store.conf / "nginx.conf").write_text("nonsense;")
    docker("restart", rig.container)
    state = "{{.State.Restarting}}"
    until(lambda: "true" in docker("inspect", "--format", state, rig.container))
    with pytest.raises(EdgeError, match="nginx refuses"):
        rig.edge.apply("bad", {**FACTS, "domains": [".".join(["a" * 60] * 4)]})
    assert rig.edge.facts("bad") is None
    assert "do not get through the edge" in troubles(rig.edge, "crash")[0]
    assert rig.edge.refresh()
    assert get(port).status == 200
    assert troubles(rig.edge, "crash") == troubles(rig.edge, "unknown") == []


def test_addresses_that_the_host_does_not_have_are_told(rig: EdgeRig) -> None:
    assert "127.0.0.1" in local_addresses()
    rig.edge.store.put_facts(
        "gone",
        {
            "pools": {"web:80": {}},
            "listeners": [
                {"port": 8080, "address": "192.0.2.10", "pool": "web:80"},
                {"port": 8081, "address": "127.0.0.1", "pool": "web:80"},
            ],
        },
    )
    try:
        shown = text(report(rig.edge))
        (line,) = unheard(rig.edge, "gone")
    finally:
        rig.edge.store.put_facts("gone", None)
    assert "gone: nobody reaches 192.0.2.10:8080 yet" in shown
    assert "8081 yet" not in shown
    assert line == "this host does not have the address of 192.0.2.10:8080"
    assert unheard(rig.edge, "nobody") == []


def test_a_new_container_takes_over_while_the_old_one_finishes(
    rig: EdgeRig, application: Start
) -> None:
    server = application()
    port = rig.stack("heir", server.peer)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: rig.edge.in_flight([server.peer]) == {server.peer: 1})
        docker("tag", rig.document["image"], "moorage/nginx:test-again")
        try:
            rig.document["image"] = "moorage/nginx:test-again"
            assert f"container {rig.container}" in rig.provision(check=True)
            server.gate.set()
            assert f"container {rig.container}" in rig.provision()
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        finally:
            rig.document["image"] = "moorage/nginx:test"
    assert get(port).status == 200
    rig.provision()
    docker("image", "rm", "moorage/nginx:test-again")
    names = docker("ps", "--all", "--format", "{{.Names}}").split()
    assert f"{rig.container}-old" not in names
    state = docker("inspect", "--format", "{{.HostConfig.ReadonlyRootfs}}", rig.container)
    assert state.strip() == "true"


def test_one_that_runs_without_a_limit_of_processes_gets_it_and_runs_on(rig: EdgeRig) -> None:
    format_ = "{{.Id}} {{.State.StartedAt}} {{.HostConfig.PidsLimit}}"
    before = docker("inspect", "--format", format_, rig.container)
    assert before.split()[-1] == "4096"
    docker("update", "--pids-limit", "-1", rig.container)
    what = f"container {rig.container}: limit of processes"
    assert rig.provision(check=True) == rig.provision() == [what]
    assert docker("inspect", "--format", format_, rig.container) == before
    assert rig.provision(check=True) == rig.provision() == []


def test_a_setting_that_nginx_refuses_is_put_back(rig: EdgeRig) -> None:
    settings = dict(rig.document["settings"])
    with pytest.raises(EdgeError, match="nginx refuses"):
        rig.provision(connections_per_address=70000)
    rig.document["settings"] = settings
    assert rig.provision(check=True) == []


def test_the_status_shows_peers_and_what_they_do(rig: EdgeRig, application: Start) -> None:
    server = application()
    port = rig.stack("shown", server.peer, domains=["shown.example.com"], routes=FACTS["routes"])
    shown = text(report(rig.edge))
    assert "edge (container, TLS off): running" in shown
    row = next(line for line in shown.splitlines() if line.startswith("shown"))
    assert row.split()[:4] == ["shown", "web:80", server.peer, "0"]
    assert row.endswith(f"port {port}, shown.example.com/")
    rig.edge.test()


def test_none_removes_the_edge_and_keeps_its_data(
    rig: EdgeRig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = EdgeRig(tmp_path_factory.mktemp("n"))
    try:
        own.provision()
        own.stack("kept", f"127.0.0.1:{free_port()}")
        own.document["kind"] = "none"
        assert f"container {own.container}" in own.provision()
        assert not own.edge.present()
        assert own.edge.facts("kept") is not None
        assert own.container not in docker("ps", "--all", "--format", "{{.Names}}").split()
        assert own.provision() == []
    finally:
        own.remove()
