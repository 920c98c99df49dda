"""What a visitor, an operator and a stranger reach after the deploy."""

from __future__ import annotations

import json

from shared_serving import *  # noqa: F403 - these are tests of this scenario, too
from shared_serving import assert_owners, owners_of_files
from support import Machine


def test_owners_and_modes(settled: Machine, stack: str) -> None:
    release = settled.release(stack)
    run = f"/run/moorage/{stack}/gateway"
    expected = owners_of_files(settled, stack) | {
        f"/opt/{stack}/releases/{release}/gateway.service": (0, 0o644),
        run: (10003, 0o2750),
        f"{run}/control.sock": (10003, 0o660),
        f"/var/lib/moorage-gateway/{stack}": (10003, 0o700),
        f"/var/log/moorage/gateway/{stack}": (10003, 0o750),
    }
    assert_owners(settled, expected)
    assert settled.host.file(f"{run}/control.sock").gid == 10001


def test_containers_are_closed_and_bounded(settled: Machine, containers: dict[str, int]) -> None:
    """What the engine itself says of each; what the kernel makes of it is tried elsewhere."""
    everything = json.loads(settled.sh(f"docker inspect {' '.join(containers)}"))
    for container in everything:
        limits = container["HostConfig"]
        name = container["Name"]
        assert limits["ReadonlyRootfs"] and limits["CapDrop"] == ["ALL"], name
        assert not limits["CapAdd"] and not limits["Privileged"] and limits["Memory"] > 0, name
        assert limits["SecurityOpt"] == ["no-new-privileges:true"], name
        assert [m for m in container["Mounts"] if "docker" in m["Source"]] == [], name
        # Pinned: what runs is what the release names, whatever a tag means by now.
        assert container["Config"]["Image"].partition(":")[2], name


def test_the_root_file_system_is_read_only(settled: Machine, stack: str) -> None:
    for name in ("frontend", "scraper", "mysql"):
        # Where the user could write, were it not for that.
        container = settled.container_of(stack, name)
        tried = settled.host.run(f"docker exec --user 0 {container} touch /etc/x")
        assert tried.rc != 0 and "Read-only file system" in tried.stderr


def test_what_is_said_to_run_is_what_the_host_sees(settled: Machine, stack: str) -> None:
    services = settled.status(stack)
    programs = {
        "frontend": "gunicorn",
        "scraper": "tg2em_scraper",
        "tgstate": "tgstate",
        "mysql": "mariadbd",
    }
    for name, program in programs.items():
        pid = services[name]["pid"]
        assert program in settled.sh(f"cat /proc/{pid}/cmdline"), f"{name} is said to be {pid}"
        assert settled.container_ids(stack)[f"{stack}-{name}"] in settled.sh(
            f"cat /proc/{pid}/cgroup"
        )
