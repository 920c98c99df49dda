"""Where a one-off command runs, and with what."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moorage.deploy.drivers.registry import driver
from moorage.deploy.execute import ExecuteError, command_in
from moorage.deploy.release import point_current_at, write_release
from moorage.deploy.runtimes.docker import Docker
from moorage.release.layout import Layout
from moorage.release.manifest import FORMAT

PROCESS = {
    "name": "web",
    "command": ["serve"],
    "working_dir": "/app",
    "environment": {"TOKEN_FILE": "/run/secrets/token"},
}


def unit(service: str, **more: Any) -> dict[str, Any]:
    """Return a unit as a manifest has it."""
    keys = more.pop("keys", {"": service})
    name = f"shop-{service}"
    return {
        "name": name,
        "service": service,
        "config": "0" * 16,
        "rolled": False,
        "keys": keys,
    } | more


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A stack with a unified container and a database that run, and a one-off that does not."""
    found = Layout.of("shop", tmp_path / "opt", tmp_path / "run")
    found.releases.mkdir(parents=True)
    units = [
        unit("unified", processes=["web"], keys={"a": "unified.a", "b": "unified.b"}),
        unit("mysql"),
        unit("import"),
    ]
    names = [{"name": name} for name in ("web", "mysql", "import")]
    facts = {"stack": "shop", "units": units, "services": names}
    manifest = {"format": FORMAT, "topology": "unified", **facts}
    files = {
        "compose.yaml": ("{}\n", 0o644),
        "supervisor.json": (json.dumps({"processes": [PROCESS]}), 0o644),
    }
    point_current_at(found, write_release(found, "0" * 12, files, manifest))
    running = [SimpleNamespace(name=f"shop-{s}", state="running") for s in ("unified", "mysql")]
    monkeypatch.setattr(Docker, "instances", lambda *_: running)
    return found


def test_a_service_s_own_container_is_entered(layout: Layout) -> None:
    argv = command_in(layout, "mysql", ["mariadb", "--version"], driver)
    assert argv == ["docker", "exec", "--interactive", "shop-mysql", "mariadb", "--version"]
    assert "--tty" in command_in(layout, "mysql", ["sh"], driver, terminal=True)


def test_a_process_brings_its_directory_and_environment(layout: Layout) -> None:
    argv = command_in(layout, "web", ["env"], driver)
    assert argv[argv.index("--workdir") + 1] == "/app"
    assert argv[argv.index("--env") + 1] == "TOKEN_FILE=/run/secrets/token"
    assert argv[-2:] == ["shop-unified", "env"]


def test_what_does_not_run_gets_a_container_that_is_gone_afterwards(layout: Layout) -> None:
    argv = command_in(layout, "import", ["python3", "-V"], driver)
    assert argv[:2] == ["docker", "compose"]
    assert {"run", "--rm", "--no-deps", "-T"} <= set(argv)
    assert argv[argv.index("--entrypoint") :] == ["--entrypoint", "python3", "import", "-V"]
    # None of the stack's containers: a rollout would remove one that nothing describes.
    assert argv[argv.index("--label") + 1] == "moorage.stack="


def test_an_unknown_service_and_an_empty_host_are_named(layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(ExecuteError, match="no service 'wbe': it has import, mysql, web"):
        command_in(layout, "wbe", ["true"], driver)
    empty = Layout.of("kiosk", tmp_path / "opt", tmp_path / "run")
    with pytest.raises(ExecuteError, match="no release of kiosk runs here"):
        command_in(empty, "web", ["true"], driver)
