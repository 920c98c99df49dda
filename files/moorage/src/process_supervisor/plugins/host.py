"""The helper in which a plug-in runs: `python3 -m process_supervisor.plugins.host`.

One JSON object a line each way. First comes what to load, `{"class", "settings", "memory_bytes"}`,
and the answer is `{"ready": true}` or `{"error": text}`; then calls, `{"id", "call", "args"}`, each
answered by `{"id", "result"}` or `{"id", "error"}`. What the plug-in prints goes to standard error.
It ends when nobody is there any more.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import resource
import sys
from typing import Any

GROUP = "process_supervisor.plugins"


def load(target: str) -> type[Any]:
    """Return the class that a target names; see `config.plugins.PluginConfig`."""
    place, colon, name = target.rpartition(":")
    if not colon:
        from importlib.metadata import entry_points

        for entry in entry_points(group=GROUP, name=target):
            known: type[Any] = entry.load()
            return known
        raise LookupError(f"there is no entry point {target} of {GROUP}; a class is file.py:Class")
    if place.endswith(".py"):
        spec = importlib.util.spec_from_file_location("plugin", place)
        if spec is None or spec.loader is None:
            raise ImportError(f"{place} is no module")
        module = importlib.util.module_from_spec(spec)
        # Dataclasses and pickles look for their module here.
        sys.modules["plugin"] = module
        sys.path.insert(0, os.path.dirname(place))
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(place)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


def said(error: BaseException) -> str:
    """Return what is told of an exception."""
    return f"{type(error).__name__}: {error}"[:500]


def main() -> int:
    """Serve until the end of input."""
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)

    def answer(**message: object) -> None:
        answers.write(json.dumps(message).encode() + b"\n")

    order = json.loads(orders.readline())
    limit = int(order["memory_bytes"])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        plugin = load(order["class"])(**order["settings"])
    except Exception as error:
        answer(error=f"cannot load {order['class']}: {said(error)}")
        return 1
    answer(ready=True, does=[name for name in order["asked"] if hasattr(plugin, name)])
    for line in orders:
        request = json.loads(line)
        try:
            answer(id=request["id"], result=getattr(plugin, request["call"])(*request["args"]))
        except MemoryError:
            # It would go on with what it has left of it, which is nothing.
            raise
        except Exception as error:
            answer(id=request["id"], error=said(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
