"""Options of a run: what a playbook takes with `-e` beside settings."""

from __future__ import annotations

from dataclasses import dataclass

from moorage.settings.readers import flag, number, whole, words
from moorage.settings.stack import REPLICAS, batch
from moorage.settings.table import setting


@dataclass(frozen=True)
class Options:
    """All options of all playbooks; a play's `moorage_options` names those that it takes."""

    stack: str = setting("", words(), "the stack that is meant; `all` where a playbook takes it")
    service: str = setting("", words(), "the one service of it that is meant")
    version: str = setting(
        "", words(), "a tag, branch or commit of the stack's repository instead of the working tree"
    )
    replicas: int = setting(
        1, REPLICAS, "how often the service runs on each host, as in `STACK_replicas`", shown="none"
    )
    release: str = setting("", words(), "a release of the host, or the beginning of its name")
    batch: int | str = setting(1, batch, "as `STACK_batch`, for this run", shown="`STACK_batch`")
    allow_one_way: bool = setting(
        False, flag, "go on where a migration leaves no way back to the running release"
    )
    lock_wait: float = setting(
        60.0, number(), "seconds to wait for a colleague who is at work on the stack"
    )
    break_lock: bool = setting(False, flag, "take over the reservation of a run that died")
    command: str = setting("", words(), "what is run in the service")
    lines: int = setting(100, whole(1), "how many lines of each log are shown")
    snapshot: str = setting("", words(), "a backup that is not the newest one, by its ID")
    only: str = setting(
        "", words(), "parts of a backup, with commas between, such as `volume/app,dump/db`"
    )
    table: str = setting(
        "", words(), "tables whose rows alone are restored, such as `db.posts,db.users`"
    )
    kit: str = setting(
        "", words(), "the recovery kit of the host that the backup is of; relative to the checkout"
    )
    confirm: str = setting("", words(), "the stack's name once more")
    remove_data: bool = setting(False, flag, "its data, secrets and backups go as well")
