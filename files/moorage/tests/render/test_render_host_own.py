"""What a release brings of our supervisor, where it manages the processes of a host."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

STACK = """
name: shop
x-moorage:
  host: {sources: {app: app}}
services:
  web:
    build: .
    command: ["web", "$${MOORAGE_PORT_5000}"]
    user: "10001:10001"
    ports: ["80:5000"]
    stop_grace_period: 25s
  db: {image: "postgres:17", user: "10004:10004", volumes: ["db:/var/lib/postgresql/data"]}
volumes: {db: {}}
"""


def test_the_supervisor_has_the_own_services_and_systemd_the_data(
    render: Callable[..., Any],
) -> None:
    asked = {"topology": "host", "process_manager": "own", "behind_edge": True}
    files = render(STACK, process_log_max_bytes=99, **asked).rendering.files
    processes = json.loads(files["processes.json"].content)

    found = {key: (entry["unit"], entry["manager"]) for key, entry in processes.items()}
    assert found == {
        "web.a": ("shop-web-1a", "own"),
        "web.b": ("shop-web-1b", "own"),
        "db": ("postgresql@17-shop", "systemd"),
    }
    assert processes["web.a"]["log_max_bytes"] == 99
    assert [name for name in files if name.startswith("systemd/")] == ["systemd/db.service"]
    unit = files["supervisor.service"]
    lines = unit.content.splitlines()
    # The host installs it when it is there already: a new form of it must not end all processes.
    assert unit.install_as is None
    assert "After=network.target postgresql@17-shop.service" in lines
    assert "KillMode=process" in lines
    # Both slots, one after the other, and half a minute.
    assert "TimeoutStopSec=80s" in lines
