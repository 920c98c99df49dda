"""`python3 -m ferry.clerk`: does what files in /office say.

    sunk    end at once, with status 3, at every start
    hoard   take more memory than it may; the file goes first
    talk    write numbered lines while it is there, RUN NUMBER, and RUN said NUMBER when it is gone

Each start is a line of /office/starts: its moment in Unix seconds.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from pathlib import Path

OFFICE = Path("/office")
RUN = uuid.uuid4().hex[:12]
EVERY_SECONDS = 0.01


def main() -> int:
    """Work until told to stop."""
    with (OFFICE / "starts").open("a", encoding="utf-8") as starts:
        starts.write(f"{time.time():.3f}\n")
    if (OFFICE / "sunk").exists():
        print("ferry: the boat has sunk", file=sys.stderr)
        return 3
    number = 0
    while True:
        if (OFFICE / "hoard").exists():
            (OFFICE / "hoard").unlink()
            hoard = []
            while True:
                # A megabyte at a time, written to: only then is it taken.
                hoard.append(bytearray(os.urandom(1024)) * 1024)
        if (OFFICE / "talk").exists():
            number += 1
            print(f"{RUN} {number}")
        elif number:
            print(f"{RUN} said {number}")
            number = 0
        time.sleep(EVERY_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
