"""The host's own package sources: what they are and whether they answer."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

APT_DIR = Path("/etc/apt")

# What a reader of Debian's archive sends; some mirrors refuse urllib's own name.
_AGENT = "Debian APT-HTTP/1.3 (moorage preflight)"


class Source(NamedTuple):
    """One suite of one archive."""

    uri: str
    suite: str


def parse_one_line(text: str) -> list[Source]:
    """Binary sources of a *.list file; format: sources.list(5), "ONE-LINE-STYLE FORMAT"."""
    found = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if not words or words[0] != "deb":
            continue
        words = words[1:]
        if words and words[0].startswith("["):
            while words and not words[0].endswith("]"):
                words.pop(0)
            words = words[1:]
        if len(words) >= 2:
            found.append(Source(words[0].rstrip("/"), words[1]))
    return found


def parse_deb822(text: str) -> list[Source]:
    """Binary sources of a *.sources file; format: sources.list(5), "DEB822-STYLE FORMAT"."""
    found: list[Source] = []
    stanza: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            found.extend(_of_stanza(stanza))
            stanza = {}
        elif line[0].isspace():
            stanza[name] = stanza.get(name, "") + " " + line.strip()
        elif ":" in line:
            name, value = line.split(":", 1)
            name = name.strip().lower()
            stanza[name] = value.strip()
    return found


def _of_stanza(stanza: dict[str, str]) -> list[Source]:
    if stanza.get("enabled", "yes").lower() in ("no", "false", "0"):
        return []
    if "deb" not in stanza.get("types", "").split():
        return []
    return [
        Source(uri.rstrip("/"), suite)
        for uri in stanza.get("uris", "").split()
        for suite in stanza.get("suites", "").split()
    ]


def read_sources(apt_dir: Path = APT_DIR) -> list[Source]:
    """All enabled binary sources, each once, in the order in which apt reads them."""
    found: list[Source] = []
    parts = sorted((apt_dir / "sources.list.d").glob("*"))
    for path in [apt_dir / "sources.list", *parts]:
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix == ".list":
            found.extend(parse_one_line(text))
        elif path.suffix == ".sources":
            found.extend(parse_deb822(text))
    return list(dict.fromkeys(found))


def release_url(source: Source) -> str:
    """Where the signed index of a source lies; a suite that ends in a slash is a flat archive."""
    if source.suite.endswith("/"):
        return "/".join([source.uri, source.suite.strip("/"), "InRelease"]).replace("/./", "/")
    return "/".join([source.uri, "dists", source.suite, "InRelease"])


def apt_proxies() -> dict[str, str]:
    """The proxies that apt is configured with, by scheme; none without apt."""
    argv = ["apt-config", "shell", "HTTP", "Acquire::http::Proxy", "HTTPS", "Acquire::https::Proxy"]
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False, timeout=10)
    except OSError:
        return {}
    proxies = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        value = value.strip("'")
        # "DIRECT" is apt's word for no proxy.
        if value and value != "DIRECT":
            proxies[name.lower()] = value
    return proxies


def reachable(source: Source, timeout: float, proxies: dict[str, str]) -> str | None:
    """None when the source answers, else why it does not."""
    if source.uri.startswith("file:"):
        path = Path(source.uri[len("file:") :].replace("//", "/", 1))
        return None if path.is_dir() else "no such directory"
    # cdrom:, mirror+…: and tor+…: cannot be tried without apt itself.
    if not source.uri.startswith(("http://", "https://")):
        return None
    url = release_url(source)
    # The schemes are the two above.
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": _AGENT})  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    try:
        with opener.open(request, timeout=timeout):
            return None
    except urllib.error.HTTPError as error:
        return f"answers HTTP {error.code}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except OSError as error:
        return str(error)


def try_sources(timeout: float, apt_dir: Path = APT_DIR) -> list[dict[str, Any]]:
    """Ask every source for its index, all at the same time."""
    sources = read_sources(apt_dir)
    if not sources:
        return []
    proxies = apt_proxies()

    def ask(source: Source) -> dict[str, Any]:
        error = reachable(source, timeout, proxies)
        return {"uri": source.uri, "suite": source.suite, "error": error}

    with ThreadPoolExecutor(max_workers=min(8, len(sources))) as pool:
        return list(pool.map(ask, sources))
