"""Who has called the command, and what it returns to him."""

from __future__ import annotations

import os
import pwd

OK, FAILED = 0, 1


def who() -> str:
    """Return who asks: sudo tells who is behind root, and a trail of "root" helps nobody."""
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
