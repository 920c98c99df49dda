"""gunicorn's threaded worker, with a stop that loses nobody."""

import select
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from moorage.panel.stream import end_streams

# A request that is on its way when we stop arrives within a fraction of that; an update waits for
# us, and a proxy keeps connections open that it no longer uses.
LINGER_SECONDS = 0.3


class Worker(ThreadWorker):
    """Answers whom the kernel has already let in, and turns the others away at once.

    gunicorn's own goes on listening until its last request is done without accepting any more;
    whoever came meanwhile is reset. A connection that is refused is tried elsewhere instead.
    """

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop: followed logs end, which would otherwise wait for their readers."""
        end_streams()
        super().handle_exit(sig, frame)  # type: ignore[no-untyped-call]

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept, or not for a while; when stopping, take in who waits and close the door."""
        super().set_accept_enabled(enabled)  # type: ignore[no-untyped-call]
        if enabled or self.alive:
            return
        for listener in self.sockets:
            while select.select([listener], [], [], 0)[0]:
                self.accept(listener)  # type: ignore[no-untyped-call]
            listener.close()

    def _cap_keepalive(self, deadline: float) -> None:
        # gunicorn's own deadline is two seconds away.
        sooner = min(deadline, time.monotonic() + LINGER_SECONDS)
        super()._cap_keepalive(sooner)  # type: ignore[no-untyped-call]
