"""Watch one stack: `python3 -m moorage.watch --stack NAME`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence

from moorage.common.notify import tell_manager
from moorage.control.audit import Audit
from moorage.control.journal import Journal
from moorage.control.membership import Membership
from moorage.control.routes import Api
from moorage.control.server import Server
from moorage.control.serving import Limits
from moorage.deploy.runtimes.native import Native
from moorage.release.layout import Layout
from moorage.release.names import MANIFEST, WATCH
from moorage.watch.backend import NativeBackend
from moorage.watch.sight import Sight
from moorage.watch.watcher import Watcher
from process_supervisor.common.loop import EventLoop

STATE = "/var/lib/moorage/watch"
# One gateway asks, for whoever asks it: each that follows a log costs a process.
LIMITS = Limits(connections=200, streams=16)


def main(argv: Sequence[str] | None = None) -> int:
    """Watch until SIGTERM or SIGINT; return the exit status."""
    parser = argparse.ArgumentParser(prog="moorage.watch", description=__doc__)
    parser.add_argument("--stack", required=True)
    stack = parser.parse_args(argv).stack
    os.umask(0o077)
    layout, loop = Layout.of(stack), EventLoop()
    native, journal = Native(layout), Journal(f"{STATE}/{stack}/events.jsonl")
    membership = Membership(stack, layout.current / MANIFEST)
    sight = Sight(layout, native)
    watcher = Watcher(layout, native, loop, sight, journal, membership)
    backend = NativeBackend(native, sight, membership, journal, watcher)
    # What is asked for stands in its journal, as that is root's; the gateway says who asks.
    api = Api(backend, stack=stack, kind="process", audit=Audit(None))
    server = Server(api, str(layout.control_socket(WATCH)), limits=LIMITS)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.on_signal(number, loop.stop)
    watcher.look()
    loop.call_soon(lambda: tell_manager("READY=1"))
    threading.Thread(target=watcher.keep_looking, name="look", daemon=True).start()
    serving = threading.Thread(target=server.serve, name="serve", daemon=True)
    serving.start()
    loop.run()
    watcher.end()
    server.stop()
    serving.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
