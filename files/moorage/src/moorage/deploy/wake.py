"""Start what is to start with the host, once Supervisor runs: it starts nothing by itself.

`python3 -P -m moorage.deploy.wake`, by a drop-in of supervisor.service.
"""

from __future__ import annotations

import sys

from moorage.deploy.runtimes.base import RuntimeFault
from moorage.deploy.runtimes.managers.supervisor import Supervisor
from moorage.release.layout import Layout, known_stacks

_SECONDS = 30.0


def main() -> int:
    """Wake all stacks; return how many have failed."""
    failed = 0
    for stack in known_stacks():
        layout = Layout.of(stack)
        if not layout.processes.is_dir():
            continue
        try:
            Supervisor(layout).wake(timeout_seconds=_SECONDS)
        except RuntimeFault as trouble:
            print(f"cannot start {stack}: {trouble}", file=sys.stderr)
            failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
