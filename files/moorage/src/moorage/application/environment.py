"""What is read from the environment: whole numbers, and secrets from the files that it names."""

from collections.abc import Mapping
from pathlib import Path


class ConfigurationError(Exception):
    """The environment lacks something that the service cannot do without."""


def read_secret(env: Mapping[str, str], name: str, default: str | None = None) -> str:
    """Return what the file holds that NAME_FILE points to, without the end of its line.

    Raises ConfigurationError when there is none and no default is given, and when it is no text.
    """
    path = env.get(f"{name}_FILE", "")
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n") if path else _given(default)
    except FileNotFoundError:
        if default is not None:
            return default
        raise ConfigurationError(f"{name}_FILE: there is no file {path}") from None
    except (OSError, LookupError, UnicodeDecodeError) as error:
        why = f"cannot read {path!r} ({error}); name a file that holds the secret"
        raise ConfigurationError(f"{name}_FILE: {why}") from error


def _given(default: str | None) -> str:
    if default is None:
        raise LookupError("not set")
    return default


def number(env: Mapping[str, str], name: str, default: int) -> int:
    """Return a whole number of a variable; raises ConfigurationError."""
    value = env.get(name, "") or str(default)
    if not value.isascii() or not value.isdigit():
        raise ConfigurationError(f"{name} must be a whole number, not {value!r}")
    return int(value)
