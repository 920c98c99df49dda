"""What a backup and a restore take for each gigabyte, beside PostgreSQL's programs and restic.

    make bench-backup    or    .venv/bin/python bench/backup/run.py [--rounds 3] [--megabytes 500]

One bare test host is brought to taifish, and gets as many megabytes of rows as of files. In each
round both ways save all of it to a new repository on the host's disk and bring it back: Moorage by
`moorage backup` and `moorage restore`, which also checks, saves what it overwrites and stops and
starts the stack; by hand without any of that, into a database and a directory beside. What Moorage
takes with hardly any data is measured first. Medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.host import BenchError, Host  # noqa: E402
from moorage.cli.tables import table  # noqa: E402

_SETTINGS = {"taifish_topology": "containers"}
_FILES = "/opt/taifish/data/app"
_DATABASE = "docker exec -i --user 10004 taifish-postgres"
_HAND = "export RESTIC_REPOSITORY=/root/hand/repository RESTIC_PASSWORD_FILE=/root/password"
# That there was a repository before.
_REMEMBERED = "/var/lib/moorage/backup/.repository"
# In their order: what each way does to save, and to bring back.
_STEPS = (
    ("Moorage", "backup", "moorage backup taifish"),
    ("Moorage", "restore", "moorage restore taifish --yes"),
    (
        "by hand",
        "backup",
        f"{_DATABASE} pg_dump --format=custom taifish > /root/hand/dump && "
        f"restic backup /root/hand/dump {_FILES}",
    ),
    (
        "by hand",
        "restore",
        "restic restore latest --target /root/hand/back && "
        f"{_DATABASE} createdb by_hand && "
        f"{_DATABASE} pg_restore --dbname=by_hand < /root/hand/back/root/hand/dump",
    ),
)


def seconds_of(host: Host, script: str) -> float:
    """Return how long a script takes on the host; raises BenchError."""
    began = time.monotonic()
    host.run("bash", "-euc", script)
    return time.monotonic() - began


def fill(host: Host, megabytes: int) -> float:
    """Make rows and files; return how many gigabytes that are."""
    rows = (
        "CREATE TABLE bench AS SELECT n AS id, "  # noqa: S608
        "(SELECT string_agg(md5((n * 8 + k)::text), null) FROM generate_series(1, 8) k) AS v "
        f"FROM generate_series(1, {megabytes * 3450}) n; ALTER TABLE bench ADD PRIMARY KEY (id)"
    )
    host.run("bash", "-euc", f"{_DATABASE} psql --quiet --dbname=taifish -c '{rows}'")
    host.run(
        "bash",
        "-euc",
        f"mkdir {_FILES}/bench; for n in {{1..{megabytes // 2}}}; do "
        f"head -c 2000000 /dev/urandom > {_FILES}/bench/$n; done; "
        f"chown -R --reference={_FILES} {_FILES}/bench",
    )
    size = "SELECT pg_total_relation_size($$bench$$)"
    database = host.run("bash", "-euc", f"{_DATABASE} psql -AtqX --dbname=taifish -c '{size}'")
    return (int(database) + megabytes // 2 * 2_000_000) / 1e9


def new_round(host: Host) -> None:
    """Have both ways begin a new repository."""
    host.run(
        "bash",
        "-euc",
        f"rm -rf /root/hand /var/backups/bench {_REMEMBERED}; mkdir -p /root/hand; {_HAND}; "
        "echo bench > /root/password; restic init > /dev/null; "
        f"{_DATABASE} dropdb --if-exists by_hand; "
        "sed -i 's#/var/backups/[a-z]*#/var/backups/bench#' "
        "/opt/moorage/backup/settings.json",
    )


def measure(host: Host, rounds: int) -> dict[tuple[str, str], float]:
    """Return the median of what each step took."""
    took: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        new_round(host)
        for way, what, script in _STEPS:
            seconds = seconds_of(host, f"{_HAND}; {script}")
            took.setdefault((way, what), []).append(seconds)
            print(f"{way}, {what}: {seconds:.1f} s", file=sys.stderr)
    return {step: statistics.median(found) for step, found in took.items()}


def bench(host: Host, rounds: int, megabytes: int) -> None:
    """Print all figures."""
    host.play("site.yml")
    little = measure(host, 1)
    gigabytes = fill(host, megabytes)
    lines = [
        [what, way, f"{seconds:.1f}", f"{little[way, what]:.1f}", f"{each:.1f}"]
        for (way, what), seconds in sorted(
            measure(host, rounds).items(), key=lambda item: item[0][::-1]
        )
        for each in [(seconds - little[way, what]) / gigabytes]
    ]
    print(f"{gigabytes:.2f} GB, half of it rows; medians of {rounds}")
    print(table([["", "", "SECONDS", "WITH NO DATA", "MORE FOR EACH GB"], *lines]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=500, help="of rows, and of files")
    parser.add_argument("--keep", action="store_true", help="leave the host running")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as work:
        host = Host("bench-backup", Path(work), ["taifish"], **_SETTINGS)
        host.create()
        try:
            bench(host, options.rounds, options.megabytes)
        except BenchError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            if not options.keep:
                host.destroy()
    return 0


if __name__ == "__main__":
    sys.exit(main())
