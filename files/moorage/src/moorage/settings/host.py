"""Settings of every host that are no role's: `moorage_…`, in group_vars/all."""

from __future__ import annotations

from dataclasses import dataclass

from moorage.settings.readers import ABSOLUTE, flag, list_of, record, whole, words
from moorage.settings.table import setting

PREFIX = "moorage_"
_ROOM = record({"path": ABSOLUTE, "free_mb": whole()}, ("path", "free_mb"))


@dataclass(frozen=True)
class Host:
    """What holds for every host, by names without `moorage_`."""

    extra_ca_bundle: str = setting(
        "",
        words(empty=True),
        "a file on the controller with certificates, for networks whose proxy signs with a CA of "
        "its own: trusted by the hosts, used in builds as a secret, never part of an image",
    )
    pip_index_url: str = setting(
        "",
        words(empty=True),
        "the package index that pip asks in builds; empty for pip's own default",
    )
    preflight_disk: tuple[dict[str, object], ...] = setting(
        (
            {"path": "/opt", "free_mb": 2048},
            {"path": "/var/lib/docker", "free_mb": 4096},
        ),
        list_of(_ROOM),
        "what must be free before anything is changed: a list of `{path: /opt, free_mb: 2048}`, "
        "in MiB; paths on one file system add up",
        shown="`/opt` 2048, `/var/lib/docker` 4096",
    )
    preflight_memory_mb: int = setting(900, whole(), "memory that a host must have, in MiB")
    stacks_dirs: tuple[str, ...] = setting(
        (),
        list_of(words()),
        "directories that hold stacks besides `files/stacks` of this checkout",
    )
    recovery_dir: str = setting(
        "recovery",
        words(),
        "where `playbooks/backup.yml` puts the hosts' recovery kits on the controller; relative to "
        "this checkout",
    )
    full_run: bool = setting(
        False,
        flag,
        "go through every task also where the survey finds nothing to do: "
        "`-e moorage_full_run=true`",
    )
    files_dir: str = setting(
        "",
        words(),
        "where the payloads of the checkout are; leave it",
        shown="`files` of this checkout",
    )
