"""Which release of the site runs: the deployed one, or a newer one that the updater has installed.

What is installed is kept as its archive and signature, and unpacked anew for each start from what
the signature covers: whoever gets to write there cannot have anything else run.
"""

import io
import os
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from moorage.common.signing import SigningError, signature_of, verify

MOST_BYTES = 20_000_000
_MOST_UNPACKED, _MOST_FILES = 100_000_000, 5_000
_VERSION = re.compile(r"(\d{1,5})\.(\d{1,5})\.(\d{1,5})")
_PREFIX = "fastblog-release-"
Version = tuple[int, int, int]


class ReleaseError(Exception):
    """A release cannot be used; the message says why."""


def parse(version: str) -> Version:
    """Return the three numbers of a version; raises ReleaseError."""
    match = _VERSION.fullmatch(version)
    if not match:
        raise ReleaseError(f"{version[:40]!r} is no version such as 1.2.0")
    return int(match[1]), int(match[2]), int(match[3])


def deployed() -> str:
    """Return the version that the deployment brought."""
    return version_of(Path(__file__).parents[1])


def version_of(directory: Path) -> str:
    """Return the version of the package in a directory, without running it; raises ReleaseError."""
    try:
        text = (directory / "fastblog" / "__init__.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReleaseError(f"there is no fastblog in it: {error}") from None
    match = re.search(r'^__version__ = "([0-9.]+)"$', text, re.MULTILINE)
    parse(match[1] if match else "")
    return match[1] if match else ""


def directory(env: Mapping[str, str]) -> Path:
    """Return where installed releases lie."""
    data = Path(env.get("DATA_DIR", "") or "data").absolute()
    return Path(env.get("RELEASES_DIR", "") or data / "releases")


def archive(where: Path, version: str) -> Path:
    """Return the path of a release's archive; raises ReleaseError."""
    parse(version)
    return where / f"fastblog-{version}.tar.gz"


def current(where: Path) -> str:
    """Return the version that was installed last, "" when it is not newer than the deployed one."""
    try:
        with (where / "current").open(encoding="ascii") as file:
            version = file.read(100).strip()
        return version if parse(version) > parse(deployed()) else ""
    except (OSError, ValueError, ReleaseError):
        return ""


def unpack(source: Path, key: Path, version: str) -> Path:
    """Verify a release and unpack it into a fresh directory, which is returned.

    Raises ReleaseError.
    """
    made = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    try:
        # Copies, so that what is unpacked is what was verified.
        content = _read(source, MOST_BYTES)
        (made / source.name).write_bytes(content)
        signature = signature_of(source)
        signature_of(made / source.name).write_bytes(_read(signature, 10_000))
        verify(made / source.name, key)
        target = made / "app"
        target.mkdir()
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as packed:
            members = _members(packed)
            packed.extractall(target, members=members, filter="data")
        found = version_of(target)
        if found != version:
            raise ReleaseError(f"it says that it is {found}, not {version}")
        return target
    except (SigningError, tarfile.TarError, EOFError, OSError, ValueError) as error:
        shutil.rmtree(made, ignore_errors=True)
        raise ReleaseError(f"{source.name}: {error}") from None
    except ReleaseError:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _members(packed: tarfile.TarFile) -> list[tarfile.TarInfo]:
    found: list[tarfile.TarInfo] = []
    left = _MOST_UNPACKED
    for member in packed:
        left -= member.size
        if left < 0 or len(found) >= _MOST_FILES:
            raise ReleaseError("it unpacks to more than a release has")
        if not (member.isreg() or member.isdir()) or member.name.split("/")[0] != "fastblog":
            raise ReleaseError(f"{member.name[:100]!r} is no file of fastblog/")
        found.append(member)
    return found


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ReleaseError(f"{path.name} is larger than {most} bytes")
    return content


def activate(env: Mapping[str, str]) -> Path | None:
    """Have the release that is to run imported from now on; return where it was unpacked.

    Where it cannot be used, what was deployed runs, and the log says why.
    """
    sweep()
    where = directory(env)
    version = env.get("FASTBLOG_RELEASE", "") or current(where)
    if not version:
        return None
    try:
        target = unpack(archive(where, version), Path(env.get("RELEASE_KEY_FILE", "")), version)
    except ReleaseError as error:
        print(f"release {version} is not used: {error}", file=sys.stderr, flush=True)
        return None
    sys.path.insert(0, str(target))
    return target.parent


def sweep() -> None:
    """Remove what was unpacked for processes that have gone."""
    for found in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = found.name.removeprefix(_PREFIX).partition("-")[0]
        # Others may put anything there, and others sweep as well.
        with suppress(OSError):
            ours = found.lstat().st_uid == os.getuid()
            if ours and pid.isdigit() and not Path("/proc", pid).exists():
                shutil.rmtree(found, ignore_errors=True)
