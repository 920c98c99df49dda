"""Runs on a host: print what the host's own Moorage knows of a stack's instances, as JSON by name.

A process says which manager runs it.

instances.py STACK
"""

import json
import sys
from dataclasses import asdict

sys.path.insert(0, "/usr/local/lib/moorage")

from moorage.deploy.runtimes.records import read_records
from moorage.deploy.runtimes.registry import runtime
from moorage.release.layout import Layout

LAYOUT = Layout.of(sys.argv[1])
MANAGERS = {name: record.manager for name, record in read_records(LAYOUT).items()}
print(
    json.dumps(
        {
            i.name: {**asdict(i), "manager": MANAGERS.get(i.name, "")}
            for i in runtime(LAYOUT).instances(LAYOUT.stack)
        }
    )
)
