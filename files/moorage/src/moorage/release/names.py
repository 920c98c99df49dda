"""Labels, file names and suffixes of a release.

Also a module of the survey, so Python 3.9 reads it.
"""

from __future__ import annotations

# Of containers; `CONFIG_LABEL` tells whether one is as described, `CONFIG_LABEL.NAME` holds the
# digest of a Compose config that it reads. Nobody else's labels begin with `OWN_LABELS`.
OWN_LABELS = "moorage."
STACK_LABEL = f"{OWN_LABELS}stack"
SERVICE_LABEL = f"{OWN_LABELS}service"
REPLICA_LABEL = f"{OWN_LABELS}replica"
SLOT_LABEL = f"{OWN_LABELS}slot"
CONFIG_LABEL = f"{OWN_LABELS}config"

# Of a release's directory. The manifest is written last; receipts lie there without being a part.
MANIFEST = "release.json"
COMPOSE = "compose.yaml"
# The same again, for machines.
COMPOSE_JSON = "compose.json"
SUPERVISOR = "supervisor.json"
CONFIGS = "configs/"
# Of the stack's directory, as texts and as base64, and where a host has it.
SHIPPED, SHIPPED_BASE64 = "shipped/", "shipped64/"
SHIPPED_DIRECTORY = "config/shipped"
GATEWAY_UNIT = "gateway.service"
RECEIPTS = "receipt"
# Leads to the newest receipt.
RECEIPT = f"{RECEIPTS}.json"

# The first digits of the hash of a release's content.
RELEASE_ID_LENGTH = 12

# Who reads a secret: a user's number, or the user of an image, whom nobody knows beforehand.
ANY_READER = -1

UNIFIED = "unified"
# What its supervisor keeps, below the data of the stack.
UNIFIED_STATE = f"{UNIFIED}-state"
GATEWAY = "gateway"
WATCH = "watch"
SLOTS = ("a", "b")
# What a container is called while it starts in the free slot, beside the one it takes over from.
NEXT = "-next"

# What is noted of backups, for the host's owner and his programs: of a stack's last proof, and of
# its last backup.
BACKUP_STATE = "/var/lib/moorage/backup"
PROOF_NOTE, BACKUP_NOTE = "{}.json", "{}.backup.json"

# Where a host has Moorage's packages, and the command that runs them.
LIBRARY = "/usr/local/lib/moorage"
COMMAND = "/usr/local/bin/moorage"


def reader_directory(uid: int) -> str:
    """Return what the directory of a reader's secrets is called, below `secrets/for`."""
    return "any" if uid == ANY_READER else str(uid)


def in_slot(name: str, slot: str, sign: str = "-") -> str:
    """Return what a thing called ``name`` is called in a slot; "" is the one without a name."""
    return f"{name}{sign}{slot}" if slot else name
