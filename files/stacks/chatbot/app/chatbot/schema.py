"""The tables, as steps that lead from one release to the next.

Each step says what it takes away from older code: `expand` nothing, `contract` what only code
older than `oldest_code` used, `one-way` the way back. docs/migrations.md has the policy.
"""

from dataclasses import dataclass

EXPAND, CONTRACT, ONE_WAY = "expand", "contract", "one-way"
# What the two databases call a number that counts up by itself.
_ID = {
    False: "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    True: "INTEGER PRIMARY KEY AUTOINCREMENT",
}


@dataclass(frozen=True)
class Revision:
    """One step. `oldest_code` is the oldest revision whose code works with the tables after it."""

    revision: str
    kind: str
    oldest_code: str
    message: str
    sql: str
    # What only one of the two has.
    postgresql: str = ""
    sqlite: str = ""

    def text(self, *, sqlite: bool) -> str:
        """Return the statements for one of the databases."""
        return self.sql.replace("{id}", _ID[sqlite]) + (self.sqlite if sqlite else self.postgresql)


REVISIONS = (
    Revision(
        "0001",
        EXPAND,
        "0001",
        "Make the tables.",
        """
CREATE TABLE admins (name text PRIMARY KEY, password_hash text NOT NULL);
CREATE TABLE sessions (
  -- SHA-256 of what the cookie holds.
  id text PRIMARY KEY,
  admin text NOT NULL REFERENCES admins ON DELETE CASCADE,
  mark text NOT NULL,
  until double precision NOT NULL
);
CREATE TABLE limits (bucket text PRIMARY KEY, count bigint NOT NULL,
  until double precision NOT NULL);
CREATE TABLE articles (
  id {id},
  -- Number of the version that is shown.
  version bigint NOT NULL,
  published bigint NOT NULL DEFAULT 1
);
CREATE TABLE versions (
  article_id bigint NOT NULL REFERENCES articles ON DELETE CASCADE,
  number bigint NOT NULL,
  title text NOT NULL,
  body text NOT NULL,
  author text NOT NULL,
  note text NOT NULL DEFAULT '',
  created_at double precision NOT NULL,
  PRIMARY KEY (article_id, number)
);
CREATE INDEX versions_of_title ON versions (title);
CREATE TABLE conversations (
  id {id},
  -- SHA-256 of the token that the visitor holds.
  token_hash text NOT NULL UNIQUE,
  -- bot, waiting (for a person), person
  state text NOT NULL DEFAULT 'bot',
  language text NOT NULL,
  created_at double precision NOT NULL,
  last_at double precision NOT NULL
);
CREATE INDEX conversations_of_state ON conversations (state, last_at);
CREATE TABLE messages (
  id {id},
  conversation_id bigint NOT NULL REFERENCES conversations ON DELETE CASCADE,
  -- visitor, bot, person
  author text NOT NULL,
  body text NOT NULL,
  sources text NOT NULL DEFAULT '[]',
  created_at double precision NOT NULL
);
CREATE INDEX messages_of_conversation ON messages (conversation_id, id);
CREATE INDEX messages_of_time ON messages (created_at);
CREATE TABLE unanswered (
  message_id bigint PRIMARY KEY REFERENCES messages ON DELETE CASCADE,
  resolved bigint NOT NULL DEFAULT 0
);
CREATE TABLE documents (
  id {id},
  name text NOT NULL,
  kind text NOT NULL,
  -- Emptied when it is imported.
  content text NOT NULL,
  author text NOT NULL,
  created_at double precision NOT NULL,
  added bigint,
  changed bigint
);
CREATE TABLE reports (
  day text PRIMARY KEY,
  conversations bigint NOT NULL,
  questions bigint NOT NULL,
  unanswered bigint NOT NULL,
  persons bigint NOT NULL
);
CREATE TABLE counters (name text PRIMARY KEY, value bigint NOT NULL);
INSERT INTO counters (name, value) VALUES ('tally', 0);
CREATE TABLE jobs (
  key text PRIMARY KEY,
  kind text NOT NULL,
  payload text NOT NULL DEFAULT '{}',
  state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed')),
  attempts bigint NOT NULL DEFAULT 0,
  error text NOT NULL DEFAULT '',
  created_at double precision NOT NULL,
  run_after double precision NOT NULL DEFAULT 0,
  -- Whoever began it, until when it has to hold the row, and when it ended.
  worker text NOT NULL DEFAULT '',
  lease_until double precision NOT NULL DEFAULT 0,
  ended_at double precision
);
CREATE INDEX jobs_open ON jobs (state, created_at) WHERE state <> 'done';
""",
        postgresql="""
CREATE TABLE search (
  article_id bigint PRIMARY KEY REFERENCES articles ON DELETE CASCADE,
  tokens tsvector NOT NULL
);
CREATE INDEX search_tokens ON search USING gin (tokens);
""",
        sqlite="""
CREATE VIRTUAL TABLE search USING fts5(tokens, tokenize='unicode61 remove_diacritics 0');
""",
    ),
)
