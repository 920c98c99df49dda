"""The tables. Times are UTC throughout; a deleted article stays, with `deleted_at` set."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Dialect, ForeignKey, Index, MetaData, String, Text
from sqlalchemy import Enum as SqlEnum
from sqlalchemy.dialects.mysql import DATETIME, MEDIUMTEXT
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

TITLE_LENGTH = 24
TAG_LENGTH = 64


def utcnow() -> datetime:
    """Return the present time, aware, in UTC."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in Python, a DATETIME(6) in UTC in the database."""

    impl = DATETIME(fsp=6)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time, store the others in UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone cannot be stored: {value!r}")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Give the stored time its zone back."""
        return value.replace(tzinfo=UTC) if isinstance(value, datetime) else None


class Category(StrEnum):
    """Which cloud drive an article's link leads to."""

    QUARK = "quark"
    ALIYUN = "aliyun"
    BAIDU = "baidu"
    MOBILE = "mobile"
    OTHER = "other"


class Source(StrEnum):
    """How a channel is read."""

    PREVIEW = "preview"
    ACCOUNT = "account"
    EXPORT = "export"


class Outcome(StrEnum):
    """What became of a message that the scraper has seen."""

    ARTICLE = "article"
    IGNORED = "ignored"
    FAILED = "failed"


class SignInState(StrEnum):
    """Where the sign-in to Telegram stands; see TelegramSignIn."""

    SIGNED_OUT = "signed_out"
    REQUESTED = "requested"
    CODE_NEEDED = "code_needed"
    CODE_GIVEN = "code_given"
    PASSWORD_NEEDED = "password_needed"  # noqa: S105 - a state
    PASSWORD_GIVEN = "password_given"  # noqa: S105 - a state
    SIGNED_IN = "signed_in"
    FAILED = "failed"


def _enum(kind: type[StrEnum]) -> SqlEnum:
    # A plain VARCHAR: adding a member then needs no ALTER TABLE.
    return SqlEnum(
        kind, native_enum=False, length=24, values_callable=lambda k: [m.value for m in k]
    )


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can refer to it."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcDateTime()}


_TABLE = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_unicode_ci",
}


class Channel(Base):
    """A Telegram channel that is read, and how far it has been read."""

    __tablename__ = "channels"
    __table_args__ = (_TABLE,)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    title: Mapped[str] = mapped_column(String(255), default="")
    source: Mapped[Source] = mapped_column(_enum(Source), default=Source.PREVIEW)
    enabled: Mapped[bool] = mapped_column(default=True)
    newest_message_id: Mapped[int] = mapped_column(BigInteger, default=0)
    oldest_message_id: Mapped[int] = mapped_column(BigInteger, default=0)
    backfilled: Mapped[bool] = mapped_column(default=False)
    last_checked_at: Mapped[datetime | None]
    last_error: Mapped[str] = mapped_column(String(500), default="")
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(default=utcnow, onupdate=utcnow)


class Message(Base):
    """A channel's message as it was read; never purged, so that nothing comes twice."""

    __tablename__ = "messages"
    __table_args__ = (
        Index("uq_messages_channel_id_message_id", "channel_id", "message_id", unique=True),
        _TABLE,
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    channel_id: Mapped[int] = mapped_column(ForeignKey("channels.id"))
    message_id: Mapped[int] = mapped_column(BigInteger)
    text: Mapped[str] = mapped_column(MEDIUMTEXT, default="")
    # SHA-256 of what the article is made from: an equal digest means that nothing was edited.
    digest: Mapped[str] = mapped_column(String(64), default="")
    picture_urls: Mapped[list[str]] = mapped_column(JSON, default=list)
    views: Mapped[int] = mapped_column(default=0)
    posted_at: Mapped[datetime | None]
    edited_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(default=utcnow, onupdate=utcnow)


class ProcessedMessage(Base):
    """The ledger of message ids: what became of each, also of those without an article."""

    __tablename__ = "processed_messages"
    __table_args__ = (_TABLE,)

    channel_id: Mapped[int] = mapped_column(ForeignKey("channels.id"), primary_key=True)
    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    outcome: Mapped[Outcome] = mapped_column(_enum(Outcome), default=Outcome.ARTICLE)
    attempts: Mapped[int] = mapped_column(default=1)
    error: Mapped[str] = mapped_column(String(500), default="")
    processed_at: Mapped[datetime] = mapped_column(default=utcnow)


class ArticleTag(Base):
    """Which article carries which tag; read from the tag's side by the tag pages."""

    __tablename__ = "article_tags"
    __table_args__ = (Index("ix_article_tags_tag_id_article_id", "tag_id", "article_id"), _TABLE)

    article_id: Mapped[int] = mapped_column(
        ForeignKey("articles.id", ondelete="CASCADE"), primary_key=True
    )
    tag_id: Mapped[int] = mapped_column(ForeignKey("tags.id"), primary_key=True)


class Tag(Base):
    """A tag, without its #; compared exactly, as `C` and `c` may be two things."""

    __tablename__ = "tags"
    __table_args__ = (_TABLE,)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(TAG_LENGTH, collation="utf8mb4_bin"), unique=True)


class Article(Base):
    """What visitors read: one message's resource, its picture, and its tags."""

    __tablename__ = "articles"
    __table_args__ = (
        Index("uq_articles_channel_id_message_id", "channel_id", "message_id", unique=True),
        # Each list is `deleted_at IS NULL`, perhaps one category, newest first.
        Index("ix_articles_deleted_at_posted_at_id", "deleted_at", "posted_at", "id"),
        Index(
            "ix_articles_deleted_at_category_posted_at_id",
            "deleted_at",
            "category",
            "posted_at",
            "id",
        ),
        _TABLE,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    channel_id: Mapped[int] = mapped_column(ForeignKey("channels.id"))
    message_id: Mapped[int] = mapped_column(BigInteger)
    title: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(500), default="")
    description: Mapped[str] = mapped_column(Text, default="")
    link: Mapped[str] = mapped_column(String(2048), default="")
    size: Mapped[str] = mapped_column(String(64), default="")
    category: Mapped[Category] = mapped_column(_enum(Category), default=Category.OTHER)
    # A path on the image service (`/d/ID`) or an absolute URL; empty while there is no picture.
    image: Mapped[str] = mapped_column(String(1024), default="")
    views: Mapped[int] = mapped_column(default=0)
    posted_at: Mapped[datetime] = mapped_column(default=utcnow)
    # Set when an administrator edited it: the scraper then leaves its words alone.
    locked: Mapped[bool] = mapped_column(default=False)
    # Kept by tg2em_core.search before each flush; see there.
    search_text: Mapped[str] = mapped_column(MEDIUMTEXT, default="")
    search_grams: Mapped[str] = mapped_column(MEDIUMTEXT, default="")
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(default=utcnow, onupdate=utcnow)
    deleted_at: Mapped[datetime | None]

    channel: Mapped[Channel] = relationship(lazy="raise_on_sql")
    tags: Mapped[list[Tag]] = relationship(secondary="article_tags", order_by="Tag.id")


class PictureRetry(Base):
    """A picture that could not be fetched or uploaded yet, and when to try again."""

    __tablename__ = "picture_retries"
    __table_args__ = (_TABLE,)

    article_id: Mapped[int] = mapped_column(
        ForeignKey("articles.id", ondelete="CASCADE"), primary_key=True
    )
    # A URL, or a path for what an export folder held.
    source: Mapped[str] = mapped_column(String(2048))
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime] = mapped_column(default=utcnow, index=True)
    last_error: Mapped[str] = mapped_column(String(500), default="")


class Setting(Base):
    """One setting that an administrator changed; tg2em_core.options gives it its type."""

    __tablename__ = "settings"
    __table_args__ = (_TABLE,)

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[Any] = mapped_column(JSON)
    updated_at: Mapped[datetime] = mapped_column(default=utcnow, onupdate=utcnow)


class AdminUser(Base):
    """Someone who may sign in at /dm."""

    __tablename__ = "admin_users"
    __table_args__ = (_TABLE,)

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    # Raised with each new password: sessions that carry an older number are over.
    session_epoch: Mapped[int] = mapped_column(default=0)
    last_login_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(default=utcnow, onupdate=utcnow)


class LoginAttempt(Base):
    """A failed sign-in: kept in the database so that all workers count together."""

    __tablename__ = "login_attempts"
    __table_args__ = (Index("ix_login_attempts_bucket_at", "bucket", "at"), _TABLE)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    bucket: Mapped[str] = mapped_column(String(96))
    at: Mapped[datetime] = mapped_column(default=utcnow, index=True)


class TelegramSignIn(Base):
    """The dialogue between the admin page and the scraper about one Telegram account.

    One row (id 1). The admin page writes api_id, api_hash and phone with REQUESTED; the scraper
    answers CODE_NEEDED; the page writes the code with CODE_GIVEN; the scraper answers SIGNED_IN,
    PASSWORD_NEEDED (two-step verification) or FAILED with the reason. The scraper empties `code`
    and `password` as soon as it has read them.
    """

    __tablename__ = "telegram_sign_in"
    __table_args__ = (_TABLE,)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=1)
    state: Mapped[SignInState] = mapped_column(_enum(SignInState), default=SignInState.SIGNED_OUT)
    api_id: Mapped[int] = mapped_column(default=0)
    api_hash: Mapped[str] = mapped_column(String(64), default="")
    phone: Mapped[str] = mapped_column(String(32), default="")
    phone_code_hash: Mapped[str] = mapped_column(String(128), default="")
    code: Mapped[str] = mapped_column(String(16), default="")
    password: Mapped[str] = mapped_column(String(255), default="")
    account: Mapped[str] = mapped_column(String(128), default="")
    error: Mapped[str] = mapped_column(String(500), default="")
    updated_at: Mapped[datetime] = mapped_column(default=utcnow, onupdate=utcnow)
