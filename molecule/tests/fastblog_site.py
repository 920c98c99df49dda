"""fastblog on a host: its pages and API from outside, releases of the site, and its receivers."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from support import Machine, outer, wait_until
from visitor import Visitor

STACK, PORT = "fastblog", 9421
FEED, URL = "/srv/feed", "http://127.0.0.1:8099/feed.json"
_RECEIVERS = Path(__file__).parents[1] / "fastblog/tests/receivers.py"
# On the host, with the code and the packages of the running site.
_PUBLISH = """
set -eu
version=$1 file=$2 text=$3
home=$(dirname "$(ls -t /opt/fastblog/environments/*/.complete | head -n 1)")
source=/srv/source-$version
mkdir -p "$source" && cp -r "$home/app/fastblog" "$source"
echo "__version__ = \\"$version\\"" > "$source/fastblog/__init__.py"
[ -z "$file" ] || printf '%s\\n' "$text" >> "$source/fastblog/$file"
PYTHONPATH=$home/app:$home/moorage "$home/venv/bin/python3" -m fastblog_start.publish \\
    /srv/key /srv/feed --source "$source"
"""


def visitor(machine: Machine) -> Visitor:
    """Return a visitor of the blog, from outside the host."""
    return Visitor(f"http://{machine.address}:{PORT}")


def call(machine: Machine, path: str, method: str = "GET", token: str | None = None) -> Any:
    """Ask the API with its token (or another one); return the answer, or the status of an error."""
    key = machine.sh(f"cat /opt/{STACK}/secrets/api_token") if token is None else token
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = b'{"reason": "a test"}' if method == "POST" else None
    url = f"http://{machine.address}:{PORT}/api{path}"
    try:
        asked = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as trouble:
        return trouble.code


def version(machine: Machine) -> str:
    """Return the version of the site that answers."""
    return str(call(machine, "/system/status")["version"])


def processes(machine: Machine) -> dict[str, dict[str, Any]]:
    """Return what the blog says of its processes."""
    return {found["name"]: found for found in call(machine, "/processes")["processes"]}


def receive(machine: Machine) -> None:
    """Have mail, webhooks and the feed of releases taken and served on the host."""
    outer("cp", str(_RECEIVERS), f"{machine.name}:/root/receivers.py")
    machine.sh(f"mkdir -p {FEED}")
    machine.sh("systemctl reset-failed receivers 2>/dev/null || true")
    machine.sh(
        f"systemctl is-active --quiet receivers || systemd-run --quiet --unit=receivers "
        f"python3 /root/receivers.py {FEED}"
    )
    wait_until("it listens", lambda: ":2525 " in machine.sh("ss -Hltn"))


def taken(machine: Machine, kind: str) -> list[str]:
    """Return the mail, or the webhooks, that have come."""
    lines = machine.sh("cat /run/taken.jsonl 2>/dev/null || true").splitlines()
    return [found["text"] for found in map(json.loads, lines) if found["kind"] == kind]


def publish(machine: Machine, number: str, file: str = "", text: str = "") -> None:
    """Publish what runs under another version, with a line added to a file."""
    machine.sh(f"sh -c {{}} sh {number} '{file}' '{text}'".format(_quoted(_PUBLISH)))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
