"""What the scraper takes from its environment; everything else is a setting in the database."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tg2em_core.environment import ConfigurationError

from tg2em_scraper.heartbeat import DEFAULT_DATA_DIR, data_dir


@dataclass(frozen=True, slots=True)
class Config:
    """`data_dir` holds the Telegram session and the heartbeat; `page_delay` is in seconds."""

    data_dir: Path = DEFAULT_DATA_DIR
    page_delay: float = 1.0

    @property
    def session_file(self) -> Path:
        """Telethon's session: as good as the account."""
        return self.data_dir / "telethon.session"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Read SCRAPER_DATA and SCRAPER_PAGE_DELAY. Raises ConfigurationError."""
        env = os.environ if environ is None else environ
        delay = env.get("SCRAPER_PAGE_DELAY", "") or "1"
        try:
            seconds = float(delay)
        except ValueError as error:
            raise ConfigurationError(f"SCRAPER_PAGE_DELAY: {delay!r} is no number") from error
        if not 0 <= seconds <= 60:
            raise ConfigurationError(f"SCRAPER_PAGE_DELAY: {delay} is not between 0 and 60 seconds")
        return cls(data_dir(env), seconds)
