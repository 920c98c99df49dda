"""The ways in which the same two stacks run, and what is measured of each."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.host import BenchError, Host
from bench.native.chat import Chat
from bench.rollout.ways import Turn
from devtool.paths import ROOT

HERE = ROOT / "bench" / "native"
ON_HOST = HERE / "on_host"
CHATBOT, HARBOUR = "chatbot", "harbour"
# Of visitors, and what answers each service's.
PORTS = {CHATBOT: 8010, HARBOUR: 5000}
KILLED = {
    "harbour, web": (HARBOUR, "web", "http://127.0.0.1:5000/version"),
    "chatbot, uWSGI's master": (CHATBOT, "server", "http://127.0.0.1:8010/health/live"),
}
# More than the bench asks, and no more processes than two cores have work for.
_VARIABLES = {
    "QUESTION_LIMIT": "1000000000",
    "CONVERSATION_LIMIT": "1000000000",
    "WEB_WORKERS": "2",
    "WS": "2",
}
# There is no such library: chatbot goes on without any.
_NO_JEMALLOC = {"JEMALLOC_PATH": "/none"}
_WORTH_A_LINE = 0.5
_MARKS = itertools.count(int(time.time()))

# What there is beside a stack's own processes, by control group: of each way, and of some.
_BESIDE = {
    "watcher": r"moorage-watch-chatbot\.service",
    "gateway": r"moorage-gateway-chatbot\.service",
}
# The first two are one for both stacks.
_MANAGERS = {
    "containers": {"engine": r"(docker|containerd)\.service"},
    "host, supervisor": {"supervisord": r"supervisor\.service"},
    "host, own": {"our supervisor": r"moorage-supervisor-chatbot\.service"},
}
_OWN = {
    "server": r"chatbot[-_]server.*",
    "workers": r"chatbot[-_]task.*",
    "postgres": r"(system-)?postgresql@17-chatbot.*|chatbot-postgres",
}


@dataclass(frozen=True)
class Way:
    """A host that has both stacks in a topology, under a process manager if it has none itself."""

    host: Host
    topology: str
    manager: str = "systemd"

    @property
    def label(self) -> str:
        """What it is called in tables."""
        return self.topology if self.topology != "host" else f"host, {self.manager}"

    def settings(self, *, jemalloc: bool = True) -> dict[str, Any]:
        """Return the settings by which the stacks run so."""
        found: dict[str, Any] = {
            "moorage_stacks_dirs": [str(ROOT / "molecule/update/stacks")],
            "harbour_drain_seconds": 6,
            "chatbot_variables": _VARIABLES,
        }
        for stack in PORTS:
            found |= {f"{stack}_topology": self.topology}
            found |= {f"{stack}_process_manager": self.manager} if self.topology == "host" else {}
        if not jemalloc:
            found["chatbot_environment"] = {"server": _NO_JEMALLOC, "task": _NO_JEMALLOC}
        return found

    def bring(self, *, jemalloc: bool = True) -> tuple[float, str]:
        """Have the host run the stacks so; return the seconds of the run and what it said."""
        self.host.has(list(PORTS), **self.settings(jemalloc=jemalloc))
        return self.host.play("site.yml")

    @property
    def chat(self) -> Chat:
        """The chatbot, as its visitors reach it."""
        return Chat(self.host.address, PORTS[CHATBOT])

    def know(self) -> None:
        """Fill the knowledge base."""
        self.host.python(ON_HOST / "articles.py", within=("moorage", "exec", CHATBOT, "server"))

    def restart(self) -> None:
        """Start each process of chatbot's anew."""
        (shown,) = json.loads(self.host.run("moorage", "status", "--json", CHATBOT))
        for service in shown["services"]:
            if service["state"] == "RUNNING":
                self.host.run("moorage", "restart", CHATBOT, service["service"])

    def kill(self, what: str, rounds: int) -> list[float]:
        """Return after how many milliseconds a service serves again each time."""
        stack, service, url = KILLED[what]
        said = self.host.python(ON_HOST / "killed.py", stack, service, url, str(rounds))
        found: list[float] = json.loads(said)
        return found

    def memory(self) -> dict[str, float]:
        """Return MiB of what is beside chatbot's processes, then of these, by what they are."""
        groups: Mapping[str, int] = json.loads(self.host.python(ON_HOST / "memory.py"))
        found = {}
        for name, pattern in {**_BESIDE, **_MANAGERS.get(self.label, {}), **_OWN}.items():
            kib = [size for group, size in groups.items() if re.fullmatch(pattern, group)]
            if kib:
                found[name] = sum(kib) / 1024
        if missing := _OWN.keys() - found.keys():
            raise BenchError(f"{self.label}: no process of {sorted(missing)} among {groups}")
        return found

    def update(self) -> Turn:
        """Update harbour to a build that was never there, and return how that went."""
        mark = str(next(_MARKS))
        build = {"WEB_VERSION": mark, "WORKER_VERSION": mark}
        whole, _ = self.host.play(
            "playbooks/update.yml", stack=HARBOUR, harbour_variables=build, harbour_version=mark
        )
        receipt = json.loads(self.host.run("cat", f"/opt/{HARBOUR}/current/receipt.json"))
        if (receipt["action"], receipt["outcome"]) != ("update", "activated"):
            raise BenchError(f"{self.label}: {receipt}")
        return Turn(whole, receipt["started"], receipt["finished"], receipt["phases"])


def by_role(said: str) -> dict[str, float]:
    """Return the seconds of each role, from what ansible.posix.profile_roles has said."""
    _, _, recap = said.rpartition("ROLES RECAP")
    found = re.findall(r"^(\w+) -+ ([\d.]+)s$", recap, re.MULTILINE)
    return {name: float(s) for name, s in found if float(s) >= _WORTH_A_LINE and name != "total"}


def is_own(name: str) -> bool:
    """Tell whether memory is that of chatbot's own processes."""
    return name in _OWN


def hosts(work: Path) -> dict[str, Host]:
    """Return a host for each topology."""
    found = {}
    for topology in ("host", "containers"):
        (work / topology).mkdir()
        found[topology] = Host(f"moorage-bench-{topology}", work / topology, [])
    return found
