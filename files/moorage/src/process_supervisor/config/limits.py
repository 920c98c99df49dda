"""What a program gets from its parent besides files and a user: umask, nice value, limits."""

from __future__ import annotations

import re
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from process_supervisor.config.reader import Reader

# RLIMIT_LOCKS marks a process's family.
ULIMITS = (
    "as", "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nofile", "nproc", "rss",
    "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip
UNLIMITED = -1
MOST = 1 << 62


def read_umask(reader: Reader) -> str | None:
    """Read octal digits such as `0027`."""
    value = reader.raw("umask")
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value):
        reader.fail("umask", f"must be octal digits in quotes like '0027', not {value!r}")
        return None
    return value


def read_nice(reader: Reader) -> int | None:
    """Read a nice value, from -20 (most of the CPU) to 19."""
    value = reader.raw("nice")
    if value is None:
        return None
    if type(value) is not int or not -20 <= value <= 19:
        reader.fail("nice", f"must be a whole number from -20 to 19, not {value!r}")
        return None
    return value


def read_ulimits(reader: Reader) -> dict[str, dict[str, int]]:
    """Read limits as Compose has them: a number, or `soft` and `hard`; -1 is unlimited."""
    value = reader.raw("ulimits")
    if value is None:
        return {}
    if not isinstance(value, dict):
        reader.fail("ulimits", f"must be a mapping like {{'nofile': 4096}}, not {value!r}")
        return {}
    found: dict[str, dict[str, int]] = {}
    for name, limit in value.items():
        both = limit if isinstance(limit, dict) else {"soft": limit, "hard": limit}
        numbers = [both.get("soft"), both.get("hard")]
        if name not in ULIMITS:
            reader.fail(f"ulimits.{name}", f"is not one of {', '.join(ULIMITS)}")
        elif both.keys() != {"soft", "hard"} or not all(map(is_limit, numbers)):
            what = "must be a number (-1: unlimited), or a mapping with soft and hard"
            reader.fail(f"ulimits.{name}", f"{what}, not {limit!r}")
        elif above(both["soft"], both["hard"]):
            reader.fail(f"ulimits.{name}", f"soft {both['soft']} is more than hard {both['hard']}")
        else:
            found[name] = {"soft": both["soft"], "hard": both["hard"]}
    return found


def is_limit(value: object) -> bool:
    """Whether a value is a number that the kernel takes as a limit."""
    return type(value) is int and UNLIMITED <= value < MOST


def above(first: int, second: int) -> bool:
    """Whether one limit is more than another one."""
    return second != UNLIMITED and (first == UNLIMITED or first > second)


def number_of(name: str) -> int:
    """Return the kernel's number of a limit."""
    found: int = getattr(resource, f"RLIMIT_{name.upper()}")
    return found
