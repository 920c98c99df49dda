"""The recovery kit, fetched by Ansible from a container that stands for a host, to a real vault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from moorage.controller.recovery import KitError, kit_of

ROOT = Path(__file__).resolve().parents[4]
PASSWORD = "Geheim/of+repository="
KEY = "Geheim=of=the backend"
STORAGE = "Geheim+of/the=disk"
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Ensure the recovery kit is here
      moorage_kit: {dest: "{{ dest }}"}
      register: kit
      no_log: true
    - name: Say what became of it
      ansible.builtin.debug: {msg: "trouble={{ kit.trouble }}"}
"""
KIT = {
    "repository": "s3:https://s3.example.com/harbour",
    "environment": {"AWS_SECRET_ACCESS_KEY": KEY, "EMPTY": ""},
    "password": PASSWORD,
    "stacks": {"shop": {"user": "20123:20123"}, "tg2em": {"user": "10001:10001"}},
    "encrypted": {"shop": {"key": STORAGE, "gocryptfs.conf": '{"Version": 2}\n'}},
}
PREPARE = """
mkdir -p /opt/moorage/backup /opt/moorage/keys /opt/shop/logs /opt/tg2em/logs /opt/other
chown 20123:20123 /opt/shop/logs; chown 10001:10001 /opt/tg2em/logs
cat > /opt/moorage/backup/settings.json
printf %s "$1" > /opt/moorage/keys/backup.password
mkdir /opt/shop/encrypted
printf %s "$3" > /opt/moorage/keys/storage-shop.key
echo '{"Version": 2}' > /opt/shop/encrypted/gocryptfs.conf
cd /opt/moorage/backup
printf '# Written by Moorage\\nAWS_SECRET_ACCESS_KEY=%s\\nEMPTY=\\n' "$2" > environment
"""


def docker(*argv: str, stdin: str = "") -> str:
    return subprocess.run(
        ["docker", *argv], input=stdin, capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.fixture(scope="module")
def bare() -> Iterator[str]:
    """A host without anything; Ansible needs no Python on it for what is asked."""
    name = f"pytest-kit-{uuid.uuid4().hex[:8]}"
    docker("run", "--detach", "--name", name, "moorage/base:trixie", "sleep", "3600")
    yield name
    docker("rm", "--force", name)


@pytest.fixture(scope="module")
def host(bare: str) -> str:
    settings = json.dumps({"repository": KIT["repository"], "environment_file": "x", "keep": {}})
    docker("exec", "-i", bare, "sh", "-euc", PREPARE, "-", PASSWORD, KEY, STORAGE, stdin=settings)
    return bare


def fetch(host: str, directory: Path, dest: Path, vault: str = "", *options: str) -> str:
    """Play it and return all that Ansible says, as loudly as it can."""
    play = directory / "play.yml"
    play.write_text(PLAY)
    inventory = {"hosts": {host: {"ansible_connection": "community.docker.docker"}}}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": inventory}))
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-vvvv"]
    argv += ["-i", str(directory / "hosts.yml"), "-e", f"dest={dest}", *options]
    if vault:
        (directory / "vault").write_text(f"{vault}\n")
        argv += ["--vault-password-file", str(directory / "vault")]
    config = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(
        [*argv, str(play)],
        cwd=directory,
        env={**os.environ, **config},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "Geheim" not in said
    return said


def opened(dest: Path, vault: str) -> Any:
    return yaml.safe_load(
        VaultLib([("default", VaultSecret(vault.encode()))]).decrypt(dest.read_bytes())
    )


def test_a_kit_is_encrypted_and_written_when_something_changed(host: str, tmp_path: Path) -> None:
    dest = tmp_path / "recovery" / "one.yml"

    said = fetch(host, tmp_path, dest, "one", "--check")
    assert "changed=1" in said and not dest.exists()

    assert "changed=1" in fetch(host, tmp_path, dest, "one")
    assert dest.stat().st_mode & 0o777 == 0o600
    assert opened(dest, "one") == {"host": host, **KIT}
    written = dest.read_bytes()
    assert b"Geheim" not in written

    assert "changed=0" in fetch(host, tmp_path, dest, "one")
    assert dest.read_bytes() == written

    said = fetch(host, tmp_path, dest, "another")
    assert "is there, and encrypted with another password" in said
    assert dest.read_bytes() == written


def test_without_a_vault_password_nothing_is_written(host: str, tmp_path: Path) -> None:
    said = fetch(host, tmp_path, tmp_path / "kit.yml")
    assert "no recovery kit was written, since nothing would encrypt it: say --ask-vault" in said
    assert not (tmp_path / "kit.yml").exists()


def test_a_host_without_settings_is_told_of() -> None:
    with pytest.raises(KitError, match=r"harbour has no settings of backups yet: run site\.yml"):
        kit_of("harbour", "\n\n\n")
    with pytest.raises(KitError, match=r"harbour: .*settings.json cannot be read"):
        kit_of("harbour", "e30=\nYQ==\n\n")
    with pytest.raises(KitError, match="cannot be read"):
        kit_of("harbour", "sudo: a password is required\n")
