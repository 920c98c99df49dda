"""Alembic's entry: runs on the connection that tg2em_core.migrate holds its lock with."""

from alembic import context
from sqlalchemy import Connection
from tg2em_core import schema
from tg2em_core.db import make_engine
from tg2em_core.environment import DatabaseConfig
from tg2em_core.models import Base


def _ours(_item: object, name: str | None, kind: str, _reflected: bool, _to: object) -> bool:
    # Which full-text index there is depends on the server, so the models declare neither; the
    # migrator's own table is none of theirs.
    full_text = kind == "index" and (name or "").startswith("ft_")
    return not full_text and not (kind == "table" and name == schema.TABLE)


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=_ours,
        on_version_apply=context.config.attributes.get("on_version_apply", ()),
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    # `alembic revision --autogenerate` by a developer.
    with make_engine(DatabaseConfig.from_environment(), pool_size=1).connect() as fresh:
        _run(fresh)
