"""How Celery talks to Redis, for who sends and for who works."""

from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from taifish.config import BROKER, Config

# Jobs, and beat's own reminders: a reminder does not wait behind a thousand jobs.
JOBS, BEAT = "jobs", "beat"
RUN = "taifish.run"

# The longest job. Whoever stops a worker has to give it this time (stop_grace_period).
SOFT_SECONDS, HARD_SECONDS = 50, 60
# Longer than the longest job, or Redis' messages come back while it is at work. No message has an
# ETA: a job's second try waits in its row (run_after), not in the broker.
VISIBILITY_SECONDS = 120


def make_celery(config: Config) -> Any:
    """Return a Celery application that loses no message; it connects to nothing yet."""
    app = Celery("taifish", broker=config.redis_url(BROKER), set_as_current=False)
    app.conf.update(
        # A message is away when its task is done, not when it begins, also if the process dies.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
        task_time_limit=HARD_SECONDS,
        task_soft_time_limit=SOFT_SECONDS,
        task_default_queue=JOBS,
        # Each with an exchange and a key of its own: with the default ones both get everything.
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in (JOBS, BEAT)],
        task_serializer="json",
        accept_content=["json"],
        # A page does not wait for a broker that is away: the row is there, and beat sends it.
        task_publish_retry=False,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_SECONDS,
            # Looked for every ten seconds and not, as is the default, every hundred.
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": 60,
            "socket_connect_timeout": 3,
            "socket_timeout": 10,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Nobody asks workers about each other: the table of jobs knows.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=True,
        worker_max_memory_per_child=250_000,  # KiB; pictures may leave a process large
        enable_utc=True,
        timezone="UTC",
        beat_max_loop_interval=5,
        beat_schedule={
            "sweep": {
                "task": "taifish.sweep",
                "schedule": 10.0,
                "options": {"queue": BEAT, "expires": 10},
            },
            "daily": {
                "task": "taifish.daily",
                "schedule": 300.0,
                "options": {"queue": BEAT, "expires": 300},
            },
        },
    )
    return app
