"""What the edge costs and gives: taifish with one and three replicas, beside plain nginx.

    make bench-edge        or        .venv/bin/python bench/edge/run.py [--rounds 3] [--keep]

One bare test host is brought to taifish by the documented playbook, which is timed. Then wrk, on
the host, asks the application itself, the edge, and the nginx container of the stack's own
configs/nginx.conf, in turn, once with one replica of the application and once with three. What is
asked is answered by the application each time (`/health/live`) or is a static file. Medians over
the rounds. At the end tg2em comes onto the same host, for a run that changes nothing with both.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.host import BenchError, Host  # noqa: E402
from moorage.cli.tables import table  # noqa: E402

_APP, _EDGE, _NGINX = "the application alone", "the edge", "nginx of the document"
_PATHS = ("/health/live", "/static/")
_CONNECTIONS, _SECONDS = 16, 4
_NGINX_ADDRESS = "172.20.0.10"
_SETTINGS = {"taifish_topology": "containers"}


def wrk(host: Host, url: str) -> tuple[float, float]:
    """Return answers a second and the 99th percentile in ms; all of them have to be good."""
    said = host.run(
        "wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{_SECONDS}s", "--latency", "--timeout", "5s", url
    )
    if "Non-2xx" in said or "Socket errors" in said:
        raise BenchError(f"{url}\n{said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    slow = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    if rate is None or slow is None:
        raise BenchError(said)
    return float(rate[1]), float(slow[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[slow[2]]


def plain_nginx(host: Host, replicas: int, work: Path) -> None:
    """Start, or start anew, nginx with the configuration that the document draws.

    It names every replica, by address: Debian's nginx does not ask for names again.
    """
    names = ["taifish-app", *(f"taifish-app-{n}" for n in range(2, replicas + 1))]
    network = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    addresses = [host.run("docker", "inspect", "-f", network, name).strip() for name in names]
    text = (ROOT / "files/stacks/taifish/configs/nginx.conf").read_text(encoding="utf-8")
    servers = " ".join(f"server {address}:5000;" for address in addresses)
    (work / "nginx.conf").write_text(text.replace("server app:5000 resolve;", servers))
    host.run("sh", "-c", "docker rm -f bench-nginx 2>/dev/null || true")
    host.put(work / "nginx.conf", "/root/nginx.conf")
    image = host.run("docker", "inspect", "moorage-edge", "-f", "{{.Config.Image}}").strip()
    host.run(
        *("docker", "run", "-d", "--name", "bench-nginx", "--network", "taifish_taifish_network"),
        *("--ip", _NGINX_ADDRESS, "-v", "/root/nginx.conf:/etc/nginx/nginx.conf:ro"),
        *("--entrypoint", "nginx", image, "-c", "/etc/nginx/nginx.conf", "-g", "daemon off;"),
    )


def ways(host: Host) -> dict[str, str]:
    """Return where each of the three is asked."""
    shown = host.run("docker", "port", "taifish-app", "5000/tcp").split()[0]
    return {
        _APP: f"http://{shown}",
        _EDGE: "http://127.0.0.1:8000",
        _NGINX: f"http://{_NGINX_ADDRESS}",
    }


def measure(host: Host, rounds: int, replicas: int) -> list[list[str]]:
    """Return a line for each way and path."""
    static = host.run(
        "sh",
        "-c",
        "curl -fsS http://127.0.0.1:8000/ | grep -o '/static/[^\"]*css[^\"]*' | head -n1",
    ).strip()
    seen: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for way, base in ways(host).items():
            for path in ("/health/live", static):
                seen.setdefault((way, path.split("?")[0]), []).append(wrk(host, base + path))
    return [
        [
            str(replicas),
            way,
            path,
            f"{statistics.median(rate for rate, _ in found):.0f}",
            f"{statistics.median(slow for _, slow in found):.1f}",
        ]
        for (way, path), found in seen.items()
    ]


def memory(host: Host) -> str:
    """Return what each container has in memory."""
    return host.run("docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}")


def bench(host: Host, rounds: int, work: Path) -> None:
    """Print all figures."""
    seconds, _ = host.play("site.yml")
    print(f"bare host to serving: {seconds:.0f} s")
    host.run("sh", "-c", "apt-get install -qy wrk curl >/dev/null")
    lines = []
    for replicas in (1, 3):
        host.has(["taifish"], **_SETTINGS, taifish_replicas={"app": replicas})
        host.play("site.yml")
        plain_nginx(host, replicas, work)
        lines += measure(host, rounds, replicas)
    print(table([["REPLICAS", "ASKED", "PATH", "ANSWERS/S", "P99 MS"], *lines]))
    host.run("docker", "rm", "-f", "bench-nginx")
    print(memory(host))
    host.has(["taifish", "tg2em"], **_SETTINGS)
    host.play("site.yml")
    times = [host.play("site.yml") for _ in range(rounds)]
    if any("changed=0" not in said for _, said in times):
        raise BenchError("a run without changes changed something")
    print(f"site.yml, both stacks, no change: {statistics.median(t for t, _ in times):.2f} s")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="leave the host running")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as work:
        host = Host("bench-edge", Path(work), ["taifish"], **_SETTINGS)
        host.create()
        try:
            bench(host, options.rounds, Path(work))
        except BenchError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            if not options.keep:
                host.destroy()
    return 0


if __name__ == "__main__":
    sys.exit(main())
