"""Where a stack lives on a host: the one place that knows the paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from moorage.release.names import MANIFEST, UNIFIED_STATE, WATCH, in_slot
from moorage.release.native import ENVIRONMENTS, environment_name

RELEASE_ID = re.compile(r"[0-9a-f]{12}")
DEFAULT_BASE = Path("/opt")
DEFAULT_RUN = Path("/run/moorage")
DEFAULT_LOG = Path("/var/log/moorage")


@dataclass(frozen=True)
class Layout:
    """The directories of one stack.

    ``base`` holds everything that survives a reboot (``/opt/STACK``), ``run`` what must not
    (sockets and runtime state, ``/run/moorage/STACK``).
    """

    stack: str
    base: Path
    run: Path

    @classmethod
    def of(cls, stack: str, base: Path = DEFAULT_BASE, run: Path = DEFAULT_RUN) -> Layout:
        """Return the layout of ``stack`` below ``base`` and ``run``."""
        return cls(stack, base / stack, run / stack)

    @property
    def releases(self) -> Path:
        """Immutable releases, one directory each."""
        return self.base / "releases"

    @property
    def environments(self) -> Path:
        """What processes without a container run from; root's."""
        return self.base / ENVIRONMENTS

    @property
    def wheels(self) -> Path:
        """What environments of all stacks were made of; root's alone."""
        return self.base.parent / "moorage" / "wheels"

    @property
    def current(self) -> Path:
        """The symlink that names the running release."""
        return self.base / "current"

    @property
    def config(self) -> Path:
        """Configuration that containers mount: a stable path, whatever the release."""
        return self.base / "config"

    @property
    def journals(self) -> Path:
        """Journals of the stack's rollouts.

        Not beside the processes' logs: that directory belongs to the stack's user, who could lead
        what root writes there to another place.
        """
        return DEFAULT_LOG / "rollouts" / self.stack

    @property
    def lock(self) -> Path:
        """The lock of rollouts; it is below ``base`` so that its note survives a reboot."""
        return self.base / ".lock"

    @property
    def held(self) -> Path:
        """Names of the services that somebody has stopped, as the last deploy found them."""
        return self.base / ".held.json"

    @property
    def marker(self) -> Path:
        """There while a rollout is under way; one that stays tells of an interrupted one."""
        return self.base / ".rollout.json"

    @property
    def hands(self) -> Path:
        """There while a directory changes hands: between which owners it is."""
        return self.base / ".hands.json"

    @property
    def backups(self) -> Path:
        """What hooks have saved before updates."""
        return self.base / "backups"

    @property
    def proof(self) -> Path:
        """There while a backup is proven: all that the throw-away stack has; root's alone."""
        return self.data / ".proof"

    @property
    def data(self) -> Path:
        """The directories of the volumes, and what is restored beside them.

        Root's; what lies in it is the applications'. Where it is encrypted, it is a mount point.
        """
        return self.base / "data"

    @property
    def encrypted(self) -> Path:
        """What lies on the disk of ``data`` where that is encrypted; may lead to another disk."""
        return self.base / "encrypted"

    @property
    def storage_key(self) -> Path:
        """The key of ``encrypted``, beside the host's other ones."""
        return self.base.parent / "moorage" / "keys" / f"storage-{self.stack}.key"

    @property
    def proof_stack(self) -> str:
        """The name of the throw-away stack meanwhile; no other stack's name begins so."""
        return f"moorage-proof-{self.stack}"

    @property
    def instances(self) -> Path:
        """Records of the stack's processes where they run without containers; root's."""
        return self.base / "instances"

    def variables(self, unit: str) -> Path:
        """The file of the environment of a process; root's alone."""
        return self.processes / f"{unit}.env"

    @property
    def processes(self) -> Path:
        """What manager and launcher of such processes are told; root's alone."""
        return self.base / "processes"

    @property
    def supervisor(self) -> Path:
        """What our supervisor has below ``run`` where it manages such processes; root's."""
        return self.run / "supervisor"

    @property
    def watch(self) -> Path:
        """What the watcher of such a stack has below ``run``; root's."""
        return self.run / WATCH

    @property
    def history(self) -> Path:
        """One JSON line for every activation, oldest first."""
        return self.releases / "history.jsonl"

    def environment(self, ref: str) -> Path:
        """Return where an environment lies, there or not."""
        return self.environments / environment_name(ref)

    def state(self, slot: str) -> Path:
        """What the supervisor in ``slot`` ("", "a" or "b") keeps; an application's to write."""
        return self.data / in_slot(UNIFIED_STATE, slot)

    def runtime(self, slot: str) -> Path:
        """What the supervisor or gateway in ``slot`` has below ``run``; theirs to write."""
        return self.run / slot

    def control_socket(self, slot: str) -> Path:
        """The control socket of the supervisor or gateway that runs in ``slot``."""
        return self.runtime(slot) / "control.sock"


def known_stacks(base: Path = DEFAULT_BASE) -> list[str]:
    """Return the names of the stacks that were ever deployed to this host, sorted."""
    return sorted(p.parent.name for p in base.glob("*/releases") if release_names(p))


def release_names(releases: Path) -> list[str]:
    """Return the ids of the releases in a directory; what another program keeps there is none."""
    found = (path.parent for path in releases.glob(f"*/{MANIFEST}"))
    return sorted(path.name for path in found if RELEASE_ID.fullmatch(path.name))
