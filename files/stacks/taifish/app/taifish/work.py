"""What jobs do. Each works in the transaction that also ends its job."""

import csv
import io
import secrets
import time
from collections.abc import Mapping
from datetime import date
from typing import Any

from taifish import db, files, mail, pictures
from taifish.config import Config
from taifish.sessions import Sessions

_EXPORT_DAYS = 7
_JOB_DAYS = 7
# For so long a file that no row names stays: the database may be one of an older backup just now.
_UNNAMED_DAYS = 30
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

_COLUMNS = ("id", "author", "title", "body", "picture", "comments")

Payload = Mapping[str, Any]


def cell(value: object) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def tally(connection: db.Connection, _config: Config, _payload: Payload) -> None:
    """Count one, in about ten milliseconds, or in `seconds`."""
    time.sleep(float(_payload.get("seconds", 0.01)))
    connection.execute("UPDATE counters SET value = value + 1 WHERE name = 'tally'")


def thumbnail(connection: db.Connection, config: Config, payload: Payload) -> None:
    """Make the small picture of a post."""
    row = connection.execute(
        "SELECT picture FROM posts WHERE id = %s", [payload["post"]]
    ).fetchone()
    if row is None or not row["picture"]:
        return
    small = pictures.thumbnail((config.data / "uploads" / row["picture"]).read_bytes())
    name = f"{row['picture'].partition('.')[0]}.webp"
    files.replace(config.data / "thumbs" / name, small)
    connection.execute("UPDATE posts SET thumb = %s WHERE id = %s", [name, payload["post"]])


def notification(connection: db.Connection, config: Config, payload: Payload) -> None:
    """Tell a post's author of a comment, once: by a row, and by mail when there is an address.

    Mail goes out before the commit: a worker killed between the two sends it twice, never not at
    all. Both have the same Message-ID, by which mail programs know them for one.
    """
    row = connection.execute(
        "SELECT c.id, p.id AS post, p.title, p.user_id, c.user_id AS from_id, u.email,"
        " w.shown AS writer FROM comments c JOIN posts p ON p.id = c.post_id"
        " JOIN users u ON u.id = p.user_id JOIN users w ON w.id = c.user_id WHERE c.id = %s",
        [payload["comment"]],
    ).fetchone()
    if row is None or row["user_id"] == row["from_id"]:
        return
    mailed = bool(config.smtp_host and row["email"])
    added = connection.execute(
        "INSERT INTO notifications (comment_id, user_id, mailed) VALUES (%s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        [row["id"], row["user_id"], mailed],
    ).rowcount
    if added and mailed:
        mail.send(
            config,
            to=row["email"],
            subject=f"新评论 · New comment: {row['title']}",
            text=f"{row['writer']} → {row['title']}\n\n{config.site_url}/p/{row['post']}\n",
            unique=f"comment-{row['id']}",
        )


def export(connection: db.Connection, config: Config, payload: Payload) -> None:
    """Write a board's posts as CSV, with a mark by which spreadsheets know UTF-8."""
    row = connection.execute("SELECT * FROM exports WHERE id = %s", [payload["export"]]).fetchone()
    if row is None:
        return
    count = 0
    # Row by row, by the server's cursor: a board may be larger than our memory.
    with (
        files.writing(config.data / "exports" / f"{row['id']}.csv") as file,
        connection.cursor(name="export") as cursor,
    ):
        text = io.TextIOWrapper(file, "utf-8-sig", newline="")
        writer = csv.writer(text)
        writer.writerow([*_COLUMNS, "created_at"])
        cursor.execute(
            "SELECT p.id, u.shown AS author, p.title, p.body, p.picture, p.created_at,"
            " (SELECT count(*) FROM comments c WHERE c.post_id = p.id) AS comments"
            " FROM posts p JOIN users u ON u.id = p.user_id WHERE p.board_id = %s ORDER BY p.id",
            [row["board_id"]],
        )
        for post in cursor:
            cells = [cell(post[name]) for name in _COLUMNS]
            writer.writerow([*cells, post["created_at"].isoformat()])
            count += 1
        text.detach()
    connection.execute("UPDATE exports SET rows = %s WHERE id = %s", [count, row["id"]])


def digest(connection: db.Connection, config: Config, payload: Payload) -> None:
    """Count what a day (UTC) has brought, and mail it to the administrator."""
    day = date.fromisoformat(payload["day"])
    counted = ", ".join(
        f"(SELECT count(*) FROM {table} WHERE created_at >= %(day)s::date"  # noqa: S608
        f" AND created_at < %(day)s::date + 1) AS {table}"
        for table in ("posts", "comments", "users")
    )
    row = connection.execute(f"SELECT {counted}".encode(), {"day": day}).fetchone()
    assert row is not None
    added = connection.execute(
        "INSERT INTO digests (day, posts, comments, users) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        [day, row["posts"], row["comments"], row["users"]],
    ).rowcount
    if added and config.smtp_host and config.admin_mail:
        text = "\n".join(f"{name}: {count}" for name, count in row.items())
        subject = f"泰摸鱼吧 · taifish {day}"
        mail.send(config, config.admin_mail, subject, f"{text}\n", f"digest-{day}")


def cleanup(connection: db.Connection, config: Config, _payload: Payload) -> None:
    """Delete what nobody needs any more: old exports, jobs that are done, files of no post."""
    gone = connection.execute(
        "DELETE FROM exports WHERE created_at < now() - %s * interval '1 day' RETURNING id",
        [_EXPORT_DAYS],
    ).fetchall()
    for row in gone:
        (config.data / "exports" / f"{row['id']}.csv").unlink(missing_ok=True)
    connection.execute(
        "DELETE FROM jobs WHERE state = 'done' AND ended_at < now() - %s * interval '1 day'",
        [_JOB_DAYS],
    )
    known = {row["picture"] for row in connection.execute("SELECT picture FROM posts")}
    for file in (config.data / "uploads").iterdir():
        # Empty, and as old as it is known that no row names the file.
        mark = config.data / "unnamed" / file.name
        if file.name in known:
            mark.unlink(missing_ok=True)
        elif not mark.exists():
            mark.touch()
        elif mark.stat().st_mtime < time.time() - _UNNAMED_DAYS * 86400:
            file.unlink(missing_ok=True)
            mark.unlink()
    Sessions(config).drop_expired()
    files.rotate(config.data)


def mail_test(_connection: db.Connection, config: Config, payload: Payload) -> None:
    """Send a mail that says nothing; fails when there is no server to give it to."""
    unique = f"test-{secrets.token_hex(6)}"
    mail.send(config, payload["to"], "taifish: mail test", "It works. 邮件可用。\n", unique)


EFFECTS = {
    "tally": tally,
    "thumbnail": thumbnail,
    "notification": notification,
    "export": export,
    "digest": digest,
    "cleanup": cleanup,
    "mail-test": mail_test,
}
