"""Runs inside a container under our supervisor: kill a service until it is given up.

Prints how many times that took.
"""

import os
import signal
import sys
import time

from process_supervisor.client import Client

client, name = Client("/run/supervisor/control.sock"), sys.argv[1]
killed = []
deadline = time.monotonic() + 90
while (now := client.status(name))["state"] != "FATAL":
    if time.monotonic() > deadline:
        sys.exit(f"{name} is not given up: {now}")
    if now["pid"] and now["pid"] not in killed:
        os.kill(now["pid"], signal.SIGKILL)
        killed.append(now["pid"])
    time.sleep(0.005)
print(len(killed))
