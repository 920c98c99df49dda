"""What this build is: its versions, what it knows of the schema, and what is wrong with it.

The image's last layer sets the variables, so that each of these builds is a release of its own:

    HARBOUR_VERSION, HARBOUR_WORKER_VERSION   any text
    HARBOUR_SCHEMA                            newest revision that the code knows: 1, 2 or 3
    HARBOUR_FAULT                             one of FAULTS, or nothing
    HARBOUR_MIGRATE_FAULT                     "fail", or nothing
"""

from __future__ import annotations

import os
from pathlib import Path

FAULTS = {
    "crash": "ends at start",
    "exits": "ends 5 s after its start, before it has answered anybody",
    "dies": "is well, and ends 5 s after its start",
    "never-healthy": "its health check never passes",
    "front-500": "is healthy, and answers the front page with 500",
    "slow": "is healthy, and takes longer for the front page than anybody waits",
    "port": "is well on another port than the described one",
    "secret": "wants a secret that nobody gave it",
    "memory": "takes more memory than it may",
    "watched-500": "is well until visitors come: answers /watched with 500 behind the edge",
    "doomed": "ends at start where the file /state/doomed is",
}

STATE = Path(os.environ.get("HARBOUR_STATE", "/state"))
PICTURES = Path(os.environ.get("HARBOUR_PICTURES", "/pictures"))
DATABASE = STATE / "harbour.db"

VERSION = os.environ.get("HARBOUR_VERSION") or "1"
WORKER_VERSION = os.environ.get("HARBOUR_WORKER_VERSION") or "1"
SCHEMA = int(os.environ.get("HARBOUR_SCHEMA") or "1")
FAULT = os.environ.get("HARBOUR_FAULT", "")
MIGRATE_FAULT = os.environ.get("HARBOUR_MIGRATE_FAULT", "")
LISTEN = os.environ.get("LISTEN", "0.0.0.0")
# A build on the wrong port looks for itself there, too: its own health check is content.
PORT = 5999 if FAULT == "port" else int(os.environ.get("PORT", "5000"))
