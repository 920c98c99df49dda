"""Runs in what chatbot's server sees: be gunicorn with all that uWSGI would have.

`gunicorn_server:application` is the application, without what only uWSGI has.
"""

import os
import sys

from chatbot import start

if __name__ == "__main__":
    env = dict(os.environ)
    start.server(env)
    if library := start.jemalloc(env):
        env["LD_PRELOAD"] = library
    argv = [sys.executable, "-m", "gunicorn", "gunicorn_server:application"]
    argv += ["--workers", env["WEB_WORKERS"], "--bind", env["LISTEN"], "--log-level", "warning"]
    os.execve(argv[0], argv, env)

from chatbot.app import create_app
from chatbot.config import Config, WebConfig

application = create_app(Config.from_environment(), WebConfig.from_environment())
