"""`python3 -m tg2em_core.probe URL`: a health check without curl. Status 0 on HTTP 200."""

import http.client
import sys
from urllib.parse import urlsplit


def probe(url: str, timeout: float = 4.0) -> tuple[bool, str]:
    """Ask for the URL once; return whether it answered 200, and what to print."""
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


def main(arguments: list[str]) -> int:
    """Probe the one URL given."""
    if len(arguments) != 1:
        print("usage: python3 -m tg2em_core.probe URL", file=sys.stderr)
        return 2
    healthy, message = probe(arguments[0])
    print(message)
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
