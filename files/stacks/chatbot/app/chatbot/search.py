"""Full-text search that finds Chinese: its text is indexed by single signs and by pairs of them.

Neither database cuts Chinese into words. So both get the same tokens from here, and give back
candidates alone; how well one fits is counted here as well, and is the same on both.
"""

from collections.abc import Iterable

from chatbot.db import Connection
from moorage.application.words import CJK, tokens

# What nearly every question has, so that it says nothing of what is asked for.
_STOP_WORDS = """
a an and are as at be by can could do does for from have how i if in is it me my of on or our
please that the there this to was we what when where which who why will with would you your
的 了 吗 呢 吧 啊 我 你 您 是 在 有 和 怎 么 什 请 想 要 能 可 以 怎么 什么 如何 可以
请问 怎样 哪里 多少 为什 我想 我要 能不 不能 不可 是不 是否 么样 想要
"""
_STOP = frozenset(_STOP_WORDS.split())
_MOST_TOKENS = 64


def question_tokens(text: str) -> set[str]:
    """Return what a question asks for: without the words that every question has."""
    found = tokens(text) - _STOP
    pairs = {token for token in found if len(token) == 2 and CJK.fullmatch(token)}
    if pairs:
        # A single sign says little where there are pairs.
        found = {token for token in found if len(token) > 1 or not CJK.fullmatch(token)}
    return set(sorted(found)[:_MOST_TOKENS])


def put(connection: Connection, article: int, title: str, body: str) -> None:
    """Have an article found by these texts, and no longer by its former ones."""
    drop(connection, article)
    found = sorted(tokens(f"{title}\n{body}"))
    if connection.sqlite:
        text = " ".join(found)
        connection.run("INSERT INTO search (rowid, tokens) VALUES (%s, %s)", [article, text])
    else:
        # As they are: PostgreSQL's own parser would cut them again, by the database's locale.
        connection.run(
            "INSERT INTO search (article_id, tokens) VALUES (%s, array_to_tsvector(%s))",
            [article, found],
        )


def drop(connection: Connection, article: int) -> None:
    """Have an article found no more."""
    column = "rowid" if connection.sqlite else "article_id"
    connection.run(f"DELETE FROM search WHERE {column} = %s", [article])  # noqa: S608 - one of two


def candidates(connection: Connection, wanted: Iterable[str], most: int) -> list[int]:
    """Return the numbers of articles that have any of the tokens, the likeliest first."""
    words = sorted(wanted)
    if not words:
        return []
    if connection.sqlite:
        query = " OR ".join(f'"{word}"' for word in words)
        rows = connection.rows(
            "SELECT rowid AS id FROM search WHERE search MATCH %s ORDER BY rank LIMIT %s",
            [query, most],
        )
    else:
        query = " | ".join(f"'{word}'" for word in words)
        rows = connection.rows(
            "SELECT article_id AS id FROM search, CAST(%s AS tsquery) query"
            " WHERE tokens @@ query ORDER BY ts_rank(tokens, query) DESC, article_id LIMIT %s",
            [query, most],
        )
    return [row["id"] for row in rows]


def score(wanted: set[str], title: str, body: str) -> float:
    """Return how much of a question a text speaks of: 0 nothing, 1 all, 2 all in its title."""
    if not wanted:
        return 0.0
    in_title, in_body = tokens(title), tokens(body)
    # A pair of signs tells more than one, and a long word more than a short one.
    weights = {word: min(len(word), 6) for word in wanted}
    total = sum(weights.values())
    found = sum(weight for word, weight in weights.items() if word in in_title | in_body)
    named = sum(weight for word, weight in weights.items() if word in in_title)
    return (found + named) / total
