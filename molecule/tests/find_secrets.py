"""Runs on a test host: print every place outside their files where a secret can be read."""

import pathlib
import subprocess
import sys

STACK = sys.argv[1]
BASE = pathlib.Path("/opt") / STACK
PLACES = [BASE / name for name in ("releases", "config", "logs", "data", "backups")]
PLACES += [pathlib.Path("/var/lib") / name for name in ("docker/containers", "moorage", "systemd")]
PLACES += [pathlib.Path(p) for p in ("/etc", "/run", "/root", "/tmp", "/var/log", "/usr/local")]
COMMANDS = [
    ["journalctl", "--no-pager", "--quiet"],
    ["sh", "-c", "docker ps -aq | xargs docker inspect"],
    ["sh", "-c", "for c in $(docker ps -aq); do docker logs $c 2>&1; done"],
    ["sh", "-c", "docker images -q | sort -u | xargs docker history --no-trunc"],
]

secrets = {p.name: p.read_bytes() for p in (BASE / "secrets").iterdir() if p.is_file()}
secrets = {name: value for name, value in secrets.items() if len(value) >= 16}
assert len(secrets) >= 4, f"too few secrets to look for: {sorted(secrets)}"


def report(where: str, content: bytes) -> None:
    """Print which secrets ``content`` holds."""
    for name, value in secrets.items():
        if value in content:
            print(f"{name} is in {where}")


for process in pathlib.Path("/proc").glob("[0-9]*"):
    for part in ("environ", "cmdline"):
        try:
            report(f"{process / part}", (process / part).read_bytes())
        except OSError:
            continue  # it has ended meanwhile
for place in PLACES:
    for path in place.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                report(str(path), path.read_bytes())
        except OSError:
            continue  # rotated meanwhile, or a network namespace, which has no content
for command in COMMANDS:
    done = subprocess.run(command, capture_output=True, check=False)
    report(" ".join(command), done.stdout + done.stderr)
print(f"looked for {len(secrets)} secrets")
