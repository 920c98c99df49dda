"""The deployment's settings: environment variables, and secrets read from files."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from moorage.application.environment import ConfigurationError, number, read_secret

# Redis' logical databases: what waits for a worker, who is signed in, what may be forgotten.
BROKER, SESSIONS, CACHE = range(3)


@dataclass(frozen=True)
class Config:
    """What the deployment decides. Passwords are not in its text form, which ends up in logs."""

    database_host: str
    database_port: int
    database_name: str
    database_user: str
    database_password: str = field(repr=False)
    redis_host: str
    redis_port: int
    redis_password: str = field(repr=False)
    data: Path
    version: str = ""
    database_pool: int = 12
    # Empty: no mail is sent.
    smtp_host: str = ""
    smtp_port: int = 25
    smtp_user: str = ""
    smtp_password: str = field(default="", repr=False)
    smtp_starttls: bool = False
    mail_from: str = "taifish@localhost"
    admin_mail: str = ""
    # What links in mail begin with.
    site_url: str = ""
    job_attempts: int = 5
    job_retry_seconds: int = 30

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Config":
        """Read it; raises ConfigurationError."""
        env = os.environ if environ is None else environ
        return cls(
            database_host=env.get("DATABASE_HOST", "127.0.0.1"),
            database_port=number(env, "DATABASE_PORT", 5432),
            database_name=env.get("DATABASE_NAME", "taifish"),
            database_user=env.get("DATABASE_USER", "taifish"),
            database_password=read_secret(env, "DATABASE_PASSWORD"),
            database_pool=number(env, "DATABASE_POOL", cls.database_pool),
            redis_host=env.get("REDIS_HOST", "127.0.0.1"),
            redis_port=number(env, "REDIS_PORT", 6379),
            redis_password=read_secret(env, "REDIS_PASSWORD"),
            data=Path(env.get("DATA_DIR", "/data")),
            version=env.get("VERSION", ""),
            smtp_host=env.get("SMTP_HOST", ""),
            smtp_port=number(env, "SMTP_PORT", cls.smtp_port),
            smtp_user=env.get("SMTP_USER", ""),
            smtp_password=read_secret(env, "SMTP_PASSWORD", ""),
            smtp_starttls=env.get("SMTP_STARTTLS", "0") == "1",
            mail_from=env.get("MAIL_FROM", "") or cls.mail_from,
            admin_mail=env.get("ADMIN_MAIL", ""),
            site_url=env.get("SITE_URL", "").rstrip("/"),
            job_attempts=number(env, "JOB_ATTEMPTS", cls.job_attempts),
            job_retry_seconds=number(env, "JOB_RETRY_SECONDS", cls.job_retry_seconds),
        )

    def redis_url(self, number: int) -> str:
        """Return the address of one of Redis' databases, with the password in it."""
        secret = quote(self.redis_password, safe="")
        return f"redis://:{secret}@{self.redis_host}:{self.redis_port}/{number}"


@dataclass(frozen=True)
class WebConfig:
    """What only the pages need."""

    session_key: str = field(repr=False)
    cookie_secure: bool = False
    trusted_proxies: int = 0
    # Whose word counts; empty: this machine's, and that of the gateway of the container's network.
    proxy_networks: str = ""
    login_limit: int = 5
    login_window: int = 900
    signup_limit: int = 20
    post_limit: int = 60

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
            signup_limit=number(env, "SIGNUP_LIMIT", cls.signup_limit),
            post_limit=number(env, "POST_LIMIT", cls.post_limit),
        )
