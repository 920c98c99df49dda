"""What the role and the playbooks say to `moorage` is what it understands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from jinja2 import Environment

from moorage.backup.settings import SETTINGS, Keep, Settings
from moorage.cli.main import _parser
from moorage.common.shape import make

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/backup"
UNITS = sorted(ROLE.glob("templates/etc/systemd/system/*.service.j2"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name.partition(".")[0])
def test_a_unit_runs_a_command_that_there_is(unit: Path) -> None:
    (command,) = re.findall(r"^ExecStart=(.+)$", unit.read_text(encoding="utf-8"), re.M)
    program, *argv = shlex.split(command)
    assert program == "/usr/local/bin/moorage"
    assert _parser().parse_args(argv).all


@pytest.mark.parametrize(
    ("playbook", "argv"),
    [
        ("backup.yml", ["backup", "--all", "--dry-run"]),
        ("backup.yml", ["backup", "shop"]),
        ("restore.yml", ["restore", "shop", "--snapshot", "x", "--only=volume/a", "--dry-run"]),
        ("restore.yml", ["restore", "shop", "--without-backup", "--yes"]),
        ("restore.yml", ["restore", "shop", "--table=db.posts", "--yes"]),
        ("tasks/kit.yml", ["restore", "shop", "--secrets-only"]),
    ],
)
def test_a_playbook_says_what_is_understood(playbook: str, argv: list[str]) -> None:
    text = (ROOT / "playbooks" / playbook).read_text(encoding="utf-8")
    words = [word.partition("=")[0] for word in argv if word.startswith("--")]
    assert [word for word in words if word not in text] == []
    assert _parser().parse_args(argv).verb == argv[0]


def test_the_settings_are_those_that_a_host_reads() -> None:
    variables = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))
    fill = Environment(autoescape=False).from_string
    given = variables["__backup_settings"]
    keep = {name: int(fill(text).render(defaults)) for name, text in given["keep"].items()}
    repository = fill(given["repository"]).render(defaults)
    prove = defaults["backup_prove_application"]
    rendered = {"keep": keep, "repository": repository, "prove_application": prove, "stacks": {}}
    settings = make(Settings, {**given, **rendered}, strict=True)
    assert settings.prove_application_of("shop")
    assert (settings.repository, settings.keep) == (defaults["backup_repository"], Keep())
    tasks = (ROLE / "tasks/configure.yml").read_text(encoding="utf-8")
    assert f"path: {SETTINGS}" in tasks
