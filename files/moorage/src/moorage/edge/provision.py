"""Provisioning of a host's edge: files, container or unit, and the removal of the other kind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moorage.common.files import discard, write_atomically
from moorage.common.readers import Damaged, read_bytes
from moorage.edge import container
from moorage.edge.core import Edge
from moorage.edge.errors import EdgeError
from moorage.edge.model import Settings, host_settings
from moorage.edge.nginx import UNIT, nginx_of, run, tail
from moorage.edge.store import Store
from moorage.edge.tls import ACME_UNIT

_UNITS = "/etc/systemd/system/"
# Of the files that a document brings, those that more than their content depends on.
_SYSCTL_FILE = "/etc/sysctl.d/60-moorage-edge.conf"
_ACME_TIMER = ACME_UNIT.replace(".service", ".timer")


def _text(path: Path) -> str | None:
    """Return what is in a file, None where there is none; what is no text differs from any."""
    try:
        found = read_bytes(path)
    except Damaged as damage:
        return f"{damage}\n"
    return None if found is None else found.decode("utf-8", "replace")


@dataclass
class Change:
    """One thing that differs: for a person, and as a diff where it is a file without secrets."""

    what: str
    before: str = ""
    after: str = ""


@dataclass
class Provision:
    """What the edge of this host should be; `carry_out` makes it so."""

    edge: Edge
    settings: Settings
    raw: Mapping[str, Any]
    pairs: Sequence[Mapping[str, Any]]
    files: Mapping[str, str | None]
    root: Path = Path("/")
    changes: list[Change] = field(default_factory=list)

    @classmethod
    def of(cls, edge: Edge, document: Mapping[str, Any], root: Path = Path("/")) -> Provision:
        """Read a document with `kind`, `image`, `settings`, `certificates` (with their text).

        Its `files` have a `path`, and a `content` that is null where there must be none.
        """
        own = edge.store.tls / "own"
        listed, pairs = [], []
        for entry in document.get("certificates") or []:
            both = f"{entry['certificate']}\n{entry['key']}"
            name = hashlib.sha256(both.encode()).hexdigest()[:16]
            place = {"certificate": f"{own}/{name}.crt", "key": f"{own}/{name}.key"}
            listed.append({"domains": list(entry.get("domains") or []), **place})
            pairs.append({"place": place, "text": entry})
        raw = {
            **document["settings"],
            "kind": document["kind"],
            "image": document.get("image", ""),
            "certificates": listed,
        }
        files = {entry["path"]: entry["content"] for entry in document.get("files") or []}
        return cls(edge, host_settings(raw), raw, pairs, files, root)

    @property
    def store(self) -> Store:
        """Return where the edge keeps its files."""
        return self.edge.store

    def carry_out(self, check: bool = False) -> list[Change]:
        """Make the host's edge as described, or with ``check`` only tell what differs."""
        units = self._files(check)
        if self.settings.kind == "none":
            self._remove(check)
            return self.changes
        self._other_kind(check)
        before = self._settings(check)
        if check:
            self._check_process()
            return self.changes
        try:
            self._process(units)
        except EdgeError:
            # What was in force goes on; the next run tries again.
            if before is None:
                self.store.settings_file.unlink(missing_ok=True)
            else:
                write_atomically(self.store.settings_file, before)
            raise
        return self.changes

    def _note(self, what: str, before: str = "", after: str = "") -> None:
        self.changes.append(Change(what, before, after))

    def _files(self, check: bool) -> list[str]:
        """Have directories, certificates and the host's files in place; return changed units."""
        if self.settings.kind != "none" and not check:
            self._directories()
        changed = []
        for name, content in self.files.items():
            path = self.root / name.lstrip("/")
            before = _text(path)
            if content == before:
                continue
            self._note(name, before or "", content or "")
            unit = name.removeprefix(_UNITS)
            if content is None and not check:
                if unit != name:
                    run(["systemctl", "disable", "--now", unit])
                discard(path)
            elif content is not None and not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, content)
                if path == Path(_SYSCTL_FILE):
                    run(["/usr/lib/systemd/systemd-sysctl", _SYSCTL_FILE])
            if unit != name:
                changed.append(unit)
        if changed and not check:
            run(["systemctl", "daemon-reload"])
        self._certificates(check)
        return changed

    def _directories(self) -> None:
        store = self.store
        modes = {store.base: 0o755, store.tls: 0o700, store.run: 0o700}
        modes |= {store.base / name: 0o755 for name in ("stacks", "pools", "generations")}
        modes |= {store.base / "acme" / "webroot": 0o755}
        modes |= {Path(self.settings.log_dir): 0o755, Path(self.settings.cache_dir): 0o755}
        for path, mode in modes.items():
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)

    def _certificates(self, check: bool) -> None:
        for pair in self.pairs:
            for part, mode in (("certificate", 0o644), ("key", 0o600)):
                path = Path(pair["place"][part])
                if _text(path) == pair["text"][part]:
                    continue
                self._note(str(path))
                if not check:
                    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    write_atomically(path, pair["text"][part], mode)

    def _settings(self, check: bool) -> str | None:
        path = self.store.settings_file
        before = _text(path)
        text = json.dumps(self.raw, indent=1, sort_keys=True) + "\n"
        if text != before:
            self._note(str(path), before or "", text)
            if not check:
                write_atomically(path, text)
        return before

    def _other_kind(self, check: bool) -> None:
        # A unit of the other kind went with its file.
        if self.settings.kind == "native" and container.exists(self.settings.container):
            self._note(f"container {self.settings.container}", "present\n")
            if not check:
                container.remove(self.settings.container)

    def _remove(self, check: bool) -> None:
        if container.exists(self.settings.container):
            self._note(f"container {self.settings.container}", "present\n")
            if not check:
                container.remove(self.settings.container)
        path = self.store.settings_file
        if path.exists():
            self._note(str(path), _text(path) or "")
            if not check:
                discard(path)

    def _check_process(self) -> None:
        name = self.settings.container
        if self.settings.kind == "container" and not container.as_described(
            self.settings, self.store
        ):
            self._note(f"container {name}", "", f"{self.settings.image}\n")
        elif self.settings.kind == "container" and not container.limited(self.settings):
            self._note(f"container {name}: limit of processes")
        elif not nginx_of(self.settings).running():
            self._note("nginx", "stopped\n", "running\n")

    def _process(self, units: Sequence[str]) -> None:
        anew = False
        if self.settings.kind == "container":
            anew = not container.as_described(self.settings, self.store)
            if anew:
                container.replace(self.settings, self.store)
                self._note(f"container {self.settings.container}", "", f"{self.settings.image}\n")
            elif not container.limited(self.settings):
                container.limit(self.settings)
                self._note(f"container {self.settings.container}: limit of processes")
        else:
            self._enable(UNIT, now=False)
            if UNIT in units and nginx_of(self.settings).running():
                run(["systemctl", "stop", UNIT])
        running = nginx_of(self.settings).running()
        if self.edge.refresh() and not anew:
            self._note("nginx", *(() if running else ("stopped\n", "running\n")))
        if anew:
            container.remove_old(self.settings)
        if self.settings.tls == "acme":
            self._enable(_ACME_TIMER, now=True)

    @staticmethod
    def _enable(unit: str, *, now: bool) -> None:
        done = run(["systemctl", "enable", *(["--now"] if now else []), unit])
        if done.returncode != 0:
            raise EdgeError(f"{unit} cannot be enabled:\n{tail(done.stdout)}")
