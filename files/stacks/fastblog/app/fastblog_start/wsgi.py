"""What gunicorn's worker serves: the application of the release that is to run.

One that cannot even be imported must not take the site down: then the deployed one runs.
"""

import importlib
import os
import sys
import traceback
from typing import Any

from fastblog_start import releases


def _make() -> Any:
    config = importlib.import_module("fastblog.config").Config.from_environment()
    made = importlib.import_module("fastblog.app").create_app(config)
    importlib.import_module("fastblog.messages").join(made)
    return made


def _load() -> Any:
    unpacked = releases.activate(os.environ)
    if unpacked is None:
        return _make()
    try:
        return _make()
    except Exception:
        # Whatever it is, the deployed one may do better.
        traceback.print_exc()
        print("the installed release cannot be used; the deployed one runs", file=sys.stderr)
    sys.path.remove(str(unpacked / "app"))
    for name in [name for name in sys.modules if name.split(".")[0] == "fastblog"]:
        del sys.modules[name]
    return _make()


app = _load()
