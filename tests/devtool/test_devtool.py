"""What the developer's commands decide by themselves, without an engine."""

from __future__ import annotations

import importlib.metadata
import os
import re
import socket
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml

from devtool import (
    certificates,
    galaxy,
    local,
    paths,
    progress,
    quality,
    shell,
    summary,
    testhost,
)
from devtool.progress import Progress, Stage
from devtool.ui import Problem


def test_bundle_is_the_first_that_exists(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificates")
    environ = {
        "PIP_CERT": str(tmp_path / "gone.pem"),
        "REQUESTS_CA_BUNDLE": str(bundle),
        "SSL_CERT_FILE": "/elsewhere",
    }
    assert certificates.extra_bundle(environ) == str(bundle)


def test_summary_shows_addresses_only_for_published_ports() -> None:
    common = {"state": "RUNNING", "health": "none", "pid": 7, "uptime": 61.0}
    services = [
        {"service": "frontend", "ports": [5000], **common},
        {"service": "mysql", "ports": [3306], **common},
    ]
    header, frontend, mysql = summary.rows(services, {5000: 15000})
    assert header[0] == "SERVICE"
    assert frontend == ["frontend", "RUNNING", "-", "7", "1m01s", "http://127.0.0.1:15000/"]
    assert mysql[-1] == "-"


def test_published_prefers_what_the_engine_chose() -> None:
    asked = {"8080/tcp": [{"HostPort": ""}], "5000/tcp": [{"HostPort": "15000"}]}
    chosen = {"8080/tcp": [{"HostPort": "49153"}], "3306/tcp": None}
    found = {"NetworkSettings": {"Ports": chosen}, "HostConfig": {"PortBindings": asked}}
    assert testhost._published(found) == {8080: 49153, 5000: 15000}


def test_a_taken_port_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testhost, "find", lambda _name: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Problem, match=f"port {port} .*taken") as problem:
            local._check_ports([port, port])
    assert any("make up PORTS=" in hint for hint in problem.value.hints)


def test_lint_sees_every_script_with_a_shebang() -> None:
    found = {path for path in quality.project_files() if quality._is_shell(path)}
    for script in ("scripts/bootstrap", ".ci/run", "inventory/local/hosts"):
        assert Path(script) in found


def test_an_environment_on_the_path_is_not_what_the_next_one_is_made_of(tmp_path: Path) -> None:
    venv.create(tmp_path / "old", symlinks=True)
    shown = "/^new_enough/,/^}/p; /^find_python/,/^}/p"
    script = f'eval "$(sed -n "{shown}" scripts/bootstrap)"; find_python'
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=paths.ROOT,
        env={"PATH": f"{tmp_path}/old/bin:{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = Path(done.stdout.strip())
    assert found.exists() and not found.is_relative_to(tmp_path)


def test_locks_are_complete_and_name_no_index() -> None:
    for lock in (paths.ROOT / "requirements").glob("*.txt"):
        text = lock.read_text()
        pins = [line for line in text.splitlines() if "==" in line and not line.startswith("#")]
        assert pins, lock
        assert text.count("--hash=") >= len(pins), lock
        assert "http" not in text, lock
        assert "--index" not in text, lock


def test_controller_and_dev_agree() -> None:
    def pins(name: str) -> dict[str, str]:
        lines = (paths.ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
        split = (line.split(" ")[0].split("==") for line in lines if line[:1].isalpha())
        return dict(split)

    controller, dev = pins("controller"), pins("dev")
    assert {name: dev[name] for name in controller if name in dev} == {
        name: version for name, version in controller.items() if name in dev
    }


def test_collections_of_the_playbooks_are_the_installed_ones() -> None:
    galaxy.ensure()
    installed = Path(yaml.__file__).parents[1] / "ansible_collections"
    for collection in yaml.safe_load((paths.ROOT / "requirements.yml").read_text())["collections"]:
        manifest = installed / collection["name"].replace(".", "/") / "MANIFEST.json"
        found = yaml.safe_load(manifest.read_text())["collection_info"]["version"]
        assert found == collection["version"]


def test_a_deployment_says_its_steps_and_what_is_left_by_its_own_pace(
    capfd: pytest.CaptureFixture[str],
) -> None:
    said: list[str] = []
    seconds = iter([0.0, 100.0, 260.0, 300.0])
    stages = (
        Stage("packages", "TASK [a", 50),
        Stage("the engine", "TASK [b", 50),
        Stage("images", "web: built", 50),
        Stage("the edge", "TASK [c", 10),
        Stage("services", "RECAP", 5),
    )
    progress = Progress(said.append, stages, lambda: next(seconds))
    output = "ok\nTASK [a : x] ***\n  [h] web: built in 1 s\nTASK [c]\nPLAY RECAP"
    status = shell.watched(("sh", "-c", f"printf '{output}'; exit 3"), progress.see)
    assert status == 3 and capfd.readouterr().out == output
    assert said == [
        "==> step 1 of 5: packages; about 3 minutes left, more on a machine that is busy",
        # Twice as slow as it was where it was measured.
        "==> step 2 of 5: the engine; about 4 minutes left",
        "==> step 4 of 5: the edge; less than a minute left",
        "==> step 5 of 5: services; less than a minute left",
    ]


def test_the_steps_of_a_deployment_end_with_lines_that_there_are() -> None:
    roles = "".join(path.read_text() for path in paths.ROOT.glob("roles/*/tasks/*.yml"))
    plays = "".join(path.read_text() for path in paths.ROOT.glob("playbooks/tasks/*.yml"))
    for stage in progress.STAGES:
        task = re.fullmatch(r"TASK \[(?:\w+ : )?(.*)", stage.ends)
        assert task is None or task[1] in roles + plays, stage


def test_the_commands_of_a_newcomer_need_nothing_that_developers_have() -> None:
    """`make up` installs what is in requirements/controller.txt, and no more."""
    controller, dev = (
        set(
            re.findall(r"^([\w.-]+)==", (paths.ROOT / f"requirements/{name}.txt").read_text(), re.M)
        )
        for name in ("controller", "dev")
    )
    absent = [
        module
        for module, providers in importlib.metadata.packages_distributions().items()
        if not {name.lower() for name in providers} - (dev - controller)
    ]
    assert {"pytest", "mypy"} <= set(absent)
    program = f"import sys; sys.modules |= dict.fromkeys({absent!r}); import devtool.__main__"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
