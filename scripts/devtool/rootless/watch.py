"""`python -m devtool.rootless.watch FILE`: has changed code taken in; Supervisor's program `watch`.

FILE says whose code lies where; it is read each time, as `make local` may have written it anew. A
process with a reload file takes its code in by itself, others are started anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from devtool.rootless import rpc

_SECONDS = 1.0
_STOPPED = ("STOPPED", "STOPPING")


def snapshot(sources: Iterable[str]) -> dict[str, int]:
    """When each file of some directories was written; hidden ones and editors' copies aside."""
    found: dict[str, int] = {}
    for source in sources:
        for directory, names, files in os.walk(source):
            names[:] = [n for n in names if n[0] != "." and n != "__pycache__"]
            for name in files:
                if name[0] != "." and name[-1] != "~":
                    path = os.path.join(directory, name)
                    try:
                        found[path] = os.stat(path).st_mtime_ns
                    except FileNotFoundError:
                        continue
    return found


def take_in(program: dict[str, Any], server: xmlrpc.client.ServerProxy) -> None:
    """Have the processes of a program run its present code, but those that somebody has stopped."""
    for argv in program["builds"]:
        if subprocess.run(argv).returncode != 0:
            print("what runs stays as it is")
            return
    for process in program["processes"]:
        try:
            info: Any = server.supervisor.getProcessInfo(process)
            state = info["statename"]
            if state in _STOPPED:
                continue
            if state == "RUNNING" and program["reload"]:
                touch(Path(program["reload"]))
                print(f"{process} takes in changed code")
                continue
            if state in ("RUNNING", "STARTING"):
                server.supervisor.stopProcess(process)
            server.supervisor.startProcess(process, False)
            print(f"{process} is started anew")
        except xmlrpc.client.Fault as fault:
            print(f"{process}: {fault.faultString}")


def touch(path: Path) -> None:
    """Have a file be newer than it was, by seconds: uWSGI counts in them."""
    later = max(int(time.time()), int(path.stat().st_mtime) + 1)
    os.utime(path, (later, later))


def main(file: Path) -> None:
    """Look once a second, and act when a second has passed without a further change."""
    seen: dict[tuple[str, ...], dict[str, int]] = {}
    changed: set[tuple[str, ...]] = set()
    while True:
        wanted = json.loads(file.read_text())
        calm = True
        for sources in {tuple(program["sources"]) for program in wanted["programs"]}:
            now = snapshot(sources)
            if seen.setdefault(sources, now) != now:
                seen[sources] = now
                changed.add(sources)
                calm = False
        if changed and calm:
            # First what costs nobody a wait.
            order = sorted(wanted["programs"], key=lambda program: not program["reload"])
            for program in order:
                if tuple(program["sources"]) in changed:
                    take_in(program, rpc.connect(wanted["socket"]))
            changed.clear()
        time.sleep(_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
