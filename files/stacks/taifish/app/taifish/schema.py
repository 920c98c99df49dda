"""The tables, as steps that lead from one release to the next.

Each step says what it takes away from older code: `expand` nothing, `contract` what only code
older than `oldest_code` used, `one-way` the way back. docs/migrations.md has the policy.
"""

from dataclasses import dataclass

EXPAND, CONTRACT, ONE_WAY = "expand", "contract", "one-way"


@dataclass(frozen=True)
class Revision:
    """One step. `oldest_code` is the oldest revision whose code works with the tables after it."""

    revision: str
    kind: str
    oldest_code: str
    message: str
    sql: str


REVISIONS = (
    Revision(
        "0001",
        EXPAND,
        "0001",
        "Make the tables.",
        """
CREATE TABLE users (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- As it is compared: NFKC, case folded. One account a name.
  name text NOT NULL UNIQUE,
  shown text NOT NULL,
  email text NOT NULL DEFAULT '',
  password_hash text NOT NULL,
  is_admin boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE boards (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  slug text NOT NULL UNIQUE,
  name_zh text NOT NULL,
  name_en text NOT NULL
);
CREATE TABLE posts (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  board_id bigint NOT NULL REFERENCES boards,
  user_id bigint NOT NULL REFERENCES users,
  title text NOT NULL,
  body text NOT NULL,
  -- Names of files below uploads/ and thumbs/; empty: none (yet).
  picture text NOT NULL DEFAULT '',
  thumb text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX posts_of_board ON posts (board_id, id DESC);
CREATE TABLE comments (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  post_id bigint NOT NULL REFERENCES posts,
  user_id bigint NOT NULL REFERENCES users,
  body text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX comments_of_post ON comments (post_id, id);
CREATE TABLE notifications (
  comment_id bigint PRIMARY KEY REFERENCES comments,
  user_id bigint NOT NULL REFERENCES users,
  mailed boolean NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE exports (
  -- Random: it is in an address.
  id text PRIMARY KEY,
  board_id bigint NOT NULL REFERENCES boards,
  user_id bigint NOT NULL REFERENCES users,
  rows bigint,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE digests (
  day date PRIMARY KEY,
  posts bigint NOT NULL,
  comments bigint NOT NULL,
  users bigint NOT NULL
);
CREATE TABLE counters (name text PRIMARY KEY, value bigint NOT NULL);
CREATE TABLE jobs (
  key text PRIMARY KEY,
  kind text NOT NULL,
  payload jsonb NOT NULL DEFAULT '{}',
  state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed')),
  attempts integer NOT NULL DEFAULT 0,
  error text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  run_after timestamptz NOT NULL DEFAULT now(),
  published_at timestamptz,
  started_at timestamptz,
  ended_at timestamptz
);
CREATE INDEX jobs_open ON jobs (state, run_after) WHERE state <> 'done';
CREATE INDEX jobs_done ON jobs (ended_at) WHERE state = 'done';
INSERT INTO boards (slug, name_zh, name_en) VALUES ('lobby', '大厅', 'Lobby');
INSERT INTO counters (name, value) VALUES ('tally', 0);
""",
    ),
)
