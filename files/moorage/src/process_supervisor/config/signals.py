"""Signals by name and by number."""

from __future__ import annotations

import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from process_supervisor.config.reader import Reader


def stop_signal(reader: Reader, key: str) -> str:
    """Read a signal as `TERM`, `SIGTERM` or 15 and return its name without SIG."""
    value = reader.raw(key)
    if value is None:
        return "TERM"
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return signal.Signals(value).name.removeprefix("SIG")
        return signal_named(str(value)).name.removeprefix("SIG")
    except ValueError:
        reader.fail(key, f"is not a signal: {value!r}")
        return "TERM"


def signal_named(name: str) -> signal.Signals:
    """Return the signal called name (`TERM`, `sigterm` or `15`), ValueError if there is none."""
    if name.isdigit():
        return signal.Signals(int(name))
    try:
        return signal.Signals["SIG" + name.upper().removeprefix("SIG")]
    except KeyError as error:
        raise ValueError(f"no such signal: {name}") from error
