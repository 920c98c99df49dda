"""The number that a stack's own services run as, where nobody names one: one for each stack.

It follows from the stack's name, so that all hosts of a stack have the same one. A stack that was
on a host before keeps what it has there: its files are that user's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from zlib import crc32

from moorage.compose.errors import ComposeError, Problem
from moorage.controller.settings import prefix

# Above what people's accounts usually have, below what Debian gives away itself.
FIRST, COUNT = 20000, 40000
# What all stacks had before each got a number of its own.
SHARED = "10001:10001"
_NOBODY = "-"
_USER = re.compile(r"[0-9]{1,9}:[0-9]{1,9}")


def own_number(stack: str) -> int:
    """Return the number that a stack's name gives."""
    return FIRST + crc32(stack.encode()) % COUNT


def question(stacks: Iterable[str]) -> str:
    """Return the shell command that a host answers for `users_of`."""
    numbers = " ".join(str(own_number(stack)) for stack in stacks)
    # `logs` is there from the first provisioning on, and always the stack's user's.
    return (
        "stat -c '%u:%g %n' /opt/*/logs 2>/dev/null; "
        f"getent passwd {numbers} | cut -d: -f1,3 | sed 's/^/{_NOBODY} /'; true"
    )


def users_of(
    stacks: Iterable[str], answer: str, named: Mapping[str, object] | None = None
) -> dict[str, str]:
    """Return uid:gid of each of the stacks that name none; ``named`` has those of the others.

    Raises ComposeError where a new stack's number is somebody else's on this host.
    """
    there, accounts = _read(answer)
    found: dict[str, str] = {}
    problems = []
    others = {name: str(user) for name, user in (named or {}).items() if _USER.fullmatch(str(user))}
    taken = {
        int(user.split(":")[0]): f"the stack {name}" for name, user in {**there, **others}.items()
    }
    for stack in sorted(stacks, key=lambda name: (name not in there, name)):
        number = own_number(stack)
        if stack in there:
            found[stack] = there[stack] if there[stack] == f"{number}:{number}" else SHARED
            continue
        holder = taken.setdefault(number, f"the stack {stack}")
        if number in accounts and holder == f"the stack {stack}":
            holder = f"the account {accounts[number]}"
        if holder != f"the stack {stack}":
            problems.append(
                Problem(
                    f"{prefix(stack)}_user",
                    f"the number that the stack's name gives, {number}, is that of {holder}",
                    f'give it another one, such as "{number + 1}:{number + 1}"',
                )
            )
        found[stack] = f"{number}:{number}"
    if problems:
        raise ComposeError(problems)
    return found


def _read(answer: str) -> tuple[Mapping[str, str], Mapping[int, str]]:
    """Owners of stacks' directories by stack, accounts by number."""
    there: dict[str, str] = {}
    accounts: dict[int, str] = {}
    for line in answer.splitlines():
        head, _, rest = line.strip().partition(" ")
        parts = rest.split("/")
        if head == _NOBODY:
            name, _, number = rest.partition(":")
            # One that was made for the number itself stays when its stack goes.
            if number.isdecimal() and len(number) < 10 and name != f"moorage-{number}":
                accounts[int(number)] = name
        elif len(parts) == 4 and parts[1] == "opt" and _USER.fullmatch(head):
            there[parts[2]] = head
    return there, accounts
