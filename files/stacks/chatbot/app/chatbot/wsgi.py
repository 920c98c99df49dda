"""What uWSGI serves.

A worker hears uWSGI's word to end (SIGHUP) only when it has its application. One that comes while
that is imported would be lost, and the master waits for the worker for ever. So we listen first.
"""

import os
import signal

_told: list[int] = []
signal.signal(signal.SIGHUP, lambda number, _frame: _told.append(number))

import importlib  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from flask import Flask

# What uWSGI's workers end with when they have been told to.
_TOLD_TO_END = 17


def _make() -> "Flask":
    # There within uWSGI alone.
    uwsgi: Any = importlib.import_module("uwsgi")
    values: Any = importlib.import_module("prometheus_client.values")
    # A file for each worker's number: one for each process would grow with every reload. Metrics
    # look at this when they are made, hence before the application is imported.
    values.ValueClass = values.MultiProcessValue(uwsgi.worker_id)
    app = importlib.import_module("chatbot.app")
    config = importlib.import_module("chatbot.config")
    made: Flask = app.create_app(
        config.Config.from_environment(), config.WebConfig.from_environment()
    )
    # The interpreter would wait ten seconds for the pool's threads.
    uwsgi.atexit = made.extensions["chatbot"].database.close
    if _told:
        os._exit(_TOLD_TO_END)
    return made


application = _make()
