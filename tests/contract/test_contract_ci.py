"""The example of a deploying workflow: its own commands are run, as far as no host is needed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from devtool import docs

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = yaml.safe_load((ROOT / "examples/ci/github-workflow.yml").read_text(encoding="utf-8"))
STEPS: dict[str, dict[str, Any]] = {
    step["name"]: step for step in WORKFLOW["jobs"]["deploy"]["steps"] if "run" in step
}
PLAYS = [name for name, step in STEPS.items() if step["run"].startswith("ansible-playbook")]


def run(name: str, home: Path, **environment: str) -> str:
    """Run a step as the service would, its playbooks only looked at, and return what it said."""
    syntax = 'ansible-playbook() { command ansible-playbook --syntax-check "$@"; }\n'
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    given = {"HOME": str(home), "RUNNER_TEMP": str(home), "GITHUB_ENV": str(home / "env")}
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", syntax + STEPS[name]["run"]],
        cwd=ROOT,
        env={**os.environ, "PATH": tools, **WORKFLOW["env"], **given, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", PLAYS)
def test_a_playbook_is_called_as_it_can_be(name: str, tmp_path: Path) -> None:
    said = run(name, tmp_path, INVENTORY="inventory/example", GITHUB_SHA="0" * 40)
    argv = shlex.split(STEPS[name]["run"])
    (playbook,) = [word for word in argv if word.endswith(".yml")]
    assert f"playbook: {playbook}" in said
    takes = dict(docs.playbooks()).get(Path(playbook).stem, {})
    given = {argv[n + 1].partition("=")[0] for n, word in enumerate(argv) if word == "-e"}
    assert given <= takes.keys()
    assert {option for option, required in takes.items() if required} <= given


def test_both_ways_are_there_and_none_is_cut_off() -> None:
    assert [STEPS[name]["if"] for name in PLAYS] == [
        f"github.event_name == '{event}'" for event in ("pull_request", "push")
    ]
    assert "--check --diff" in STEPS[PLAYS[0]]["run"]
    assert WORKFLOW["concurrency"] == {"group": "production", "cancel-in-progress": False}


def test_keys_are_files_of_their_reader_s_alone_until_they_go(tmp_path: Path) -> None:
    secrets = {name: f"{name} of a test" for name in STEPS["Take the keys"]["env"]}
    said = run("Take the keys", tmp_path, **secrets)
    files = sorted((tmp_path / "keys").iterdir())
    assert {file.read_text() for file in files} == {f"{value}\n" for value in secrets.values()}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    set_ = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    paths = [path for value in set_.values() for path in re.findall(r"/\S+", value)]
    assert sorted(paths) == [str(file) for file in files]
    assert "StrictHostKeyChecking=yes" in set_["ANSIBLE_SSH_COMMON_ARGS"]
    assert not any(value in said for value in secrets.values())
    # Ansible knows all three by these names.
    tool = [str(Path(sys.executable).with_name("ansible-config")), "dump"]
    environment = {**os.environ, **set_, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    told = subprocess.run(tool, env=environment, capture_output=True, text=True, check=True).stdout
    for name in ("DEFAULT_PRIVATE_KEY_FILE", "DEFAULT_VAULT_PASSWORD_FILE"):
        assert f"{name}(env: ANSIBLE_" in told, name

    run("Leave no keys behind", tmp_path)
    assert not (tmp_path / "keys").exists()


def test_the_document_shows_the_same_commands() -> None:
    text = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    for name in PLAYS:
        plain = STEPS[name]["run"].strip().replace('"', "")
        for variable, value in WORKFLOW["env"].items():
            plain = plain.replace(f"${variable}", value)
        assert f"`{plain}`" in text
