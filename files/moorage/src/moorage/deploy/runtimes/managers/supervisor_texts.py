"""What Supervisor reads and writes: a group's configuration, and in its log how programs ended."""

from __future__ import annotations

import configparser
import io
import re
import signal
from collections.abc import Iterable
from contextlib import suppress

from moorage.release.native import GIVEN_UP

# exited: shop_web (exit status 3; not expected)
_ENDED = re.compile(r"(?:exited|stopped): (\S+) \((?:exit status (\d+)|terminated by (\w+))")


def others(before: bytes, after: bytes) -> bool:
    """Tell whether a program that stays is another one than before."""
    old, new = _parsed(before), _parsed(after)
    both = set(old.sections()) & set(new.sections())
    return any(old[name] != new[name] for name in both if name.startswith("program:"))


def with_used(content: bytes, before: bytes, used: Iterable[str]) -> bytes:
    """A group's configuration with those of its programs before that are still used."""
    new, old = _parsed(content), _parsed(before)
    (group,) = (name for name in new.sections() if name.startswith("group:"))
    for program in used:
        section = f"program:{program}"
        if section in old and section not in new:
            new[section] = old[section]
            new[group]["programs"] += f",{program}"
    text = io.StringIO()
    new.write(text)
    return text.getvalue().encode()


def _parsed(content: bytes) -> configparser.RawConfigParser:
    found = configparser.RawConfigParser(strict=False)
    with suppress(configparser.Error):
        found.read_string(content.decode(errors="replace"))
    return found


def last_exit(log: str, unit: str) -> int:
    """Return the last exit code of a program in a log of Supervisor's; 0 where there is none."""
    codes = [
        int(code) if code else 128 + signal.Signals.__members__.get(name, signal.SIGKILL)
        for program, code, name in _ENDED.findall(log)
        if program == unit
    ]
    return next((code for code in reversed(codes) if code != GIVEN_UP), 0)
