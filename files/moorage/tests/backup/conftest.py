"""A stack with a database of its own making, a volume and secrets, and a repository for it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import poly1305
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy"))
sys.path.insert(0, str(Path(__file__).parents[1] / "images"))
sys.path.insert(0, str(Path(__file__).parent))

from saved import Saved, host, places


def quick_key(repository: Path, password: bytes) -> None:
    """Have the repository's key open without the work that is to keep others from guessing.

    Each restic would do a third of a second of it. Format: restic's design document, "Keys".
    """
    found = next((repository / "keys").iterdir())
    key = json.loads(found.read_bytes())
    salt, data = base64.b64decode(key["salt"]), base64.b64decode(key["data"])
    costly = hashlib.scrypt(
        password, salt=salt, n=key["N"], r=key["r"], p=key["p"], dklen=64, maxmem=1 << 28
    )
    quick = hashlib.scrypt(password, salt=salt, n=16, r=1, p=1, dklen=64)
    counter, text = data[:16], data[16:-16]

    def crypt(secret: bytes, piece: bytes) -> bytes:
        return Cipher(algorithms.AES(secret[:32]), modes.CTR(counter)).encryptor().update(piece)

    text = crypt(quick, crypt(costly, text))
    once = Cipher(algorithms.AES(quick[32:48]), modes.ECB()).encryptor().update(counter)
    tag = poly1305.Poly1305.generate_tag(quick[48:64] + once, text)
    sealed = base64.b64encode(counter + text + tag).decode()
    content = json.dumps({**key, "N": 16, "r": 1, "p": 1, "data": sealed}).encode()
    (found.parent / hashlib.sha256(content).hexdigest()).write_bytes(content)
    found.unlink()


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new repository: making one takes seconds."""
    directory = tmp_path_factory.mktemp("repository")
    password = directory / "password"
    password.write_text("a password of the tests\n")
    password.chmod(0o600)
    repository = directory / "repository"
    env = {
        **os.environ,
        "RESTIC_REPOSITORY": str(repository),
        "RESTIC_PASSWORD_FILE": str(password),
    }
    subprocess.run(["restic", "--no-cache", "init"], env=env, check=True, capture_output=True)
    quick_key(repository, b"a password of the tests")
    return directory


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, empty_repository: Path) -> Iterator[Saved]:
    """One stack for many tests, with a backup of all that it has."""
    with pytest.MonkeyPatch.context() as patch:
        stack = host(tmp_path_factory.mktemp("standing"), patch, empty_repository)
        try:
            stack.deploy()
            stack.backup()
            yield stack
        finally:
            stack.rig.clear()


@pytest.fixture
def saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_repository: Path
) -> Iterator[Saved]:
    """A stack that is not deployed yet, and what is needed to save it."""
    found = host(tmp_path, monkeypatch, empty_repository)
    try:
        yield found
    finally:
        found.rig.clear()


@pytest.fixture
def as_deployed(standing: Saved) -> Iterator[Saved]:
    """The stack that is there, whose settings, repository and release may be changed."""
    kept = {
        path: path.read_bytes()
        for path in (places(standing.directory)[name] for name in ("SETTINGS", "PASSWORD"))
    }
    repository, away = standing.directory / "repository", standing.directory / "away"
    standing.reset()
    yield standing
    for path, content in kept.items():
        path.write_bytes(content)
        path.chmod(0o600)
    if away.is_dir():
        if repository.exists():
            shutil.rmtree(repository)
        away.rename(repository)
    standing.reset()
    if standing.layout.current.readlink().name != standing.release():
        standing.declare()


@pytest.fixture
def changed(standing: Saved) -> Saved:
    """The stack that is there, with other data than in its backup."""
    standing.reset()
    standing.change()
    return standing
