"""gunicorn's configuration: one worker with threads, so limits are exact without shared memory.

SIGHUP makes a new worker, which takes the release that is to run, while the old one ends what it
was asked. The process stays the same, and its port open.
"""

import os
import tempfile

# Memory-backed in a container whose root is read-only, and spared the disk elsewhere.
_SHARED = "/dev/shm"  # noqa: S108 - only gunicorn itself makes files there

bind = os.environ.get("LISTEN", "") or "127.0.0.1:9421"
worker_class = "gthread"
workers = 1
threads = int(os.environ.get("WEB_THREADS", "") or "8")
worker_tmp_dir = _SHARED if os.access(_SHARED, os.W_OK) else tempfile.gettempdir()
timeout = 60
graceful_timeout = 15
keepalive = 30
errorlog = "-"
accesslog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s %(M)sms'
control_socket_disable = True
# Whom to believe is settled by TRUSTED_PROXIES alone; gunicorn would believe this very machine.
forwarded_allow_ips = ""
