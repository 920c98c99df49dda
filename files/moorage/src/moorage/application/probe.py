"""Health checks without curl; status 0 when healthy.

`python3 -m moorage.application.probe URL` asks once and wants 200; `heartbeat SECONDS` instead of
the URL wants a process' heartbeat file to have been touched within that time.
"""

import http.client
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit


def ask(url: str, timeout: float = 4.0) -> tuple[bool, str]:
    """Return whether the URL answered 200, and what to print."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        body = response.read(500).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return False, f"{url}: {error or type(error).__name__}"
    finally:
        connection.close()
    return response.status == 200, f"{response.status} {body}"


def heartbeat_file() -> Path:
    """Return the file that is touched: HEARTBEAT_FILE, and each process of a container its own."""
    path = os.environ.get("HEARTBEAT_FILE") or "/tmp/heartbeat"  # noqa: S108
    # In one container the supervisor gives each replica a name.
    return Path(".".join(filter(None, (path, os.environ.get("PROCESS_SUPERVISOR_NAME")))))


def heartbeat(seconds: float) -> tuple[bool, str]:
    """Return whether the file was touched within that time, and what to print."""
    try:
        age = time.time() - heartbeat_file().stat().st_mtime
    except OSError as error:
        return False, f"no heartbeat yet: {error}"
    return age <= seconds, f"last heartbeat {age:.0f} s ago, at most {seconds:g} s are healthy"


def main(arguments: list[str]) -> int:
    """Check what is asked for; return the exit status."""
    match arguments:
        case ["heartbeat", seconds]:
            healthy, message = heartbeat(float(seconds))
        case [url]:
            healthy, message = ask(url)
        case _:
            usage = "usage: python3 -m moorage.application.probe URL | heartbeat SECONDS"
            print(usage, file=sys.stderr)
            return 2
    print(message)
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
