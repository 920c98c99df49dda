"""Runs on a host: count processes with given arguments, again and again, until standard input ends.

    census.py ARGUMENT...      those after the name of the program, all of them

Prints JSON: the most that were there at once, how often was looked, and the longest time (seconds)
for which there was none.
"""

import json
import os
import select
import sys
import time

WANTED = [word.encode() for word in sys.argv[1:]]
EVERY_SECONDS = 0.02


def count() -> int:
    """Return how many there are now."""
    found = 0
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as shown:
                words = shown.read().split(b"\0")[:-1]
        except OSError:
            continue  # it has ended meanwhile
        # One without arguments is a thread of the kernel, or has ended and not been reaped.
        found += bool(words) and words[1:] == WANTED
    return found


print("counting")
most = looks = 0
without = 0.0
last_seen = time.monotonic()
while not select.select([sys.stdin], [], [], EVERY_SECONDS)[0]:
    now = count()
    most, looks = max(most, now), looks + 1
    if now:
        last_seen = time.monotonic()
    without = max(without, time.monotonic() - last_seen)
print(json.dumps({"most": most, "looks": looks, "without": round(without, 3)}))
