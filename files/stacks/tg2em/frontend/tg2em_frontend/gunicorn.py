"""gunicorn's configuration: one worker with threads is enough for a small site, and smallest."""

import importlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

# Memory-backed in a container whose root is read-only, and spared the disk elsewhere.
_SHARED = "/dev/shm"  # noqa: S108 - only mkdtemp and gunicorn itself make files there
_memory = _SHARED if os.access(_SHARED, os.W_OK) else tempfile.gettempdir()

bind = os.environ.get("LISTEN", "0.0.0.0:5000")
worker_class = "tg2em_frontend.worker.Worker"
workers = int(os.environ.get("WEB_WORKERS", "1"))
threads = int(os.environ.get("WEB_THREADS", "12"))
worker_tmp_dir = _memory
# Followed logs are open-ended, so they are ended by their own limit, not by this one.
timeout = 60
graceful_timeout = 15
keepalive = 30
accesslog = "-"
errorlog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s %(M)sms'
control_socket_disable = True
# Whom to believe is settled by TRUSTED_PROXIES alone; gunicorn would believe this very machine.
forwarded_allow_ips = ""


def _metrics_directory() -> str:
    # A master that was killed has left its directory behind; the process id in its name tells.
    for found in Path(_memory).glob("tg2em-metrics-*"):
        if (
            found.stat().st_uid == os.getuid()
            and not Path("/proc", found.name.split("-")[2]).exists()
        ):
            shutil.rmtree(found, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"tg2em-metrics-{os.getpid()}-", dir=_memory)


_metrics = _metrics_directory()
# prometheus-client looks at this when it is imported, hence before the application is.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = _metrics
# Imported before the fork: a worker shares the code's memory, and is up at once after a crash.
# The application itself is made in the worker, so no connection is shared.
importlib.import_module("tg2em_frontend.app")


def child_exit(server: Any, worker: Any) -> None:
    """Drop what a worker that has gone was measuring at the moment; its counts stay."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Remove the counters' files: the memory they take would outlive us."""
    shutil.rmtree(_metrics, ignore_errors=True)
