"""Runs inside a container under our supervisor: kill a service until it has to wait for long."""

import contextlib
import os
import signal
import sys
import time

from process_supervisor.client import Client

# The pause after so many lasts longer than anybody needs for a look at it.
ENOUGH = 11

client, name = Client("/run/supervisor/control.sock"), sys.argv[1]
before = client.status(name)["restarts"]
deadline = time.monotonic() + 170
while (now := client.status(name))["state"] != "BACKOFF" or now["restarts"] - before < ENOUGH:
    if now["state"] == "FATAL" or time.monotonic() > deadline:
        sys.exit(f"{name} does not wait to be tried on: {now}")
    if now["state"] == "RUNNING":
        with contextlib.suppress(ProcessLookupError):
            os.kill(now["pid"], signal.SIGKILL)
    time.sleep(0.005)
