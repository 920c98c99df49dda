"""Signatures of the host, with minisign: who reads a receipt later can tell whether it was altered.

Formats and options: the manual page minisign(1). A signature covers the file and a "trusted
comment", which is shown when it is verified.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from moorage.common.files import persist, put_aside, replace

KEY_FILE = "receipt.key"
PUBLIC_FILE = "receipt.pub"
_SUFFIX = ".minisig"
_TIMEOUT_SECONDS = 20.0
_FORBIDDEN = str.maketrans(dict.fromkeys(map(chr, [*range(32), 127]), " "))


class SigningError(Exception):
    """minisign is not there or has refused; the message holds its words."""


def signature_of(path: Path) -> Path:
    """Where the signature of a file lies: beside it."""
    return path.with_name(path.name + _SUFFIX)


def ensure_key(directory: Path) -> bool:
    """Make sure that a directory holds the host's pair of keys; return whether any was made.

    The secret key (mode 0600) has no password: the host signs while nobody is there to type one.
    A public key that was lost or damaged is made again from the secret one; a secret one means a
    new pair. What is replaced is put aside: older receipts are verified with it. Raises
    SigningError.
    """
    secret, public = directory / KEY_FILE, directory / PUBLIC_FILE
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    # Made in a directory that only we can enter, and moved when it is whole.
    with tempfile.TemporaryDirectory(prefix=".keys.", dir=directory) as name:
        if _are_a_pair(secret, public, Path(name)):
            return False
        fresh_secret, fresh_public = Path(name, KEY_FILE), Path(name, PUBLIC_FILE)
        if not _half_of(secret, fresh_public):
            _minisign("-G", "-W", "-s", str(fresh_secret), "-p", str(fresh_public))
            fresh_secret.chmod(0o600)
        fresh_public.chmod(0o644)
        # The public one first: a secret key that stands there is never without its other half.
        _settle(fresh_public, public)
        if fresh_secret.exists():
            _settle(fresh_secret, secret)
    return True


def _are_a_pair(secret: Path, public: Path, scratch: Path) -> bool:
    """Tell whether what one key signs the other one verifies."""
    if not secret.is_file() or not public.is_file():
        return False
    trial = scratch / "trial"
    trial.write_bytes(b"")
    try:
        sign(trial, secret, "trial")
        verify(trial, public)
    except SigningError:
        return False
    return True


def _half_of(secret: Path, public: Path) -> bool:
    """Make a public key from the secret one; False where that is none."""
    try:
        if secret.is_file():
            _minisign("-R", "-s", str(secret), "-p", str(public))
    except SigningError:
        public.unlink(missing_ok=True)
    return public.is_file()


def sign(path: Path, key: Path, comment: str) -> Path:
    """Sign a file with a secret key; return the path of the signature. Raises SigningError."""
    signature = signature_of(path)
    trusted = comment.translate(_FORBIDDEN)[:200]
    _minisign("-S", "-s", str(key), "-m", str(path), "-x", str(signature), "-t", trusted)
    signature.chmod(0o644)
    return signature


def verify(path: Path, public_key: Path) -> str:
    """Return the trusted comment of a file's signature; SigningError when it is not right."""
    signature = signature_of(path)
    for needed in (public_key, path, signature):
        if not needed.is_file():
            raise SigningError(f"{needed} is not there")
    return _minisign("-V", "-Q", "-p", str(public_key), "-m", str(path), "-x", str(signature))


def _settle(fresh: Path, final: Path) -> None:
    persist(fresh)
    put_aside(final)
    replace(fresh, final)


def _minisign(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["minisign", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise SigningError("minisign is not installed: apt install minisign") from None
    except subprocess.TimeoutExpired:
        raise SigningError(f"minisign did not end within {_TIMEOUT_SECONDS:g} s") from None
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split())
        raise SigningError(f"minisign {arguments[0]}: {words or f'status {done.returncode}'}")
    return done.stdout.strip()
