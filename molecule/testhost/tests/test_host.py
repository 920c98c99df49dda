"""A test host behaves like a machine: clean boot, real restart, an engine of its own."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from testinfra.host import Host

from devtool import images, testhost

NAME = "moorage-testhost"
_SERVE = "python3 -m http.server 8080 --directory /srv"
_UNIT = f"""[Service]
ExecStart=/usr/bin/{_SERVE}
[Install]
WantedBy=multi-user.target
"""


def wait_for(what: str, true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something is true, at most so long."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.05)


def fetch(port: int) -> str:
    """Return what a port of this machine serves, "" while it serves nothing."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/name", timeout=2) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return ""


def boot_id(host: Host) -> str:
    """Return what tells one start of systemd from the next."""
    return str(host.check_output("systemctl show --property=UserspaceTimestampMonotonic"))


def test_boots_a_complete_system(host: Host) -> None:
    assert host.check_output("systemctl is-system-running") == "running"
    assert host.system_info.distribution == "debian"
    assert host.system_info.codename == "trixie"
    assert host.check_output("cat /proc/1/comm") == "systemd"
    assert host.check_output("journalctl --boot --lines=1 --output=cat")


def test_is_bare(host: Host) -> None:
    for package in ("docker.io", "containerd", "docker-cli", "nginx"):
        assert not host.package(package).is_installed
    assert not host.exists("docker")


def test_restart_keeps_files_and_starts_units(host: Host) -> None:
    host.run_expect([0], "mkdir -p /srv && echo ashore > /srv/name && touch /run/volatile")
    host.run_expect([0], f"cat > /etc/systemd/system/name.service <<'EOF'\n{_UNIT}EOF")
    host.run_expect([0], "systemctl enable --now name.service")
    before = boot_id(host)

    subprocess.run(["docker", "restart", NAME], check=True, capture_output=True, timeout=300)
    testhost.wait_booted(NAME)

    assert boot_id(host) != before
    assert not host.file("/run/volatile").exists
    # The engine chooses a published port anew at each start where none was asked for.
    found = testhost.find(NAME)
    assert found is not None
    wait_for("the unit serves again", lambda: fetch(found.published[8080]) == "ashore\n")


def test_runs_an_engine_whose_containers_survive_a_restart(host: Host) -> None:
    host.run_expect(
        [0],
        "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y"
        " --no-install-recommends docker.io docker-cli iptables",
    )
    archive = subprocess.Popen(["docker", "save", images.BASE], stdout=subprocess.PIPE)
    subprocess.run(
        ["docker", "exec", "-i", NAME, "docker", "load"],
        stdin=archive.stdout,
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert archive.wait(timeout=300) == 0
    host.run_expect(
        [0],
        "docker run --detach --init --name inner --restart unless-stopped --memory 64m"
        f" {images.BASE} sleep infinity",
    )
    first = host.check_output("docker inspect --format '{{.State.Pid}}' inner")

    subprocess.run(["docker", "restart", NAME], check=True, capture_output=True, timeout=300)
    testhost.wait_booted(NAME)

    running = "docker inspect --format '{{.State.Running}} {{.State.Pid}}' inner"
    wait_for("the container is back", lambda: host.run(running).stdout.startswith("true "))
    assert host.check_output(running).split()[1] != "0"
    assert first != "0"
