"""What gunicorn's worker serves: the application of the release that runs."""

import importlib

_CONFIG = importlib.import_module("fastblog.config").Config.from_environment()
app = importlib.import_module("fastblog.app").create_app(_CONFIG)
