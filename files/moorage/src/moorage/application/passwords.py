"""Passwords: Argon2id hashes, checked in constant time."""

import hashlib
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# RFC 9106's second recommendation with a third of its memory: several sign-ins at once must fit
# into a small container.
_HASHER = PasswordHasher(time_cost=3, memory_cost=19 * 1024, parallelism=1)


def hash_password(password: str) -> str:
    """Return the hash to store; it holds its own parameters and salt."""
    return _HASHER.hash(password)


def verify(stored: str, password: str) -> bool:
    """Say whether the password belongs to the hash."""
    try:
        return _HASHER.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


def outdated(stored: str) -> bool:
    """Say whether the hash was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(stored)


@cache
def dummy_hash() -> str:
    """Return a hash that nobody's password has: an unknown name costs as much as a known one."""
    return _HASHER.hash("an unknown name is checked against this")


def mark(stored: str) -> str:
    """Return what a session keeps of a hash, to end with the password that it was opened with."""
    return hashlib.sha256(stored.encode()).hexdigest()[:16]
