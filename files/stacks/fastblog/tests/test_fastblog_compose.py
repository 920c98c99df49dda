"""The Compose file: what Moorage reads of it in each topology, and what Compose does."""

import json
import os
import subprocess
import sys

import pytest
from fastblog_rig import APP, MOORAGE, STACK

from moorage.compose import load_stack
from moorage.render import render_stack
from moorage.render.host.slots import KEPT
from moorage.settings.stack import Settings


@pytest.mark.parametrize("topology", ["unified", "host", "containers"])
def test_it_is_rendered(topology: str) -> None:
    kept = KEPT if topology == "host" else ""
    stack = load_stack(STACK, on_demand=True, kept=kept)
    settings = Settings.parse({"topology": topology}, stack=stack.name, behind_edge=True)
    found = render_stack(stack, settings)
    assert {(p.service, p.port) for p in found.ports} == {("main_app", 9421)}
    # By the edge, so an update is noticed by nobody.
    rolled = {u.service: u.rolled for u in found.units}
    assert rolled["main_app" if topology != "unified" else "unified"]
    # There is one port for all.
    assert topology != "host" or not rolled["ipc_server"]


def test_the_processes_are_the_documents() -> None:
    settings = Settings.parse({"topology": "unified"}, stack="fastblog")
    found = render_stack(load_stack(STACK, on_demand=True), settings)
    processes = json.loads(found.files["supervisor.json"].content)["processes"]
    names = ["ipc_server", "update_server", "updater", "main_app"]
    assert [process["name"] for process in processes] == names
    for process in processes:
        name = process["name"]
        assert process["stdout_logfile"] == f"/var/log/fastblog/{name}.log"
        assert process["stderr_logfile"] == f"/var/log/fastblog/{name}.err.log"
        if name == "updater":
            assert not process["autostart"]
        else:
            assert (process["restart_limit"], process["restart_delay"]) == (3, 5)


def test_compose_reads_it_too() -> None:
    argv = ["docker", "compose", "config", "--format", "json"]
    done = subprocess.run(argv, cwd=STACK, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(service["read_only"] for service in json.loads(done.stdout)["services"].values())


def test_what_it_imports_is_in_images() -> None:
    left_out = {
        line.rpartition("/")[2]
        for line in (MOORAGE.parent / ".dockerignore").read_text().splitlines()
        if line.startswith("src/moorage/")
    }
    ours = ("app", "ipc_server", "messages", "update_server", "updater")
    imports = ", ".join(["fastblog_start.releases", *(f"fastblog.{name}" for name in ours)])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {imports}; print(*sys.modules)"],
        env={"PYTHONPATH": f"{APP}:{MOORAGE}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = {name.split(".")[1] for name in done.stdout.split() if name.startswith("moorage.")}
    assert left_out and found & left_out == set()
