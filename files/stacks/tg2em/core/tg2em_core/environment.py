"""The deployment's settings: environment variables, and secrets read from files."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL


class ConfigurationError(Exception):
    """The environment lacks something that the service cannot do without."""


def read_secret(environ: Mapping[str, str], name: str, default: str | None = None) -> str:
    """Return the secret NAME from the file that NAME_FILE points to, else from NAME itself.

    Raises ConfigurationError when neither is there and no default is given.
    """
    path = environ.get(f"{name}_FILE")
    if path:
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            if default is not None and isinstance(error, FileNotFoundError):
                return default
            raise ConfigurationError(
                f"{name}_FILE: cannot read {path}: {error.strerror}"
            ) from error
    value = environ.get(name, default)
    if value is None:
        raise ConfigurationError(f"set {name}_FILE to the path of a file that holds {name}")
    return value


@dataclass(frozen=True)
class DatabaseConfig:
    """Where the database is and who we are there."""

    host: str
    port: int
    name: str
    user: str
    # Not in its text form: that ends up in tracebacks and logs.
    password: str = field(repr=False)
    pool_size: int = 5

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "DatabaseConfig":
        """Read DATABASE_HOST, _PORT, _NAME, _USER, _PASSWORD_FILE and _POOL_SIZE."""
        env = os.environ if environ is None else environ
        return cls(
            host=env.get("DATABASE_HOST", "127.0.0.1"),
            port=_integer(env, "DATABASE_PORT", 3306),
            name=env.get("DATABASE_NAME", "tg2em"),
            user=env.get("DATABASE_USER", "tg2em"),
            password=read_secret(env, "DATABASE_PASSWORD"),
            pool_size=_integer(env, "DATABASE_POOL_SIZE", 5),
        )

    @property
    def url(self) -> URL:
        """The SQLAlchemy URL; its string form masks the password."""
        return URL.create(
            "mysql+pymysql",
            username=self.user,
            password=self.password,
            host=self.host,
            port=self.port,
            database=self.name,
            query={"charset": "utf8mb4"},
        )


def _integer(env: Mapping[str, str], name: str, default: int) -> int:
    value = env.get(name, "")
    if not value:
        return default
    try:
        return int(value)
    except ValueError as error:
        raise ConfigurationError(f"{name} must be a whole number, not {value!r}") from error
