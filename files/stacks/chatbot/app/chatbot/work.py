"""What jobs do. Each works in the transaction that also ends its job."""

import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from chatbot import documents, knowledge
from chatbot.config import Config
from chatbot.db import Connection

_DAY = 86400
_JOB_DAYS = 7

_REPORT = """
INSERT INTO reports (day, conversations, questions, unanswered, persons) VALUES (%s,
  (SELECT count(*) FROM conversations WHERE created_at >= %s AND created_at < %s),
  (SELECT count(*) FROM messages
   WHERE author = 'visitor' AND created_at >= %s AND created_at < %s),
  (SELECT count(*) FROM unanswered u JOIN messages m ON m.id = u.message_id
   WHERE created_at >= %s AND created_at < %s),
  (SELECT count(*) FROM messages
   WHERE author = 'person' AND created_at >= %s AND created_at < %s)
) ON CONFLICT DO NOTHING
"""

Payload = Mapping[str, Any]


def tally(connection: Connection, _config: Config, payload: Payload) -> None:
    """Count one, in about ten milliseconds, or in `seconds`."""
    connection.run("UPDATE counters SET value = value + 1 WHERE name = 'tally'")
    time.sleep(float(payload.get("seconds", 0.01)))


def take_in(connection: Connection, _config: Config, payload: Payload) -> None:
    """Make articles of a document; one of a title that there is becomes its next version."""
    row = connection.row("SELECT * FROM documents WHERE id = %s", [payload["document"]])
    if row is None or row["added"] is not None:
        return
    count = {"added": 0, "changed": 0, "": 0}
    for title, body in documents.articles(row["kind"], row["name"], row["content"]):
        count[knowledge.take_in(connection, title, body, row["author"], row["name"])] += 1
    connection.run(
        "UPDATE documents SET content = '', added = %s, changed = %s WHERE id = %s",
        [count["added"], count["changed"], row["id"]],
    )


def report(connection: Connection, _config: Config, payload: Payload) -> None:
    """Count what a day (UTC) has brought; figures alone, so that they may stay."""
    day = date.fromisoformat(payload["day"])
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
    connection.run(_REPORT, [payload["day"], *[begin, begin + _DAY] * 4])


def retention(connection: Connection, config: Config, _payload: Payload) -> None:
    """Delete what has had its time: conversations, counters, sessions, jobs, documents."""
    now = time.time()
    if config.retention_days:
        connection.run(
            "DELETE FROM conversations WHERE last_at < %s", [now - config.retention_days * _DAY]
        )
    connection.run("DELETE FROM limits WHERE until < %s", [now])
    connection.run("DELETE FROM sessions WHERE until < %s", [now])
    old = now - _JOB_DAYS * _DAY
    connection.run("DELETE FROM jobs WHERE state = 'done' AND ended_at < %s", [old])
    connection.run("DELETE FROM documents WHERE added IS NOT NULL AND created_at < %s", [old])


def due(today: date) -> dict[str, str]:
    """Return keys and kinds of what is due once a day; the day is in the key."""
    return {f"report:{today - timedelta(1)}": "report", f"retention:{today}": "retention"}


EFFECTS = {"tally": tally, "import": take_in, "report": report, "retention": retention}
