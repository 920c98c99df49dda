"""`python3 -m harbour.dump`: the database as SQL, for the hook before an update."""

import sqlite3
import sys

from .build import DATABASE

if __name__ == "__main__":
    connection = sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True)
    for line in connection.iterdump():
        sys.stdout.write(f"{line}\n")
