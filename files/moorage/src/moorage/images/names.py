"""Names of images of registries, and the one that a pulled image gets on its host.

Also what the survey reads of policies; standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# What was pulled gets a name of ours that says its digest: a tag that moves later moves nothing.
PULLED = "moorage/pulled/"
# The key of images_mirrors and of errors for the registry that the engine asks by itself.
DEFAULT = "default"
ALWAYS = "always"
# Whoever pushes images can have two that agree in the first dozen digits, within seconds.
_HEX = 32
_TAG = 90
_UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_PERIODS = {"daily": 86_400, "weekly": 604_800}
EVERY = re.compile(r"every_(?=\d)(?:\d+w)?(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+s)?")


def split(ref: str) -> tuple[str, str, str]:
    """Return registry ("" for the engine's own), repository, and :TAG and @DIGEST behind it."""
    name, at, digest = ref.partition("@")
    head, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    name = f"{head}{slash}{last}"
    first, slash, rest = name.partition("/")
    known = slash and ("." in first or ":" in first or first == "localhost")
    behind = f"{colon}{tag}{at}{digest}" or ":latest"
    return (first, rest, behind) if known else ("", name, behind)


def digest_of(ref: str) -> str:
    """Return the digest that a reference names, "" when it names none."""
    return ref.partition("@")[2]


def registry_of(ref: str) -> str:
    """Return how a person calls the registry of a reference."""
    return split(ref)[0] or "the engine's default registry"


def local_name(ref: str, digest: str) -> str:
    """Return what the image of this digest that ``ref`` names is called on its host."""
    registry, repository, behind = split(ref)
    path = "/".join(filter(None, (registry, repository))).lower()
    path = re.sub(r"[^a-z0-9/.-]+|-{2,}", "-", path)
    path = "/".join(part.strip(".-") or "x" for part in path.split("/"))
    tag = behind.partition("@")[0].lstrip(":")
    number = digest.removeprefix("sha256:")[:_HEX]
    return f"{PULLED}{path}:{f'{tag[:_TAG]}-' if tag else ''}{number}"


def period(policy: str) -> float | None:
    """Return after how many seconds a policy pulls again: 0 always, None never by itself."""
    if policy == ALWAYS:
        return 0.0
    if policy in _PERIODS:
        return float(_PERIODS[policy])
    if EVERY.fullmatch(policy):
        return float(sum(int(n) * _UNITS[u] for n, u in re.findall(r"(\d+)([wdhms])", policy)))
    return None


def strictest(policies: Iterable[str]) -> str:
    """Return the policy that serves all: that which pulls most often."""

    def rank(policy: str) -> tuple[int, float]:
        seconds = period(policy)
        return (2, 0.0) if policy == "never" else (1, 0.0) if seconds is None else (0, seconds)

    return min(policies, key=rank)
