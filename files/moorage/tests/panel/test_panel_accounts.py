"""Who may sign in to a panel of its own: the password file and the limit on guesses."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from control_rig import SOURCES

from moorage.panel.accounts import AccountError, Accounts, Limiter, hash_password

PASSWORD = "a password of these tests"


def password_file(directory: Path, text: str, mode: int = 0o600) -> Path:
    """A password file with this content."""
    path = directory / "password"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_one_password_is_one_user_s(tmp_path: Path) -> None:
    accounts = Accounts(password_file(tmp_path, f"{PASSWORD}\n"), "ada")
    assert accounts.verify("ada", PASSWORD)
    for name, password in (("ada", PASSWORD + " "), ("ada", ""), ("bob", PASSWORD), ("", "")):
        assert not accounts.verify(name, password), (name, password)
    assert accounts.epoch("ada") and accounts.epoch("bob") is None


def test_an_unknown_name_costs_the_same_work_as_a_known_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = Accounts(password_file(tmp_path, f"ada:{hash_password(PASSWORD)}\n"), "admin")
    work: list[dict[str, int]] = []
    scrypt = hashlib.scrypt

    def counted(password: bytes, **cost: Any) -> bytes:
        work.append({key: value for key, value in cost.items() if key != "salt"})
        return scrypt(password, **cost)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    assert not accounts.verify("ada", PASSWORD + " ")
    assert not accounts.verify("bob", PASSWORD)
    known, unknown = work
    assert known == unknown and known["n"] > 1


def test_hashes_are_of_many(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "moorage.panel", "hash", "bob"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    made = subprocess.run(
        command,
        input=f"{PASSWORD} 2\n",
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert PASSWORD not in made.stdout
    lines = f"ada:{hash_password(PASSWORD)}\n{made.stdout}"
    accounts = Accounts(password_file(tmp_path, lines), "admin")
    assert accounts.verify("ada", PASSWORD) and accounts.verify("bob", PASSWORD + " 2")
    assert not accounts.verify("bob", PASSWORD) and not accounts.verify("admin", lines)


def test_a_new_password_counts_at_once_and_ends_sessions(tmp_path: Path) -> None:
    path = password_file(tmp_path, PASSWORD)
    accounts = Accounts(path, "ada")
    before = accounts.epoch("ada")
    path.write_text("quite another password")
    assert accounts.verify("ada", "quite another password")
    assert not accounts.verify("ada", PASSWORD)
    assert accounts.epoch("ada") not in (None, before)


def test_the_epoch_outlives_a_restart_with_its_key(tmp_path: Path) -> None:
    path = password_file(tmp_path, PASSWORD)
    epochs = []
    for key in (b"k" * 32, b"k" * 32, b"l" * 32):
        accounts = Accounts(path, "ada")
        accounts.key(key)
        epochs.append(accounts.epoch("ada"))
    assert epochs[0] == epochs[1] != epochs[2]


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (PASSWORD, 0o644, "chmod 600"),
        ("", 0o600, "holds one password"),
        ("short", 0o600, "8 to 1024 characters"),
        ("one password\nand another", 0o600, "holds one password"),
    ],
)
def test_what_is_no_password_file(tmp_path: Path, text: str, mode: int, why: str) -> None:
    with pytest.raises(AccountError, match=why):
        Accounts(password_file(tmp_path, text, mode), "ada")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AccountError, match="gone: No such file"):
        Accounts(tmp_path / "gone", "ada")


class Clock:
    """A clock that stands still until it is told."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_guesses_are_limited_in_a_sliding_window() -> None:
    clock = Clock()
    limiter = Limiter(3, 60.0, clock=clock)
    for _ in range(3):
        assert limiter.take("here") == 0
        clock.now += 10
    assert limiter.take("here") == 30
    assert limiter.take("there") == 0
    # Refused attempts do not move the end.
    clock.now += 29
    assert limiter.take("here") == 1
    clock.now += 1
    assert limiter.take("here") == 0
    assert limiter.take("here") == 10
    limiter.forget("here")
    assert limiter.take("here") == 0


def test_what_the_limiter_remembers_is_bounded() -> None:
    limiter = Limiter(1, 60.0, most=100, clock=Clock())
    for number in range(1000):
        limiter.take(f"address {number}")
    assert len(limiter._seen) == 100
    assert limiter.take("address 999") > 0 and limiter.take("address 1") == 0
