"""Make the tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
kind = "expand"
oldest_code = "0001"

TIME = mysql.DATETIME(fsp=6)
TABLE: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_unicode_ci",
}
TABLES = (
    "picture_retries",
    "article_tags",
    "tags",
    "articles",
    "processed_messages",
    "messages",
    "channels",
    "telegram_sign_in",
    "settings",
    "login_attempts",
    "admin_users",
)


def upgrade() -> None:
    """Bring the tables forward."""
    _administration()
    _channels()
    _articles()
    _tags()
    _full_text()


def _administration() -> None:
    op.create_table(
        "admin_users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=False),
        sa.Column("session_epoch", sa.Integer(), nullable=False),
        sa.Column("last_login_at", TIME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_admin_users"),
        sa.UniqueConstraint("username", name="uq_admin_users_username"),
        **TABLE,
    )

    op.create_table(
        "login_attempts",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("bucket", sa.String(length=96), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_login_attempts"),
        **TABLE,
    )
    op.create_index("ix_login_attempts_at", "login_attempts", ["at"])
    op.create_index("ix_login_attempts_bucket_at", "login_attempts", ["bucket", "at"])

    op.create_table(
        "settings",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
        **TABLE,
    )

    op.create_table(
        "telegram_sign_in",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("api_id", sa.Integer(), nullable=False),
        sa.Column("api_hash", sa.String(length=64), nullable=False),
        sa.Column("phone", sa.String(length=32), nullable=False),
        sa.Column("phone_code_hash", sa.String(length=128), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("password", sa.String(length=255), nullable=False),
        sa.Column("account", sa.String(length=128), nullable=False),
        sa.Column("error", sa.String(length=500), nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_telegram_sign_in"),
        **TABLE,
    )


def _channels() -> None:
    op.create_table(
        "channels",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=255), nullable=False),
        sa.Column("source", sa.String(length=24), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("newest_message_id", sa.BigInteger(), nullable=False),
        sa.Column("oldest_message_id", sa.BigInteger(), nullable=False),
        sa.Column("backfilled", sa.Boolean(), nullable=False),
        sa.Column("last_checked_at", TIME, nullable=True),
        sa.Column("last_error", sa.String(length=500), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_channels"),
        sa.UniqueConstraint("name", name="uq_channels_name"),
        **TABLE,
    )

    op.create_table(
        "messages",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("channel_id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("text", mysql.MEDIUMTEXT(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("picture_urls", sa.JSON(), nullable=False),
        sa.Column("views", sa.Integer(), nullable=False),
        sa.Column("posted_at", TIME, nullable=True),
        sa.Column("edited_at", TIME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name="fk_messages_channel_id"),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        **TABLE,
    )
    op.create_index(
        "uq_messages_channel_id_message_id", "messages", ["channel_id", "message_id"], unique=True
    )

    op.create_table(
        "processed_messages",
        sa.Column("channel_id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("outcome", sa.String(length=24), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(length=500), nullable=False),
        sa.Column("processed_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channels.id"], name="fk_processed_messages_channel_id"
        ),
        sa.PrimaryKeyConstraint("channel_id", "message_id", name="pk_processed_messages"),
        **TABLE,
    )


def _articles() -> None:
    op.create_table(
        "articles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("channel_id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("link", sa.String(length=2048), nullable=False),
        sa.Column("size", sa.String(length=64), nullable=False),
        sa.Column("category", sa.String(length=24), nullable=False),
        sa.Column("image", sa.String(length=1024), nullable=False),
        sa.Column("views", sa.Integer(), nullable=False),
        sa.Column("posted_at", TIME, nullable=False),
        sa.Column("locked", sa.Boolean(), nullable=False),
        sa.Column("search_text", mysql.MEDIUMTEXT(), nullable=False),
        sa.Column("search_grams", mysql.MEDIUMTEXT(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("deleted_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name="fk_articles_channel_id"),
        sa.PrimaryKeyConstraint("id", name="pk_articles"),
        **TABLE,
    )
    op.create_index(
        "ix_articles_deleted_at_category_posted_at_id",
        "articles",
        ["deleted_at", "category", "posted_at", "id"],
    )
    op.create_index(
        "ix_articles_deleted_at_posted_at_id", "articles", ["deleted_at", "posted_at", "id"]
    )
    op.create_index(
        "uq_articles_channel_id_message_id", "articles", ["channel_id", "message_id"], unique=True
    )


def _tags() -> None:
    op.create_table(
        "tags",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64, collation="utf8mb4_bin"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tags"),
        sa.UniqueConstraint("name", name="uq_tags_name"),
        **TABLE,
    )

    op.create_table(
        "article_tags",
        sa.Column("article_id", sa.Integer(), nullable=False),
        sa.Column("tag_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["article_id"], ["articles.id"], name="fk_article_tags_article_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tag_id"], ["tags.id"], name="fk_article_tags_tag_id"),
        sa.PrimaryKeyConstraint("article_id", "tag_id", name="pk_article_tags"),
        **TABLE,
    )
    op.create_index("ix_article_tags_tag_id_article_id", "article_tags", ["tag_id", "article_id"])

    op.create_table(
        "picture_retries",
        sa.Column("article_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=2048), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", TIME, nullable=False),
        sa.Column("last_error", sa.String(length=500), nullable=False),
        sa.ForeignKeyConstraint(
            ["article_id"],
            ["articles.id"],
            name="fk_picture_retries_article_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("article_id", name="pk_picture_retries"),
        **TABLE,
    )
    op.create_index("ix_picture_retries_next_attempt_at", "picture_retries", ["next_attempt_at"])


def _full_text() -> None:
    # The ngram parser splits Chinese text; MariaDB has none and gets an index of ready-made pieces.
    parser = sa.text(
        "SELECT 1 FROM information_schema.plugins"
        " WHERE plugin_name = 'ngram' AND plugin_status = 'ACTIVE'"
    )
    if op.get_bind().execute(parser).first():
        op.execute(
            "CREATE FULLTEXT INDEX ft_articles_search_text ON articles (search_text)"
            " WITH PARSER ngram"
        )
    else:
        op.execute("CREATE FULLTEXT INDEX ft_articles_search_grams ON articles (search_grams)")


def downgrade() -> None:
    """Take them back."""
    for table in TABLES:
        op.drop_table(table)
