"""What each migration declares about the code that can work with the tables it leaves behind.

Pure, and without Alembic: the files in `migrations/versions` are read, not run. The policy is
written down in docs/migrations.md.
"""

import ast
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Kind(StrEnum):
    """What a migration takes away from code that is older than it."""

    # Nothing: everything that worked with the tables before still does.
    EXPAND = "expand"
    # What only older code used; the code of the revision before this one still works.
    CONTRACT = "contract"
    # The code of the revision before cannot work with it, or data is lost.
    ONE_WAY = "one-way"


class PolicyError(Exception):
    """A migration declares nothing, or something that cannot be; the message names the file."""


@dataclass(frozen=True)
class Revision:
    """One migration. `oldest_code` is the oldest revision whose code works with its tables."""

    revision: str
    parent: str | None
    kind: Kind
    oldest_code: str
    message: str


@dataclass(frozen=True)
class Step:
    """A migration that has yet to run, as it affects the database at hand."""

    revision: str
    kind: Kind
    message: str


@dataclass(frozen=True)
class Plan:
    """What migrating would do. `current` is empty for a database without tables."""

    current: str
    target: str
    pending: tuple[Step, ...]
    compatible: bool
    detail: str

    def document(self) -> dict[str, Any]:
        """Return it as the JSON document that a rollout reads."""
        pending = [asdict(step) for step in self.pending]
        found = {"from": self.current, "to": self.target, "pending": pending}
        return found | {"compatible": self.compatible, "detail": self.detail}


def load(directory: Path) -> tuple[Revision, ...]:
    """Return the revisions in `directory`, oldest first; raises PolicyError."""
    found: dict[str | None, Revision] = {}
    for file in sorted(directory.glob("*.py")):
        revision = _read(file)
        if revision.parent in found:
            raise PolicyError(
                f"{file.name} and revision {found[revision.parent].revision} both follow"
                f" {revision.parent or 'nothing'}: put one behind the other"
            )
        found[revision.parent] = revision
    chain: list[Revision] = []
    while following := found.pop(chain[-1].revision if chain else None, None):
        chain.append(following)
    if found or not chain:
        lost = ", ".join(sorted(str(parent) for parent in found)) or "the first one"
        raise PolicyError(f"{directory}: there is no revision {lost}")
    _check(chain)
    return tuple(chain)


def plan(chain: Sequence[Revision], current: str, serves: str | None) -> Plan:
    """Return what bringing a database from `current` to the end of `chain` means.

    `serves` is the oldest code that the database itself says its tables still serve, which is all
    that is known when they are newer than this chain; None when it says nothing.
    """
    place = {revision.revision: number for number, revision in enumerate(chain)}
    head = chain[-1].revision
    if not current:
        steps = tuple(Step(r.revision, Kind.EXPAND, r.message) for r in chain)
        return Plan("", head, steps, True, "")
    if current not in place:
        return _newer(place, head, current, serves)
    at = place[current]
    steps = tuple(_step(r, current, place[r.oldest_code] > at) for r in chain[at + 1 :])
    return Plan(current, head, steps, True, "")


def _newer(place: dict[str, int], head: str, current: str, serves: str | None) -> Plan:
    newer = f"the tables are of revision {current}, newer than this release's {head},"
    if serves in place:
        detail = f"{newer} and still serve its code: nothing is changed"
        return Plan(current, current, (), True, detail)
    known = (
        f"serve only code of {serves} or later" if serves else "do not say which code they serve"
    )
    detail = (
        f"{newer} and {known}: go forward to a release that knows {serves or current}, or restore"
        f" the dump that was made before the update (moorage-restore; docs/migrations.md)"
    )
    return Plan(current, current, (), False, detail)


def _step(revision: Revision, current: str, shuts_out: bool) -> Step:
    if not shuts_out or revision.kind is Kind.ONE_WAY:
        return Step(revision.revision, revision.kind, revision.message)
    # Harmless one release at a time; this update leaps over the release in between.
    message = (
        f"{revision.message} Code of {current} cannot work after it: go by a release with"
        f" revision {revision.oldest_code} first, or there is no way back but the dump."
    )
    return Step(revision.revision, Kind.ONE_WAY, message)


def _read(file: Path) -> Revision:
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    values: dict[str, Any] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    values[target.id] = statement.value.value
    for name in ("revision", "kind", "oldest_code"):
        if not isinstance(values.get(name), str) or not values[name]:
            raise PolicyError(f'{file.name}: {name} is not declared; write {name} = "…"')
    try:
        kind = Kind(values["kind"])
    except ValueError:
        known = ", ".join(Kind)
        raise PolicyError(f"{file.name}: kind is {values['kind']!r}, not one of {known}") from None
    message = (ast.get_docstring(tree) or "").partition("\n")[0]
    parent = values.get("down_revision")
    return Revision(values["revision"], parent, kind, values["oldest_code"], message)


def _check(chain: Sequence[Revision]) -> None:
    place = {revision.revision: number for number, revision in enumerate(chain)}
    for at, revision in enumerate(chain):
        what = f"revision {revision.revision} ({revision.kind})"
        oldest = place.get(revision.oldest_code, len(chain))
        if oldest > at:
            raise PolicyError(f"{what}: oldest_code {revision.oldest_code!r} does not precede it")
        if at == 0:
            continue
        before = chain[at - 1]
        if oldest < place[before.oldest_code]:
            raise PolicyError(
                f"{what}: oldest_code is {revision.oldest_code}, but since {before.revision} only"
                f" code of {before.oldest_code} or later works"
            )
        if revision.kind is Kind.EXPAND and revision.oldest_code != before.oldest_code:
            raise PolicyError(
                f"{what}: an expansion shuts no code out, so oldest_code is {before.oldest_code}"
            )
        if revision.kind is Kind.CONTRACT and oldest == at:
            raise PolicyError(
                f"{what}: the code of {before.revision} must work with it, or its kind is one-way"
            )
