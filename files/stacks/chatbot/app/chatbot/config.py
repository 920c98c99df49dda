"""The deployment's settings: environment variables, and secrets read from files."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from moorage.application.environment import ConfigurationError, number, read_secret


@dataclass(frozen=True)
class Config:
    """What the deployment decides. Passwords are not in its text form, which ends up in logs."""

    # Empty: SQLite, in `database_file`.
    database_host: str
    database_file: Path
    database_port: int = 5432
    database_name: str = "chatbot"
    database_user: str = "chatbot"
    database_password: str = field(default="", repr=False)
    database_pool: int = 2
    version: str = ""
    job_attempts: int = 5
    job_retry_seconds: int = 30
    # No job takes longer; compose.yml's stop_grace_period does.
    job_seconds: int = 60
    # From taking a job to holding its row: after that, its worker counts as lost.
    lease_seconds: int = 10
    retention_days: int = 90

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Config":
        """Read it; raises ConfigurationError."""
        env = os.environ if environ is None else environ
        host = env.get("DATABASE_HOST", "")
        data = Path(env.get("DATA_DIR", "") or "data").absolute()
        return cls(
            database_host=host,
            database_file=Path(env.get("DATABASE_FILE", "") or data / "chatbot.sqlite3"),
            database_port=number(env, "DATABASE_PORT", cls.database_port),
            database_name=env.get("DATABASE_NAME", "") or cls.database_name,
            database_user=env.get("DATABASE_USER", "") or cls.database_user,
            database_password=read_secret(env, "DATABASE_PASSWORD") if host else "",
            database_pool=number(env, "DATABASE_POOL", cls.database_pool),
            version=env.get("VERSION", ""),
            job_attempts=number(env, "JOB_ATTEMPTS", cls.job_attempts),
            job_retry_seconds=number(env, "JOB_RETRY_SECONDS", cls.job_retry_seconds),
            job_seconds=number(env, "JOB_SECONDS", cls.job_seconds),
            lease_seconds=number(env, "LEASE_SECONDS", cls.lease_seconds),
            retention_days=number(env, "RETENTION_DAYS", cls.retention_days),
        )


@dataclass(frozen=True)
class WebConfig:
    """What only the server needs."""

    session_key: str = field(repr=False)
    cookie_secure: bool = False
    trusted_proxies: int = 0
    # Whose word counts; empty: this machine's, and that of the gateway of the container's network.
    proxy_networks: str = ""
    login_limit: int = 5
    login_window: int = 900
    # Of one address: conversations within an hour, questions within a minute.
    conversation_limit: int = 20
    question_limit: int = 20
    stream_seconds: int = 20
    stats_socket: str = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "WebConfig":
        """Read it; raises ConfigurationError."""
        env = os.environ if environ is None else environ
        key = read_secret(env, "SESSION_KEY")
        if len(key) < 32:
            raise ConfigurationError("SESSION_KEY must have at least 32 characters")
        return cls(
            session_key=key,
            cookie_secure=env.get("SESSION_COOKIE_SECURE", "0") == "1",
            trusted_proxies=number(env, "TRUSTED_PROXIES", 0),
            proxy_networks=env.get("TRUSTED_PROXY_NETWORKS", ""),
            login_limit=number(env, "LOGIN_LIMIT", cls.login_limit),
            login_window=number(env, "LOGIN_WINDOW", cls.login_window),
            conversation_limit=number(env, "CONVERSATION_LIMIT", cls.conversation_limit),
            question_limit=number(env, "QUESTION_LIMIT", cls.question_limit),
            stream_seconds=number(env, "STREAM_SECONDS", cls.stream_seconds),
            stats_socket=env.get("STATS_SOCKET", ""),
        )
