"""gunicorn's configuration, and a worker whose stop loses nobody."""

import importlib
import os
import select
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

# Memory-backed in a container whose root is read-only, and spared the disk elsewhere.
_SHARED = "/dev/shm"  # noqa: S108 - only mkdtemp and gunicorn itself make files there
_memory = _SHARED if os.access(_SHARED, os.W_OK) else tempfile.gettempdir()
# A request that is on its way when we stop arrives within a fraction of that.
_LINGER_SECONDS = 0.3

bind = os.environ.get("LISTEN", "0.0.0.0:5000")
worker_class = "taifish.gunicorn.Worker"
workers = int(os.environ.get("WEB_WORKERS", "") or "1")
threads = int(os.environ.get("WEB_THREADS", "") or "12")
worker_tmp_dir = _memory
timeout = 60
graceful_timeout = 15
keepalive = 30
accesslog = "-"
errorlog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s %(M)sms'
control_socket_disable = True
# Whom to believe is settled by TRUSTED_PROXIES alone; gunicorn would believe this very machine.
forwarded_allow_ips = ""


class Worker(ThreadWorker):
    """Answers whom the kernel has already let in, and turns the others away at once.

    gunicorn's own goes on listening until its last request is done without accepting any more;
    whoever came meanwhile is reset. A connection that is refused is tried elsewhere instead.
    """

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
        sooner = min(deadline, time.monotonic() + _LINGER_SECONDS)
        super()._cap_keepalive(sooner)  # type: ignore[no-untyped-call]


def _metrics_directory() -> str:
    # A master that was killed has left its directory behind; the process id in its name tells.
    for found in Path(_memory).glob("taifish-metrics-*"):
        running = Path("/proc", found.name.split("-")[2]).exists()
        if found.stat().st_uid == os.getuid() and not running:
            shutil.rmtree(found, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"taifish-metrics-{os.getpid()}-", dir=_memory)


def on_starting(server: Any) -> None:
    """Make the counters' files, and import the code before the fork: workers share its memory."""
    # prometheus-client looks at this when it is imported, hence before the application is.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _metrics_directory()
    importlib.import_module("taifish.app")


def worker_exit(server: Any, worker: Any) -> None:
    """End the connections: psycopg's pool would be waited for, ten seconds, by the interpreter."""
    if application := getattr(worker, "wsgi", None):
        application.extensions["taifish"].database.close()


def child_exit(server: Any, worker: Any) -> None:
    """Drop what a worker that has gone was measuring at the moment; its counts stay."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Remove the counters' files: the memory they take would outlive us."""
    shutil.rmtree(os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""), ignore_errors=True)
