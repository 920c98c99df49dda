"""gunicorn's configuration: one worker with threads is enough for a small site, and smallest."""

import os
import tempfile
from pathlib import Path
from typing import Any

# Memory-backed in a container whose root is read-only, and spared the disk elsewhere.
_SHARED = "/dev/shm"  # noqa: S108 - only mkdtemp and gunicorn itself make files there
_memory = _SHARED if os.access(_SHARED, os.W_OK) else tempfile.gettempdir()

bind = os.environ.get("LISTEN", "0.0.0.0:5000")
worker_class = "gthread"
workers = int(os.environ.get("WEB_WORKERS", "1"))
threads = int(os.environ.get("WEB_THREADS", "12"))
worker_tmp_dir = _memory
# Followed logs are open-ended, so they are ended by their own limit, not by this one.
timeout = 60
graceful_timeout = 15
keepalive = 30
preload_app = workers > 1
accesslog = "-"
errorlog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s %(M)sms'
control_socket_disable = True

_metrics = tempfile.mkdtemp(prefix="tg2em-metrics-", dir=_memory)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = _metrics


def child_exit(server: Any, worker: Any) -> None:
    """Drop what a worker that has gone was measuring at the moment; its counts stay."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Remove the counters' files: the memory they take would outlive us."""
    for file in Path(_metrics).iterdir():
        file.unlink()
    Path(_metrics).rmdir()
