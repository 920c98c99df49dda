"""Jobs in real workers, on both databases: none is lost, and none has its effect twice."""

import io
import json
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from chatbot import documents, jobs, knowledge, work
from chatbot.config import Config
from chatbot.db import Connection, Database
from chatbot.documents import Refused
from chatbot_rig import Postgres, Process, eventually, task
from flask.testing import FlaskClient


def enqueue(database: Database, key: str, kind: str = "tally", **payload: object) -> None:
    with database.transaction() as connection:
        assert jobs.enqueue(connection, key, kind, **payload)


def turn(database: Database, config: Config, worker: str = "w") -> None:
    job = jobs.take(database, config, worker)
    if job is not None:
        jobs.perform(database, config, work.EFFECTS, job)


def state(database: Database, key: str) -> str:
    return str(database.value("SELECT state FROM jobs WHERE key = %s", [key]))


def test_killed_workers_lose_nothing_and_do_nothing_twice(
    environment: dict[str, str], database: Database, server: Postgres | None, tmp_path: Path
) -> None:
    count = 150
    workers = [task(tmp_path, environment) for _ in range(2)]
    try:
        jobs.enqueue_test(database, count)
        for done in (20, 60):
            eventually(lambda done=done: jobs.status(database)["done"] >= done, workers[0].text)
            workers.pop(0).kill()
            workers.append(task(tmp_path, environment))
        # Killed in the middle of its effect: what it has written is not there.
        enqueue(database, "long", seconds=30)
        eventually(lambda: state(database, "long") == "running", workers[1].text)
        for process in workers:
            process.kill()
        tally = database.value("SELECT value FROM counters")
        assert jobs.status(database)["done"] - daily(database) == tally
        database.run("UPDATE jobs SET payload = '{}' WHERE key = 'long'")
        workers = [task(tmp_path, environment) for _ in range(2)]
        wanted = count + 1
        eventually(
            lambda: jobs.status(database)["done"] - daily(database) == wanted,
            lambda: f"{jobs.status(database)} {workers[0].text()}",
        )
        assert jobs.status(database)["tally"] == wanted
        assert database.value("SELECT attempts FROM jobs WHERE key = 'long'") == 2
        if server:
            names = database.rows("SELECT DISTINCT worker FROM jobs WHERE kind = 'tally'")
            assert len(names) >= 3, "workers share what there is"
    finally:
        for process in workers:
            process.kill()


def daily(database: Database) -> int:
    """How many jobs are done that no test has queued."""
    return int(database.value("SELECT count(*) FROM jobs WHERE state = 'done' AND kind <> 'tally'"))


def test_a_stop_lets_the_running_job_end(
    environment: dict[str, str], database: Database, tmp_path: Path
) -> None:
    made = task(tmp_path, environment)
    enqueue(database, "long", seconds=2)
    enqueue(database, "waiting", seconds=2)
    eventually(lambda: state(database, "long") == "running", made.text)
    made.signal(signal.SIGTERM)
    assert made.wait() == 0
    assert (state(database, "long"), state(database, "waiting")) == ("done", "queued")
    assert "has ended its last job" in made.text()


def test_a_lease_that_went_to_another_is_worth_nothing(database: Database, config: Config) -> None:
    enqueue(database, "k")
    slow = jobs.take(database, config, "slow")
    assert slow is not None and jobs.take(database, config, "other") is None
    database.run("UPDATE jobs SET lease_until = 0")
    other = jobs.take(database, config, "other")
    assert other is not None
    jobs.perform(database, config, work.EFFECTS, slow)
    assert database.value("SELECT value FROM counters") == 0
    for late in (other, slow):
        jobs.perform(database, config, work.EFFECTS, late)
        assert database.value("SELECT value FROM counters") == 1
    assert database.row("SELECT worker, attempts FROM jobs") == {"worker": "other", "attempts": 2}


def test_a_job_that_takes_too_long_is_undone(
    database: Database, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(connection: Connection, *_: object) -> None:
        connection.run("UPDATE counters SET value = 99")
        time.sleep(60)

    monkeypatch.setitem(work.EFFECTS, "hang", hang)
    object.__setattr__(config, "job_seconds", 1)
    enqueue(database, "k", "hang")
    turn(database, config)
    assert database.value("SELECT value FROM counters") == 0
    assert "TooLong" in database.value("SELECT error FROM jobs")


def test_dead_letters(database: Database, config: Config, admin: FlaskClient) -> None:
    enqueue(database, "import:1/x", "no-such-kind")
    for attempt in range(1, config.job_attempts + 1):
        turn(database, config)
        assert database.value("SELECT attempts FROM jobs") == attempt
    assert state(database, "import:1/x") == "failed"
    turn(database, config)
    assert database.value("SELECT attempts FROM jobs") == config.job_attempts
    page = admin.get("/admin/").text
    assert "import:1/x" in page and "KeyError" in page
    assert admin.post("/admin/jobs/import:1/x/retry").status_code == 303
    assert state(database, "import:1/x") == "queued"
    assert admin.post("/admin/jobs/import:1/x/retry").status_code == 404


def test_a_job_that_kills_its_worker_is_given_up(database: Database, config: Config) -> None:
    enqueue(database, "k")
    database.run("UPDATE jobs SET state = 'running', attempts = %s", [config.job_attempts])
    turn(database, config)
    row = database.row("SELECT state, error FROM jobs")
    assert row is not None and row["state"] == "failed" and "worker was lost" in row["error"]


def send(admin: FlaskClient, name: str, content: bytes) -> str:
    data = {"document": (io.BytesIO(content), name)}
    assert admin.post("/admin/import", data=data).status_code == 303
    return admin.get("/admin/articles").text


def test_documents_become_articles(admin: FlaskClient, database: Database, config: Config) -> None:
    send(admin, "faq.md", "# 发货\n两天内发货。\n## Returns\nWithin 30 days.\n".encode())
    turn(database, config)
    assert knowledge.find(database, "什么时候发货")[0].body == "两天内发货。"
    assert knowledge.find(database, "returns")[0].body == "Within 30 days."
    csv = '\ufefftitle,body\nReturns,"Within 60 days, ""unworn""."\n发货,两天内发货。\nNew,=1+1\n'
    send(admin, "MORE.CSV", csv.encode())
    turn(database, config)
    assert "1 new, 1 changed" in admin.get("/admin/articles").text
    assert knowledge.find(database, "returns")[0].body == 'Within 60 days, "unworn".'
    assert {row["content"] for row in database.rows("SELECT content FROM documents")} == {""}
    # Done once more, as after a lease that ran out: nothing is added.
    with database.transaction() as connection:
        work.take_in(connection, config, {"document": 2})
    assert len(knowledge.versions(database, 2)) == 2


def test_what_is_no_document(admin: FlaskClient, database: Database) -> None:
    for name, content, why in (
        ("x.html", b"x", "a document is one of"),
        ("x.txt.exe", b"x", "a document is one of"),
        ("x.md", b"\xff\xfe", "byte 0 is not"),
        ("x.md", b"", "1 to"),
        ("x.md", b"a\0b", "NUL"),
        ("x.md", b"x" * (documents.MOST_BYTES + 1), "1 to"),
    ):
        assert why in send(admin, name, content), name
    too_much = {"document": (io.BytesIO(b"x" * 2_000_000), "x.md")}
    assert admin.post("/admin/import", data=too_much).status_code == 413
    assert database.value("SELECT count(*) FROM documents") == 0


@pytest.mark.parametrize(
    ("kind", "content", "why"),
    [
        ("csv", "name,text\na,b\n", "columns title and body"),
        ("csv", 'title,body\na,"b\n', "line"),
        ("markdown", "# only a heading\n", "no article"),
        ("text", "x\n" + "y" * 20_001, "longer than"),
        ("csv", "title,body\n" + "a,b\n" * 1001, "at most 1000"),
    ],
)
def test_what_holds_no_articles(kind: str, content: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        documents.articles(kind, "x", content)


def test_headings_in_code_are_none() -> None:
    found = documents.articles("markdown", "faq.md", "intro\n# A\n```\n# not\n```\n### sub\nb\n")
    assert found == [("faq", "intro"), ("A", "```\n# not\n```\n### sub\nb")]
    assert documents.articles("text", "hours.txt", "nine to five") == [("hours", "nine to five")]


def test_the_report_of_a_day(talk: FlaskClient, database: Database, config: Config) -> None:
    for text in ("nothing known", "nothing either"):
        talk.post("/api/conversation/messages", json={"text": text})
    today = datetime.now(UTC).date()
    assert set(work.due(today).values()) == {"report", "retention"}
    for _ in range(2):
        with database.transaction() as connection:
            work.report(connection, config, {"day": str(today)})
    assert database.rows("SELECT * FROM reports") == [
        {"day": str(today), "conversations": 1, "questions": 2, "unanswered": 2, "persons": 0}
    ]


def test_the_command_line(environment: dict[str, str], database: Database, tmp_path: Path) -> None:
    for arguments, status in ((("enqueue-test", "3"), 0), (("enqueue-test", "many"), 2)):
        done = Process(tmp_path, environment, "-m", "chatbot.jobs", *arguments)
        assert done.wait() == status, done.text()
        if status == 0:
            assert json.loads(done.text()) == {
                "queued": 3, "running": 0, "done": 0, "failed": 0, "tally": 0,
            }  # fmt: skip
