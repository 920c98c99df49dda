"""Visitors during a rollout: where the edge sends them, and how they fare."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from moorage.deploy.gate import Check
from moorage.deploy.instance import LOOPBACK, Instance
from moorage.deploy.release import Release, ReleaseError
from moorage.edge import Edge
from moorage.edge.report import unheard
from moorage.probe import Figures, Prober, Sample, Target, smoke, too_busy, verdict
from moorage.release import manifest
from moorage.release.manifest import Unit

_POLL_SECONDS = 0.02
# Longer than that hardly any client waits for an answer.
_LONGEST_WAIT_SECONDS = 30.0
# How long visitors may need to find back to what was replaced beneath what they ask.
_RECOVERY_SECONDS = 10.0
# How long a busy host is given until the prober has asked what is new at all.
_FIRST_ANSWERS_SECONDS = 10.0


class BudgetSpent(Exception):
    """Too many visitors were let down, or had to wait too long; the message says how many."""


class Traffic:
    """The edge's pools of one stack, and the prober that sends requests through them."""

    def __init__(self, stack: str, edge: Edge) -> None:
        self._stack = stack
        self._edge = edge
        self._prober: Prober | None = None
        self._targets: Sequence[Target] = ()
        self._settings = manifest.Probe()
        self._began = 0.0
        self._judged = False
        # From when on what is new serves; and who is no part of it, each until what moment.
        self._switched: float | None = None
        self._old: dict[str, float] = {}
        self._spent: Figures | None = None
        self._is_apart = False
        #: Requests, streams and WebSockets that were still open when what served them ended.
        self.cut = 0

    # -- the edge -------------------------------------------------------------------------

    def kind(self) -> str | None:
        """Return what kind of edge the host has, None without one."""
        return self._edge.store.settings().kind if self._edge.present() else None

    def unheard(self) -> list[str]:
        """Return where visitors cannot reach what the edge has been told, in words."""
        return unheard(self._edge, self._stack)

    def serving(self) -> set[str]:
        """Return every peer that visitors of the stack may reach."""
        return {peer for peers in self.pools().values() for peer in peers}

    def pools(self) -> dict[str, list[str]]:
        """Return the peers of every pool, as the edge has them."""
        return self._edge.pools(self._stack) if self._edge.present() else {}

    def switch(self, pools: Mapping[str, Sequence[str]], hold_seconds: float = 0.0) -> None:
        """Send visitors to these peers from now on."""
        if pools:
            self._edge.switch(self._stack, pools, hold_seconds)

    def route(self, release: Release, pools: Mapping[str, Sequence[str]] | None = None) -> bool:
        """Have the edge listen and route as the release says; return whether that changed.

        ``pools`` has the peers of those that are new; without any, visitors wait in the edge.
        """
        edge = release.manifest.edge
        if edge and not self._edge.present():
            raise ReleaseError(
                f"release {release.id} is reached through the edge, which this host does not have: "
                f"run playbooks/provision.yml, or set edge_kind: none"
            )
        if not self._edge.present():
            return False
        return self._edge.apply(
            self._stack, manifest.data_of(edge) if edge else None, pools, hold_seconds(release)
        )

    def new_listeners(self, release: Release) -> set[int]:
        """Return the ports that the edge would have to open for the release."""
        return _ports(release) - self._open()

    def closing_listeners(self, release: Release) -> set[int]:
        """Return the ports that the edge has open for the stack and the release does not want."""
        return self._open() - _ports(release)

    def _open(self) -> set[int]:
        facts = (self._edge.facts(self._stack) if self._edge.present() else None) or {}
        return {int(listener["port"]) for listener in facts.get("listeners", [])}

    def routed(self) -> bool:
        """Tell whether the edge knows the stack."""
        return self._edge.present() and self._edge.facts(self._stack) is not None

    def drain(self, peers: Iterable[str], seconds: float) -> dict[str, int]:
        """Wait until no request is in flight to ``peers``; return what was left after that."""
        waiting = list(peers) if self._edge.present() else []
        deadline = time.monotonic() + seconds
        while waiting:
            left = {p: n for p, n in self._edge.in_flight(waiting).items() if n > 0}
            if not left or time.monotonic() >= deadline:
                self.cut += sum(left.values())
                return left
            time.sleep(_POLL_SECONDS)
        return {}

    # -- the prober -----------------------------------------------------------------------

    def watch(self, release: Release, wanted: Release) -> None:
        """Begin to send requests through the edge to what both releases serve."""
        settings = wanted.manifest.probe
        if not settings.rate or not self._edge.present() or not self.serving():
            return
        edge = self._edge.store.settings()
        # What only sends on to https says nothing of the application behind it.
        redirects = edge.tls != "off" and edge.redirect_to_https
        port = edge.probe_port if redirects else edge.http_port
        targets = lasting_targets(release, wanted, port)
        if not targets:
            return
        self._settings, self._targets = settings, targets
        self._prober = Prober(targets, settings.rate, settings.timeout_seconds)
        self._prober.window("before")
        self._prober.start()
        self._began = time.monotonic()

    def begin(self) -> None:
        """From now on what befalls visitors is the rollout's doing.

        Unless they fared badly already: then that begins with the switch.
        """
        if self._prober is None or self._judged:
            return
        rest = self._began + self._settings.before_seconds - time.monotonic()
        time.sleep(max(0.0, rest))
        # On a busy host the prober takes its time to start, and nothing would be known of before.
        deadline = time.monotonic() + _FIRST_ANSWERS_SECONDS
        due = self._settings.rate * self._settings.before_seconds
        wanted = min(due, float(len(self._targets)))
        while self._prober.figures("before").requests < wanted and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if not sum(self._prober.figures("before").failed.values()):
            self._judged = True
            self._prober.window("during")

    def replacing(self, peers: Iterable[str]) -> None:
        """Note who serves until what is new does: what comes of that is told, and not judged."""
        self._old.update(dict.fromkeys(peers, math.inf))
        self._switched = None

    def switched(self, peers: Iterable[str] = ()) -> None:
        """Note that visitors reach what is new, at these peers."""
        now = time.monotonic()
        # What was made in the place of an old one may have its address.
        self._old.update({peer: now for peer in peers if self._old.get(peer) == math.inf})
        if self._prober is None:
            return
        if self._switched is None:
            self._switched = now
        if not self._judged:
            self._judged = True
            self._prober.window("during")

    @contextmanager
    def apart(self, hold_seconds: float = 0.0) -> Iterator[None]:
        """Count for itself what befalls visitors while something is replaced in its place.

        A database, say, whose absence they feel: that is told, and not blamed on what is new. Whom
        the edge holds for up to ``hold_seconds`` has his answer when that comes.
        """
        if self._prober is None or self._is_apart:
            yield
            return
        self._is_apart = True
        timeout = self._settings.timeout_seconds
        self._prober.window("in_place")
        # Who is on the way still gets an answer from what is about to stop.
        self._prober.figures("during" if self._judged else "before")
        self._prober.wait_for_answers(timeout + hold_seconds)
        try:
            yield
            deadline = time.monotonic() + _RECOVERY_SECONDS
            while smoke(self._targets, timeout) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
        finally:
            self._is_apart = False
            self._prober.wait_for_answers(timeout)
            self._prober.window("during" if self._judged else "before")
            if self._judged:
                self._switched = self._switched or time.monotonic()

    def _mine(self, sample: Sample) -> bool:
        """Tell whether what is new has answered, or ought to have."""
        if self._switched is None or sample.sent < self._switched:
            return False
        return sample.sent >= self._old.get(sample.peer, 0.0)

    def _served(self, until: float | None = None) -> Figures | None:
        """Return what came of what the release served itself; None when it has served nobody."""
        if self._prober is None or self._switched is None or self._spent is not None:
            return self._spent
        return self._prober.share("during", self._mine, until=until)

    def judge(self, until: float | None = None) -> None:
        """Raise BudgetSpent when the release let visitors down more than the settings allow.

        With ``until``, whoever came before that moment is waited for.
        """
        served = self._served(until)
        if self._prober is None or served is None:
            return
        names = ("budget", "p99_factor", "p99_floor_seconds")
        limits = {name: getattr(self._settings, name) for name in names}
        why = verdict(self._prober.figures("before"), served, **limits)
        if why:
            self._spent = served
            raise BudgetSpent(f"the failure budget is spent: {why}")

    def judged(self) -> dict[str, Any]:
        """Return whether the figures could tell how the release did, and why not, for a receipt."""
        served = self._served()
        if self._prober is None or served is None:
            return {"judged": False, "too_busy": ""}
        if self._spent is not None:
            return {"judged": True, "too_busy": ""}
        names = ("p99_factor", "p99_floor_seconds")
        limits = {name: getattr(self._settings, name) for name in names}
        why = too_busy(self._prober.figures("before"), served, **limits)
        return {"judged": not why, "too_busy": why}

    def monitor(self, seconds: float, look: Callable[[], Sequence[Check]]) -> None:
        """Watch what is new for a while; raises BudgetSpent when it does not do well."""
        began = time.monotonic()
        deadline = began + seconds
        while True:
            self.judge()
            bad = [check for check in look() if not check.ok]
            if bad:
                lines = [f"  {check.service}: {check.detail}" for check in bad]
                lines += [f"    | {line}" for check in bad for line in check.log]
                text = "\n".join(lines)
                raise BudgetSpent(f"what is new did not stay well after the switch:\n{text}")
            now = time.monotonic()
            asked = self._asked(seconds) or now >= deadline + _FIRST_ANSWERS_SECONDS
            if now >= deadline and asked:
                # What does not answer at all has not failed yet.
                self.judge(until=now)
                return
            time.sleep(_POLL_SECONDS)

    def _asked(self, seconds: float) -> bool:
        """Tell whether as many were asked as there should have been, one a target at the most."""
        since = self._switched
        if self._prober is None or since is None:
            return True
        due = min(int(seconds * self._settings.rate), len(self._targets))
        return self._prober.share("during", lambda s: s.sent >= since).requests >= due

    def figures(self) -> dict[str, Figures]:
        """Return what the prober saw, by window."""
        if self._prober is None:
            return {}
        found = {n: self._prober.figures(n) for n in ("before", "during", "in_place")}
        if served := self._served():
            found["judged"] = served
        return {n: f for n, f in found.items() if n in ("before", "during") or f.requests}

    def stop(self) -> None:
        """Send no more requests."""
        if self._prober is not None:
            self._prober.stop()


def hold_seconds(release: Release) -> float:
    """Return how long visitors wait in the edge for what nobody serves at the moment."""
    return float(
        (release.manifest.edge or manifest.Edge()).options.get(
            "hold_seconds", _LONGEST_WAIT_SECONDS
        )
    )


def _ports(release: Release) -> set[int]:
    return {listener.port for listener in (release.manifest.edge or manifest.Edge()).listeners}


def pools_of(
    release: Release, units: Sequence[Unit], instances: Mapping[str, Instance]
) -> dict[str, list[str]]:
    """Return the peers that a release's pools should have, of instances by unit name."""
    found: dict[str, list[str]] = {}
    for name, pool in (release.manifest.edge or manifest.Edge()).pools.items():
        serving = (instances.get(u.name) for u in units if u.serves(pool.service))
        peers = (c.peer(pool.port) for c in serving if c is not None)
        found[name] = [peer for peer in peers if peer]
    return found


def public_targets(release: Release, http_port: int = 80) -> list[Target]:
    """Return what the prober asks for, as visitors reach it.

    What has no port of its own is asked for by its domain, at ``http_port``.
    """
    facts = release.manifest.edge or manifest.Edge()
    found = []
    for entry in release.manifest.probe.targets:
        pool = f"{entry.service}:{entry.port}"
        for listener in facts.listeners:
            if listener.pool == pool:
                # Wherever it listens, it can be reached from the host itself.
                found.append(_target(release, entry, listener.address or LOOPBACK, listener.port))
                break
        else:
            host = next(iter(facts.domains), "")
            if host and any(route.pool == pool for route in facts.routes):
                found.append(_target(release, entry, LOOPBACK, http_port, host))
    return found


def lasting_targets(release: Release, wanted: Release, http_port: int = 80) -> list[Target]:
    """Return what to ask of ``release``, without the ports and domains that ``wanted`` has not.

    Visitors of those are lost by intent, and nothing that is new could serve them.
    """
    doors = {(t.address, t.port, t.host) for t in public_targets(wanted, http_port)}
    found = public_targets(release, http_port)
    return [t for t in found if (t.address, t.port, t.host) in doors]


def direct_targets(release: Release, unit: Unit, slot: str) -> list[Target]:
    """Return the same requests to one instance, past the edge."""
    found = []
    for entry in release.manifest.probe.targets:
        port = unit.peers.get(slot, {}).get(str(entry.port))
        if port and unit.serves(entry.service):
            found.append(_target(release, entry, LOOPBACK, port))
    return found


def inner_targets(release: Release, unit: Unit) -> list[Target]:
    """Return the same requests as an instance would send them to itself."""
    targets = release.manifest.probe.targets
    return [_target(release, t, LOOPBACK, t.port) for t in targets if unit.serves(t.service)]


def _target(
    release: Release, asked: manifest.Target, address: str, port: int, host: str = ""
) -> Target:
    return Target(
        service=asked.service,
        address=address,
        port=port,
        path=asked.path,
        method=release.manifest.probe.method,
        host=host,
        expect=asked.expect,
    )
