"""${message}."""

from alembic import op
import sqlalchemy as sa
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}
# "expand", "contract" or "one-way", and the oldest revision whose code still works with the tables
# after this one: docs/migrations.md. Nothing runs before both are declared.
kind = ""
oldest_code = ""


def upgrade() -> None:
    """Bring the tables forward."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Take them back."""
    ${downgrades if downgrades else "pass"}
