"""Forget all failed sign-ins, where the site runs: `python3 -m tg2em_frontend.forget_attempts`."""

import os

from sqlalchemy import delete
from tg2em_core.db import make_engine, make_sessions, transaction
from tg2em_core.environment import DatabaseConfig
from tg2em_core.models import LoginAttempt

if __name__ == "__main__":
    config = DatabaseConfig.from_environment(os.environ)
    with transaction(make_sessions(make_engine(config, pool_size=1))) as session:
        session.execute(delete(LoginAttempt))
    print("all failed sign-ins are forgotten")
