"""Where things of a stack lie on this machine, and what takes the place of a container's paths."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from devtool.paths import ROOT
from devtool.ui import Problem
from moorage.compose import Service, Stack

# sun_path of unix(7) holds 107 bytes; below the directory there come at most tmp/NAME-UID/PROCESS/
# and the name of a socket.
_LONGEST = 40
# What may stand beside a path in an argument, a list of them, or a shell's line.
_BEFORE, _AFTER = r"(?:^|(?<=[=:,\s'\"]))", r"(?=[/:,\s'\"]|$)"


@dataclass(frozen=True)
class Places:
    """The directories of a stack; `run` is short enough for sockets, wherever the checkout is."""

    base: Path
    run: Path

    @classmethod
    def of(cls, name: str) -> Places:
        """Make them, for nobody else to look into; raises Problem."""
        base = ROOT / ".local" / name
        run = base / "run"
        if len(os.fsencode(run)) > _LONGEST:
            mark = hashlib.sha256(os.fsencode(base)).hexdigest()[:8]
            run = Path(tempfile.gettempdir(), f"moorage-{os.getuid()}-{mark}")
        places = cls(base, run)
        for path in (base, places.logs, places.data, places.secrets, run, places.temporary):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = run.lstat()
        if run.is_symlink() or found.st_uid != os.getuid():
            raise Problem(f"{run} is somebody else's", "Remove it, or set TMPDIR to another place.")
        run.chmod(0o700)
        return places

    def clear(self) -> None:
        """Remove what a container has in memory: it is new each time."""
        for path in self.run.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        self.temporary.mkdir(mode=0o700)

    @property
    def conf(self) -> Path:
        """Supervisor's configuration."""
        return self.base / "supervisord.conf"

    @property
    def socket(self) -> Path:
        """Supervisor's socket."""
        return self.run / "supervisor.sock"

    @property
    def logs(self) -> Path:
        """Supervisor's logs, and those of the processes."""
        return self.base / "logs" / "supervisor"

    @property
    def data(self) -> Path:
        """One directory for each volume."""
        return self.base / "data"

    @property
    def secrets(self) -> Path:
        """One file for each secret."""
        return self.base / "secrets"

    @property
    def watched(self) -> Path:
        """What the watcher reads."""
        return self.base / "watch.json"

    @property
    def temporary(self) -> Path:
        """What is /tmp in a container."""
        return self.run / "tmp"


def mapped(places: Places, stack: Stack, service: Service) -> dict[str, Path]:
    """What stands here for the paths that a service has in its container, made where missing."""
    found = {"/tmp": places.temporary}  # noqa: S108 - the container's
    if stack.moorage.unified is not None:
        found[stack.moorage.unified.data_dir] = places.data / "unified"
    tmpfs = service.options.get("tmpfs") or []
    empty = [entry.partition(":")[0] for entry in ([tmpfs] if isinstance(tmpfs, str) else tmpfs)]
    binds = {mount.target: mount for mount in service.volumes if mount.type == "bind"}
    for mount in service.volumes:
        if mount.type == "volume" and mount.source:
            found[mount.target] = places.data / mount.source
        elif mount.target not in binds:
            empty.append(mount.target)
    for target in empty:
        found.setdefault(target, places.run / target.strip("/").replace("/", "-"))
    for path in found.values():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found |= {target: Path(mount.source or "") for target, mount in binds.items()}
    for grant in service.secrets:
        target = grant.target or grant.source
        where = target if target.startswith("/") else f"/run/secrets/{target}"
        found[where] = places.secrets / grant.source
    for grant in service.configs:
        config = stack.configs[grant.source]
        path = places.base / "configs" / grant.source
        path.parent.mkdir(exist_ok=True)
        path.write_text((config.body if config.content is None else config.content) or "")
        found[grant.target or f"/{grant.source}"] = path
    return found


def rewritten(text: str, paths: Mapping[str, Path]) -> str:
    """Put this machine's paths into a text that is a path of the container, or lists some."""
    if not (targets := sorted(paths, key=len, reverse=True)):
        return text
    pattern = f"{_BEFORE}({'|'.join(map(re.escape, targets))}){_AFTER}"
    return re.sub(pattern, lambda match: str(paths[match[1]]), text)


def reached(text: str, addresses: Iterable[tuple[str, int, int]]) -> str:
    """Put this machine's address in for SERVICE:PORT; each of `addresses` is name, port, port here.

    Without containers no name leads to a service.
    """
    for name, port, here in addresses:
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}:{port}(?!\d)", f"127.0.0.1:{here}", text)
    return text
