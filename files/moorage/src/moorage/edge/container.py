"""The edge's container: how it is made, and how a new one takes over from the old."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable

from moorage.edge.errors import EdgeError
from moorage.edge.model import Settings
from moorage.edge.nginx import LABEL, container_facts, engine_absent, image_facts, run, tail
from moorage.edge.store import Store
from moorage.release.manifest import DEFAULT_PIDS
from moorage.release.names import CONFIG_LABEL

_DRAIN_SECONDS = 10.0
_POLL_SECONDS = 0.05
# Bind to ports below 1024; become www-data in workers, signal them, give them their files, and
# still open those at the next reload.
_CAPABILITIES = ("NET_BIND_SERVICE", "SETUID", "SETGID", "KILL", "CHOWN", "DAC_OVERRIDE")


def create_argv(settings: Settings, store: Store) -> list[str]:
    """Return the command that makes the container; it is not started."""
    argv = ["docker", "create", "--name", settings.container, "--label", f"{LABEL}=1"]
    argv += ["--network", "host", "--read-only", "--restart", "unless-stopped"]
    argv += ["--security-opt", "no-new-privileges", "--cap-drop", "ALL"]
    argv += [word for name in _CAPABILITIES for word in ("--cap-add", name)]
    argv += ["--stop-timeout", "30", "--log-opt", "max-size=10m", "--log-opt", "max-file=2"]
    argv += ["--volume", f"{store.base}:{store.base}:ro", "--volume", f"{store.run}:{store.run}"]
    for directory in (settings.log_dir, settings.cache_dir):
        argv += ["--volume", f"{directory}:{directory}"]
    described = hashlib.sha256(json.dumps([*argv, settings.image]).encode()).hexdigest()[:16]
    command = ["nginx", "-e", "stderr", "-c", str(store.conf / "nginx.conf"), "-g", "daemon off;"]
    # No part of the description: `limit` gives it to one that is there already.
    more = ["--env", f"EDGE_SOCKET={store.socket}", "--pids-limit", str(DEFAULT_PIDS)]
    return [*argv, *more, "--label", f"{CONFIG_LABEL}={described}", settings.image, *command]


def as_described(settings: Settings, store: Store) -> bool:
    """Tell whether the container is there and was made by the same command."""
    found = container_facts(settings.container)
    if found is None:
        return False
    label = (found["Config"].get("Labels") or {}).get(CONFIG_LABEL)
    return f"{CONFIG_LABEL}={label}" in create_argv(settings, store)


def limited(settings: Settings) -> bool:
    """Tell whether the container's processes are limited; one of before is not."""
    found = container_facts(settings.container)
    return found is None or (found["HostConfig"].get("PidsLimit") or 0) > 0


def limit(settings: Settings) -> None:
    """Limit the processes of the container as it runs."""
    argv = ["docker", "update", "--pids-limit", str(DEFAULT_PIDS), settings.container]
    done = run(argv)
    if done.returncode != 0:
        raise EdgeError(f"the edge's processes cannot be limited:\n{tail(done.stdout)}")


def exists(name: str) -> bool:
    """Tell whether there is such a container, running or not; a host may have no engine."""
    return not engine_absent() and container_facts(name) is not None


def replace(settings: Settings, store: Store) -> None:
    """Make the container anew; an old one lets go of the ports and finishes its requests beside."""
    if image_facts(settings.image) is None:
        raise EdgeError(
            f"the image {settings.image} is not on this host: run playbooks/provision.yml, whose "
            "role images builds it"
        )
    old = f"{settings.container}-old"
    run(["docker", "rm", "--force", old])
    if exists(settings.container):
        run(["docker", "update", "--restart", "no", settings.container])
        run(["docker", "rename", settings.container, old])
        run(["docker", "kill", "--signal", "QUIT", old])
        # nginx closes its ports and removes its socket before it waits for its workers.
        _wait(lambda: not store.socket.exists())
    done = run(create_argv(settings, store))
    if done.returncode != 0:
        raise EdgeError(f"the edge's container cannot be made:\n{tail(done.stdout)}")


def remove_old(settings: Settings) -> None:
    """Remove the container that `replace` has left to finish its requests."""
    old = f"{settings.container}-old"
    _wait(lambda: (found := container_facts(old)) is None or not found["State"]["Running"])
    run(["docker", "rm", "--force", old])


def remove(name: str) -> bool:
    """Remove the container, after the requests that are under way; False when there was none."""
    if not exists(name):
        return False
    run(["docker", "stop", name])
    run(["docker", "rm", "--force", name])
    return True


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < deadline and not condition():
        time.sleep(_POLL_SECONDS)
