"""Conversations: what a visitor asks, and what the knowledge base or a person says.

Whoever holds the token has the conversation; the database knows only its hash.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

from chatbot.db import Connection, Database, Row
from chatbot.knowledge import Found

BOT, WAITING, PERSON = "bot", "waiting", "person"
LONGEST_QUESTION = 1000
# Of one conversation; after that a visitor begins another one.
MOST_MESSAGES = 400


class Full(Exception):
    """The conversation has as many messages as one may have."""


def digest(token: str) -> str:
    """Return what the tables hold of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def begin(database: Database, language: str) -> str:
    """Begin a conversation and return its token."""
    token = secrets.token_urlsafe(32)
    now = time.time()
    database.run(
        "INSERT INTO conversations (token_hash, language, created_at, last_at)"
        " VALUES (%s, %s, %s, %s)",
        [digest(token), language, now, now],
    )
    return token


def held(database: Database, token: str) -> Row | None:
    """Return the conversation of a token."""
    return database.row("SELECT * FROM conversations WHERE token_hash = %s", [digest(token)])


def messages(database: Database, conversation: int, after: int = 0) -> list[dict[str, Any]]:
    """Return the messages after one of them, in order."""
    rows = database.rows(
        "SELECT id, author, body, sources, created_at FROM messages"
        " WHERE conversation_id = %s AND id > %s ORDER BY id LIMIT 1000",
        [conversation, after],
    )
    return [{**row, "sources": json.loads(row["sources"])} for row in rows]


def say(
    connection: Connection,
    conversation: int,
    author: str,
    body: str,
    sources: list[dict[str, Any]] | None = None,
) -> int:
    """Add a message and return its number; raises LookupError when the conversation is erased."""
    now = time.time()
    # Its row is held from here on: an erasure comes before this or after it.
    if not connection.run(
        "UPDATE conversations SET last_at = %s WHERE id = %s", [now, conversation]
    ):
        raise LookupError(conversation)
    found: int = connection.value(
        "INSERT INTO messages (conversation_id, author, body, sources, created_at)"
        " VALUES (%s, %s, %s, %s, %s) RETURNING id",
        [conversation, author, body, json.dumps(sources or []), now],
    )
    return found


def ask(database: Database, conversation: int, question: str) -> tuple[int, str]:
    """Note a visitor's message; return its number and the conversation's state.

    Raises Full, and LookupError when the conversation is erased.
    """
    with database.transaction() as connection:
        number = say(connection, conversation, "visitor", question)
        count = connection.value(
            "SELECT count(*) FROM messages WHERE conversation_id = %s", [conversation]
        )
        if count > MOST_MESSAGES:
            raise Full
        state = connection.value("SELECT state FROM conversations WHERE id = %s", [conversation])
        return number, str(state)


def reply(
    database: Database, conversation: int, question: int, found: list[Found], nothing: str
) -> tuple[int, str, list[dict[str, Any]]]:
    """Answer with what was found; return number, text and sources.

    Where nothing was, say `nothing` and note the question for the administrator. Raises
    LookupError when the conversation is erased.
    """
    body = found[0].body if found else nothing
    sources = [{"id": article.id, "title": article.title} for article in found]
    with database.transaction() as connection:
        number = say(connection, conversation, "bot", body, sources)
        if not found:
            connection.run(
                "INSERT INTO unanswered (message_id) VALUES (%s) ON CONFLICT DO NOTHING",
                [question],
            )
    return number, body, sources


def change_state(database: Database, conversation: int, state: str) -> None:
    """Ask for a person, have one, or go back to the bot."""
    database.run(
        "UPDATE conversations SET state = %s, last_at = %s WHERE id = %s",
        [state, time.time(), conversation],
    )


def answer_in_person(database: Database, conversation: int, body: str) -> None:
    """Add the administrator's message; raises LookupError."""
    with database.transaction() as connection:
        say(connection, conversation, "person", body)
        connection.run("UPDATE conversations SET state = %s WHERE id = %s", [PERSON, conversation])


def erase(database: Database, conversation: int) -> None:
    """Delete a conversation with all that was said in it and noted of it."""
    database.run("DELETE FROM conversations WHERE id = %s", [conversation])


def export(database: Database, conversation: Row) -> dict[str, Any]:
    """Return a conversation as a document, without what gives access to it."""
    kept = {key: conversation[key] for key in ("id", "state", "language", "created_at", "last_at")}
    return {**kept, "messages": messages(database, conversation["id"])}


def export_all(database: Database, after: int) -> Iterator[dict[str, Any]]:
    """Yield conversations after one of them, by number."""
    while rows := database.rows(
        "SELECT * FROM conversations WHERE id > %s ORDER BY id LIMIT 100", [after]
    ):
        for row in rows:
            yield export(database, row)
        after = rows[-1]["id"]


def unanswered(database: Database) -> list[Row]:
    """Return questions that found no answer, each text once, the newest first."""
    return database.rows(
        "SELECT m.body, count(*) AS times, max(m.id) AS id, max(m.created_at) AS at"
        " FROM unanswered u JOIN messages m ON m.id = u.message_id WHERE u.resolved = 0"
        " GROUP BY m.body ORDER BY max(m.id) DESC LIMIT 100"
    )


def resolve(database: Database, message: int) -> int:
    """Take a question off the list, and those of the same text; return how many."""
    return database.run(
        "UPDATE unanswered SET resolved = 1 WHERE resolved = 0 AND message_id IN"
        " (SELECT id FROM messages WHERE body = (SELECT body FROM messages WHERE id = %s))",
        [message],
    )
