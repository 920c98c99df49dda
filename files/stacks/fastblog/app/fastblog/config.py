"""The site's settings: environment variables, and secrets read from files."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from moorage.application.environment import ConfigurationError, number, read_secret


@dataclass(frozen=True)
class Config:
    """What the deployment decides. Secrets are not in its text form, which ends up in logs."""

    data: Path
    # Holds the one password of ADMIN_USERNAME, and is no other user's to read.
    password_file: Path
    session_key: str = field(repr=False)
    # With it programs use /api/ as the administrator does; empty: nobody may.
    api_token: str = field(default="", repr=False)
    admin: str = "admin"
    # How the site is reached, such as https://blog.example.com; empty: as the request came.
    site_url: str = ""
    control: str = ""
    trusted_proxies: int = 0
    proxy_networks: str = ""
    login_limit: int = 5
    comment_limit: int = 5

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Config":
        """Read it; raises ConfigurationError."""
        env = os.environ if environ is None else environ
        key = read_secret(env, "SESSION_KEY")
        if len(key) < 32:
            raise ConfigurationError("SESSION_KEY must have at least 32 characters")
        return cls(
            data=Path(env.get("DATA_DIR", "") or "data").absolute(),
            password_file=Path(env.get("ADMIN_PASSWORD_FILE", "")),
            session_key=key,
            api_token=read_secret(env, "API_TOKEN", ""),
            admin=env.get("ADMIN_USERNAME", "") or cls.admin,
            site_url=env.get("SITE_URL", "").rstrip("/"),
            # A supervisor tells its children where it listens.
            control=env.get("MOORAGE_CONTROL_SOCKET", "")
            or env.get("PROCESS_SUPERVISOR_SOCKET", ""),
            trusted_proxies=number(env, "TRUSTED_PROXIES", 0),
            proxy_networks=env.get("TRUSTED_PROXY_NETWORKS", ""),
            login_limit=number(env, "LOGIN_LIMIT", cls.login_limit),
            comment_limit=number(env, "COMMENT_LIMIT", cls.comment_limit),
        )
