"""The front end's own settings, read once from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from tg2em_core.environment import ConfigurationError, DatabaseConfig, read_secret


@dataclass(frozen=True)
class FrontendConfig:
    """What the deployment decides; what an administrator decides is in tg2em_core.options."""

    database: DatabaseConfig
    session_key: str = field(repr=False)
    control_socket: str = "/run/supervisor/control.sock"
    # The supervisor's name for this very service: the panel answers before it restarts it.
    own_service: str = "frontend"
    cookie_secure: bool = False
    trusted_proxies: int = 0
    # Whose word counts; empty: this machine's, and that of the gateway of the container's network.
    proxy_networks: str = ""
    login_limit: int = 5
    login_window: int = 900

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "FrontendConfig":
        """Read it; raises ConfigurationError."""
        env = os.environ if environ is None else environ
        key = read_secret(env, "SESSION_KEY")
        if len(key) < 32:
            raise ConfigurationError("SESSION_KEY must have at least 32 characters")
        return cls(
            database=DatabaseConfig.from_environment(env),
            session_key=key,
            control_socket=env.get("MOORAGE_CONTROL_SOCKET", cls.control_socket),
            own_service=env.get("MOORAGE_SERVICE", cls.own_service),
            cookie_secure=env.get("SESSION_COOKIE_SECURE", "0") == "1",
            trusted_proxies=int(env.get("TRUSTED_PROXIES", "0")),
            proxy_networks=env.get("TRUSTED_PROXY_NETWORKS", ""),
            login_limit=int(env.get("LOGIN_LIMIT", "5")),
            login_window=int(env.get("LOGIN_WINDOW", "900")),
        )
