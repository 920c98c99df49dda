"""The host is gone: another bare one, the repository, the recovery kit and the checkout."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from backup_site import STACKS
from playbook import play
from support import Machine, outer, wait_until, wait_until_up

Figure = Callable[[str], None]
_KIT = "recovery"


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with the operator's vault password."""
    path = tmp_path_factory.mktemp("vault") / "password"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(20), encoding="utf-8")
    return path


@pytest.fixture
def gone(filled: Machine) -> Iterator[Machine]:
    """A function of the first host that ends with it being started again."""
    yield filled
    if outer("inspect", "--format", "{{.State.Running}}", filled.name) != "true":
        outer("start", filled.name)
        wait_until("it is there again", lambda: filled.serves(5000), seconds=120)


def test_both_stacks_come_back_on_another_host(
    gone: Machine, spare: Machine, vault: Path, tmp_path: Path, figure: Figure
) -> None:
    kits = tmp_path / _KIT
    unlock = ("--vault-password-file", str(vault))
    for stack in STACKS:
        options: dict[str, Any] = {"stack": stack, "moorage_recovery_dir": str(kits)}
        play("playbooks/backup.yml", *unlock, **options).ok  # noqa: B018
    saved = time.monotonic()
    kit = kits / f"{gone.name}.yml"
    text = kit.read_text(encoding="utf-8")
    password = gone.sh("cat /opt/moorage/keys/backup.password")
    assert text.startswith("$ANSIBLE_VAULT") and password not in text
    assert kit.stat().st_mode & 0o777 == 0o600
    before = {stack: site.kept(gone) for stack, site in STACKS.items()}
    outer("kill", gone.name)

    inventory = tmp_path / "inventory.json"
    member: dict[str, Any] = {"hosts": {spare.name: {}}}
    inventory.write_text(json.dumps({"all": {"children": dict.fromkeys(STACKS, member)}}))
    there = ("-i", str(inventory), "--limit", spare.name)
    began = time.monotonic()
    play("playbooks/provision.yml", *there).ok  # noqa: B018
    for stack in STACKS:
        played = play(
            "playbooks/restore.yml", *there, *unlock, stack=stack, kit=str(kit), confirm=stack
        )
        assert played.ok.count("changed") > 0
        assert password not in played.output
    figure(f"another host, bare, to both stacks restored: {time.monotonic() - began:.0f} s (RTO)")
    figure(f"lost: what was written in {began - saved:.0f} s, since the backup (RPO)")
    for stack, site in STACKS.items():
        wait_until_up(spare, stack)
        assert site.kept(spare) == before[stack]
        assert site.administrator(spare).get(site.PRIVATE).status == 200
    # Notes what the kit has brought; another one has nothing to do.
    play("site.yml", *there).ok  # noqa: B018
    assert play("site.yml", *there).ok.count("changed") == 0
