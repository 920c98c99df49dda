"""An instance: one service, or several under a supervisor, as it runs in one place of this host.

A container or a process of the host; nothing outside `moorage.deploy.runtimes` knows which.
"""

from __future__ import annotations

from dataclasses import dataclass

LOOPBACK, ANYWHERE = "127.0.0.1", "0.0.0.0"
_ENDING = ("", "no", "on-failure")


@dataclass(frozen=True, order=True)
class Published:
    """A port of an instance, and where the host has it."""

    target: str
    address: str
    port: int


@dataclass(frozen=True)
class Instance:
    """What there is to say of one instance.

    ``state`` is a word of Docker's: created, running, restarting, paused, exited or dead.
    ``config`` tells whether it is as a release describes it; ``kind`` is what people call it.
    ``supervised``: several processes run in it, under a supervisor that is asked about them.
    ``refused``: why it could not be started. ``stop_seconds``: how long it may take to end; for
    ever is a month. ``writes`` and ``reads`` are what it mounts.
    """

    id: str
    name: str
    service: str
    image: str
    state: str
    health: str
    exit_code: int
    pid: int
    started_at: str
    restarts: int
    policy: str
    config: str = ""
    slot: str = ""
    replica: int = 1
    published: tuple[Published, ...] = ()
    out_of_memory: bool = False
    finished_at: str = ""
    health_log: tuple[str, ...] = ()
    pids_limit: int = 0
    refused: str = ""
    writes: tuple[str, ...] = ()
    stop_seconds: float = 10.0
    reads: tuple[str, ...] = ()
    kind: str = "container"
    supervised: bool = False

    @property
    def alive(self) -> bool:
        """Whether it runs, or is about to by itself."""
        return self.state in ("running", "restarting", "paused")

    @property
    def held(self) -> bool:
        """Stopped by somebody: what else ends under such a policy is started again.

        But not what could not be started: after a boot that is tried once.
        """
        ended = self.state == "exited" and not self.refused
        return ended and self.policy in ("always", "unless-stopped")

    @property
    def done(self) -> bool:
        """Ended well, under a policy that leaves it at that."""
        return self.state == "exited" and self.exit_code == 0 and self.policy in _ENDING

    @property
    def peers(self) -> tuple[str, ...]:
        """Where the edge reaches it: its ports on the loopback address."""
        return tuple(f"{p.address}:{p.port}" for p in self.published if p.address == LOOPBACK)

    def peer(self, target: int | str) -> str | None:
        """Return where the edge reaches one of its ports, None when it does not."""
        found = (p for p in self.published if p.address == LOOPBACK and p.target == str(target))
        return next((f"{p.address}:{p.port}" for p in found), None)

    @property
    def settled(self) -> bool:
        """Running and, where it has a health check, healthy."""
        return self.state == "running" and self.health in ("none", "healthy")
