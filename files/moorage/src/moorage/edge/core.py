"""The edge of a host, as a rollout uses it: configuration, pools, requests in flight."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moorage.edge.control import ask
from moorage.edge.errors import EdgeError
from moorage.edge.model import Facts, Settings
from moorage.edge.nginx import Nginx, nginx_of
from moorage.edge.render import Site, generation, render
from moorage.edge.store import Store
from moorage.edge.tls import certificates, obtain, stamps, wake_acme

_BASE = Path("/opt/moorage/edge")
_RUN = Path("/run/moorage/edge")
# nginx tries for two and a half seconds to bind a port that somebody holds.
_RELOAD_SECONDS = 15.0
_BIND_SECONDS = 5.0
# How long a reload waits for connections in use to end.
_CLOSING_SECONDS = 0.5
_POLL_SECONDS = 0.01


class Edge:
    """The edge of this host. Every change keeps others out until it is through."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @classmethod
    def of(cls, base: Path = _BASE, run: Path = _RUN) -> Edge:
        """Return the edge whose files are below ``base`` and whose socket is below ``run``."""
        return cls(Store(base, run))

    def present(self) -> bool:
        """Tell whether the host is provisioned with an edge."""
        return self.store.settings_file.exists() and self.store.settings().kind != "none"

    def facts(self, stack: str) -> dict[str, Any] | None:
        """Return what ``stack`` has asked of the edge, None for nothing."""
        return self.store.facts(stack)

    def pools(self, stack: str) -> dict[str, list[str]]:
        """Return the peers of each pool, by the stack's own names."""
        known = (self.store.facts(stack) or {}).get("pools", {})
        found = self.store.pools(stack)["pools"]
        return {name: list(found.get(name, [])) for name in known}

    def apply(
        self,
        stack: str,
        facts: Mapping[str, Any] | None,
        pools: Mapping[str, Sequence[str]] | None = None,
        hold_seconds: float = 0.0,
    ) -> bool:
        """Make the configuration that of all stacks, with ``facts`` for ``stack``.

        Pools that are there keep their peers. One that ``facts`` brings has those of ``pools``,
        else of the pool whose doors it takes over; without any, visitors wait for up to
        ``hold_seconds``.

        Returns whether anything changed. On any failure the old configuration stays in force, and
        EdgeError has nginx's words.
        """
        with self.store.locked():
            self._found(stack, facts or {}, pools or {}, hold_seconds)
            return self._apply(stack, facts)

    def reload(self) -> bool:
        """Render again what is wanted, put it in force, and have certificates read anew."""
        with self.store.locked():
            return self._put_in_force(self.store.settings(), self.store.all_facts(), force=True)

    def refresh(self) -> bool:
        """Render again what is wanted; nothing happens when that is in force already."""
        with self.store.locked():
            return self._put_in_force(self.store.settings(), self.store.all_facts())

    def switch(
        self, stack: str, pools: Mapping[str, Sequence[str]], hold_seconds: float = 0.0
    ) -> None:
        """Give pools of ``stack`` other peers, such as ``127.0.0.1:21344``; the others keep theirs.

        The file comes first, so that the switch survives a boot; then nginx's memory. While a pool
        is empty, visitors wait for up to ``hold_seconds`` and then get the maintenance page.
        """
        with self.store.locked():
            known = Facts.parse(stack, self.store.facts(stack) or {}).pools
            unknown = sorted(set(pools) - set(known))
            if unknown:
                raise EdgeError(
                    f"{stack} has no pool {', '.join(unknown)} at the edge; it has "
                    f"{', '.join(known) or 'none'}: apply its facts first"
                )
            state = self.store.pools(stack)
            for name, peers in pools.items():
                state["pools"][name] = [_peer(peer) for peer in peers]
                state["hold_seconds"][name] = hold_seconds
            self.store.put_pools(stack, state)
            told = {
                f"{stack}/{name}": {"peers": list(peers), "hold_seconds": hold_seconds}
                for name, peers in pools.items()
            }
            ask(self.store.socket, {"pools": told})

    def in_flight(self, peers: Sequence[str]) -> dict[str, int]:
        """Return how many requests each of ``peers`` has not finished yet."""
        found = ask(self.store.socket)["in_flight"]
        return {peer: int(found.get(peer, 0)) for peer in peers}

    def maintenance(self, stack: str, on: bool) -> None:
        """Answer every visitor of ``stack`` with the maintenance page, or no longer."""
        with self.store.locked():
            state = self.store.pools(stack)
            self.store.put_pools(stack, {**state, "maintenance": on})
            ask(self.store.socket, {"maintenance": {stack: on}})

    def forget(self, stack: str) -> None:
        """Remove a stack's facts and pools."""
        with self.store.locked():
            self._apply(stack, None)
            self.store.put_pools(stack, None)

    def test(self) -> None:
        """Let nginx read the configuration that is wanted; EdgeError with its words."""
        with self.store.locked():
            settings = self.store.settings()
            files = self._render(settings, self.store.all_facts())
            staged = self._stage(generation(files), files)
            nginx_of(settings).test(staged / "nginx.conf")

    def obtain_certificates(self) -> list[str]:
        """Fetch and renew certificates where they come from an ACME server.

        nginx reads what is new. Returns what went wrong, [] for nothing.
        """
        settings = self.store.settings()
        if settings.tls != "acme":
            return []
        domains = domains_of(self.store.all_facts())
        before = stamps(self.store, domains)
        # Without the lock: an ACME server takes its time, and a rollout does not wait for it.
        troubles = obtain(self.store, settings, domains)
        if stamps(self.store, domains) != before:
            self.reload()
        return troubles

    def nginx(self) -> Nginx:
        """Return nginx's process."""
        return nginx_of(self.store.settings())

    def _found(
        self,
        stack: str,
        facts: Mapping[str, Any],
        pools: Mapping[str, Sequence[str]],
        hold_seconds: float,
    ) -> None:
        """Give pools that come into being their peers: from the first moment visitors reach them.

        What an earlier pool of that name has left in the file is nobody's any more.
        """
        there = self.store.facts(stack)
        before, state = Facts.parse(stack, there or {}), self.store.pools(stack)
        wanted = Facts.parse(stack, facts)
        # Of damaged facts nobody knows which pools they had: those in the file serve.
        damaged = there is None and self.store.facts_file(stack).exists()
        known = state["pools"] if damaged else before.pools
        new = [name for name in wanted.pools if name not in known]
        if not new:
            return
        doors = _doors(before)
        taken = {pool: doors[door] for door, pool in _doors(wanted).items() if door in doors}
        heirs = {name: state["pools"].get(taken.get(name), ()) for name in new}
        for name in new:
            state["pools"][name] = [_peer(peer) for peer in pools.get(name) or heirs[name]]
            state["hold_seconds"][name] = hold_seconds
        self.store.put_pools(stack, state)

    def _apply(self, stack: str, facts: Mapping[str, Any] | None) -> bool:
        before = self.store.facts(stack)
        wanted = None if facts is None else dict(facts)
        others = [entry for entry in self.store.all_facts() if entry.stack != stack]
        parsed = [] if wanted is None else [Facts.parse(stack, wanted)]
        settings = self.store.settings()
        # The facts are what a reload by somebody else starts from, so they change first.
        self.store.put_facts(stack, wanted)
        try:
            changed = self._put_in_force(settings, [*others, *parsed])
        except BaseException:
            if wanted != before:
                self.store.put_facts(stack, before)
            raise
        return changed or wanted != before

    def _put_in_force(
        self, settings: Settings, stacks: Iterable[Facts], force: bool = False
    ) -> bool:
        stacks = list(stacks)
        files = self._render(settings, stacks)
        name, before = generation(files), self.store.in_force()
        if name == before and not force and self._serves(name) and self.store.is_whole(name, files):
            return False
        nginx = nginx_of(settings)
        if not self._lives(nginx):
            self._start(nginx, name, files, before)
        else:
            self._replace(nginx, Path(settings.log_dir) / "error.log", name, files, before)
        self.store.sweep(name)
        wake_acme(self.store, settings, domains_of(stacks))
        return True

    def _render(self, settings: Settings, stacks: Sequence[Facts]) -> dict[str, str]:
        pairs = certificates(self.store, settings, domains_of(stacks))
        site = Site(str(self.store.base), str(self.store.run), has_ipv6(), pairs)
        return render(settings, stacks, site)

    def _serves(self, name: str) -> bool:
        try:
            return bool(ask(self.store.socket)["generation"] == name)
        except EdgeError:
            return False

    def _lives(self, nginx: Nginx) -> bool:
        """Tell whether there is an nginx that takes a new configuration.

        One that cannot bind a port tries for a while before it ends, and is started again.
        """
        deadline = time.monotonic() + _BIND_SECONDS
        while nginx.running():
            try:
                ask(self.store.socket)
            except EdgeError:
                if time.monotonic() < deadline:
                    time.sleep(_POLL_SECONDS)
                    continue
            return True
        return False

    def _start(self, nginx: Nginx, name: str, files: Mapping[str, str], before: str) -> None:
        """Start an edge that was stopped, or that crashes; there is no old one to lose."""
        staged = self._stage(name, files)
        nginx.test(staged / "nginx.conf")
        self.store.enforce(name)
        try:
            nginx.start()
            self._await(name, lambda: nginx.said() if not nginx.running() else "")
        except EdgeError:
            if before and self.store.generation(before).is_dir():
                self.store.enforce(before)
            raise

    def _stage(self, name: str, files: Mapping[str, str]) -> Path:
        if not self.store.is_whole(name, files):
            return self.store.stage(name, files)
        return self.store.generation(name)

    def _replace(
        self, nginx: Nginx, log: Path, name: str, files: Mapping[str, str], before: str
    ) -> None:
        staged = self._stage(name, files)
        nginx.test(staged / "nginx.conf")
        offset, old = _size(log), self._loads()
        self._announce()
        self.store.enforce(name)
        try:
            nginx.reload()
            self._await(name, lambda: _emergencies(log, offset), old)
            ask(self.store.socket, {"closing_seconds": 0})
        except BaseException:
            if before and before != name and self.store.generation(before).is_dir():
                self.store.enforce(before)
                nginx.reload()
            raise

    def _announce(self) -> None:
        """Let connections in use end with their next answer, before workers close them."""
        deadline = time.monotonic() + _CLOSING_SECONDS
        try:
            found = ask(self.store.socket, {"closing_seconds": 2 * _CLOSING_SECONDS})
            # One of them is this question.
            while found["connections"] > 1 and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
                found = ask(self.store.socket)
        except EdgeError:
            # Nobody is there who could lose anything.
            return

    def _loads(self) -> int:
        try:
            return int(ask(self.store.socket)["loads"])
        except EdgeError:
            return -1

    def _await(self, name: str, trouble: Any, old: int = -1) -> None:
        """Wait until new workers of generation ``name`` answer."""
        deadline = time.monotonic() + _RELOAD_SECONDS
        while True:
            try:
                found = ask(self.store.socket)
                # Old workers take connections until the new ones are all there.
                loads = set(found["workers"].values())
                if found["generation"] == name and loads == {found["loads"]} != {old}:
                    return
            except EdgeError:
                pass
            words = trouble()
            if words:
                raise EdgeError(
                    f"nginx did not take the new configuration, the old stays:\n{words}"
                )
            if time.monotonic() >= deadline:
                raise EdgeError(
                    f"no worker with the new configuration answers at {self.store.socket} within "
                    f"{_RELOAD_SECONDS:g} s; the old configuration stays"
                )
            time.sleep(_POLL_SECONDS)


def _doors(facts: Facts) -> dict[str, str]:
    """Return which pool lies behind each listener and each route."""
    listeners = {f"{entry.address}:{entry.port}": entry.pool for entry in facts.listeners}
    return listeners | {entry.path: entry.pool for entry in facts.routes}


def domains_of(stacks: Iterable[Facts]) -> list[str]:
    """Return every domain that a stack has, once, sorted."""
    return sorted({domain for entry in stacks for domain in entry.domains})


def has_ipv6() -> bool:
    """Tell whether the kernel lets somebody listen on IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _peer(peer: str) -> str:
    host, colon, port = peer.rpartition(":")
    if not colon or not host or not port.isdigit() or "," in peer:
        raise EdgeError(f"{peer!r} is no peer: write an address and a port, as in 127.0.0.1:21344")
    return peer


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _emergencies(path: Path, offset: int) -> str:
    """Return what nginx wrote since ``offset`` about why it keeps its old configuration."""
    try:
        with path.open("rb") as log:
            log.seek(offset)
            lines = log.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    final = ("still could not bind", "configuration file", "init_by_lua")
    if not any(mark in line for line in lines for mark in final):
        emergencies = [line for line in lines if "[emerg]" in line and "bind()" not in line]
        return "\n".join(emergencies)
    return "\n".join(line for line in lines if "[emerg]" in line or "init_by_lua" in line)
