"""The policy of migrations: what they declare, what a plan says, and older code on newer tables."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from database_server import container
from sqlalchemy import Engine, text
from tg2em_core import migrate, revisions, schema
from tg2em_core.db import make_engine, make_sessions, transaction
from tg2em_core.environment import DatabaseConfig
from tg2em_core.migrate import MigrationError
from tg2em_core.models import Article, Channel, utcnow
from tg2em_core.revisions import Kind, PolicyError, Revision
from tg2em_frontend.app import create_app
from tg2em_frontend.config import FrontendConfig
from tg2em_scraper.messages import Message, RichText
from tg2em_scraper.store import Mark, Store

PASSWORD = "an admin password 0123456789"
OWN = migrate.scripts()


def test_every_revision_declares_its_kind_and_the_code_that_it_serves() -> None:
    chain = revisions.load(OWN / "versions")
    files = sorted(file for file in (OWN / "versions").glob("*.py"))
    assert len(chain) == len(files) > 0
    assert all(revision.message.endswith(".") for revision in chain)


def test_a_new_revision_from_the_template_must_be_declared_first(tmp_path: Path) -> None:
    template = (OWN / "script.py.mako").read_text()
    declared = [line for line in template.splitlines() if line.startswith(("kind", "oldest_code"))]
    (tmp_path / "0001.py").write_text('revision = "0001"\n' + "\n".join(declared))
    with pytest.raises(PolicyError, match=r"0001\.py: kind is not declared"):
        revisions.load(tmp_path)


def _write(folder: Path, number: int, kind: str, oldest: str, body: str = "pass") -> Path:
    parent = f'"{number - 1:04d}"' if number > 1 else "None"
    file = folder / f"{number:04d}_x.py"
    file.write_text(
        f'"""Change number {number}."""\nfrom alembic import op\n'
        f'revision = "{number:04d}"\ndown_revision = {parent}\n'
        f'kind = "{kind}"\noldest_code = "{oldest}"\n'
        f"def upgrade():\n    {body}\ndef downgrade():\n    pass\n"
    )
    return file


@pytest.mark.parametrize(
    ("kind", "oldest", "message"),
    [
        ("expand", "0001", ""),
        ("contract", "0001", ""),
        ("contract", "0002", ""),
        ("one-way", "0003", ""),
        ("one-way", "0001", ""),
        ("drop", "0001", "kind is 'drop', not one of expand, contract, one-way"),
        ("expand", "0002", "shuts no code out, so oldest_code is 0001"),
        ("contract", "0003", "code of 0002 must work with it, or its kind is one-way"),
        ("expand", "0004", "oldest_code '0004' does not precede it"),
        ("expand", "", "oldest_code is not declared"),
    ],
)
def test_what_may_be_declared(tmp_path: Path, kind: str, oldest: str, message: str) -> None:
    _write(tmp_path, 1, "expand", "0001")
    _write(tmp_path, 2, "expand", "0001")
    _write(tmp_path, 3, kind, oldest)
    if not message:
        assert revisions.load(tmp_path)[2] == Revision(
            "0003", "0002", Kind(kind), oldest, "Change number 3."
        )
        return
    with pytest.raises(PolicyError, match=message):
        revisions.load(tmp_path)


def test_the_chain_has_no_gap_and_no_fork(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="there is no revision the first one"):
        revisions.load(tmp_path)
    _write(tmp_path, 1, "expand", "0001")
    lonely = _write(tmp_path, 3, "expand", "0001")
    with pytest.raises(PolicyError, match="there is no revision 0002"):
        revisions.load(tmp_path)
    lonely.unlink()
    second = _write(tmp_path, 2, "contract", "0001")
    _write(tmp_path, 3, "one-way", "0003")
    _write(tmp_path, 4, "expand", "0001")
    with pytest.raises(PolicyError, match="since 0003 only code of 0003 or later works"):
        revisions.load(tmp_path)
    shutil.copy(second, tmp_path / "0005_fork.py")
    with pytest.raises(PolicyError, match="both follow 0001"):
        revisions.load(tmp_path)


CHAIN = (
    Revision("0001", None, Kind.EXPAND, "0001", "Make."),
    Revision("0002", "0001", Kind.EXPAND, "0001", "Add."),
    Revision("0003", "0002", Kind.CONTRACT, "0002", "Drop."),
    Revision("0004", "0003", Kind.ONE_WAY, "0004", "Merge."),
)


def test_a_plan_names_what_is_pending_and_its_kind() -> None:
    def kinds(current: str) -> list[str]:
        return [step.kind for step in revisions.plan(CHAIN, current, None).pending]

    assert kinds("0003") == ["one-way"]
    assert kinds("0002") == ["contract", "one-way"]
    assert kinds("0004") == []
    # Nothing ran before the first deploy, so nothing can be shut out by it.
    assert kinds("") == ["expand"] * 4


def test_a_contraction_that_the_running_code_has_not_prepared_is_one_way() -> None:
    found = revisions.plan(CHAIN[:3], "0001", None)
    assert [step.kind for step in found.pending] == ["expand", "one-way"]
    assert found.pending[1].message.startswith("Drop. Code of 0001 cannot work after it: go by")


def test_newer_tables_serve_older_code_or_say_what_to_do() -> None:
    old = CHAIN[:2]
    served = revisions.plan(old, "0003", "0002")
    assert (served.current, served.target, served.pending) == ("0003", "0003", ())
    assert served.compatible and "still serve its code" in served.detail
    for oldest in ("0004", None):
        found = revisions.plan(old, "0004", oldest)
        assert not found.compatible and found.pending == ()
        assert "newer than this release's 0002" in found.detail
        assert "forward to a release that knows 0004, or restore the dump" in found.detail


@pytest.fixture
def blank(engine: Engine) -> Iterator[Engine]:
    """A database without tables; afterwards it has those of this code again."""
    _drop_all(engine)
    yield engine
    _drop_all(engine)
    migrate.migrate(engine, "admin", PASSWORD)


def _drop_all(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("SET foreign_key_checks = 0"))
        for name in connection.execute(text("SHOW TABLES")).scalars().all():
            connection.execute(text(f"DROP TABLE `{name}`"))
        connection.execute(text("SET foreign_key_checks = 1"))


ADD = "op.execute('ALTER TABLE articles ADD COLUMN rating INT NULL, ADD COLUMN x INT DEFAULT 7')"
DROP = "op.execute('ALTER TABLE articles DROP COLUMN x')"
MERGE = "op.execute('ALTER TABLE articles DROP COLUMN title')"


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Become the code of a release with that many revisions; the first one is the real one."""
    folders: dict[int, Path] = {}
    for head in (1, 2, 3, 4):
        folders[head] = tmp_path / str(head) / "migrations"
        shutil.copytree(OWN, folders[head], ignore=shutil.ignore_patterns("__pycache__"))
        versions = folders[head] / "versions"
        for number, kind, oldest, body in (
            (2, "expand", "0001", ADD), (3, "contract", "0002", DROP), (4, "one-way", "0004", MERGE)
        ):  # fmt: skip
            if number <= head:
                _write(versions, number, kind, oldest, body)

    def become(head: int) -> None:
        monkeypatch.setattr(migrate, "scripts", lambda: folders[head])

    return become


def _plan(engine: Engine) -> dict[str, object]:
    with engine.connect() as connection:
        return migrate.plan(connection, migrate.known()).document()


def _tables(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SHOW TABLES")).scalars())


def test_a_plan_of_an_empty_database_changes_nothing(
    blank: Engine, release: Callable[[int], None]
) -> None:
    release(3)
    found = _plan(blank)
    assert (found["from"], found["to"], found["compatible"]) == ("", "0003", True)
    assert found["pending"] == [
        {"revision": "0001", "kind": "expand", "message": "Make the tables."},
        {"revision": "0002", "kind": "expand", "message": "Change number 2."},
        {"revision": "0003", "kind": "expand", "message": "Change number 3."},
    ]
    assert _tables(blank) == []


def test_older_code_on_newer_tables(blank: Engine, release: Callable[[int], None]) -> None:
    release(1)
    migrate.migrate(blank, "admin", PASSWORD)
    release(2)
    migrate.migrate(blank, "admin", PASSWORD)
    release(1)
    found = _plan(blank)
    assert (found["from"], found["pending"], found["compatible"]) == ("0002", [], True)
    done, changed = migrate.migrate(blank, "admin", PASSWORD)
    assert (done.pending, changed) == ((), False)
    assert "still serve its code" in done.detail

    release(3)
    migrate.migrate(blank, "admin", PASSWORD)
    release(2)
    migrate.migrate(blank, "admin", PASSWORD)
    release(1)
    assert _plan(blank)["compatible"] is False
    with pytest.raises(MigrationError, match="serve only code of 0002 or later: go forward"):
        migrate.migrate(blank, "admin", PASSWORD)
    with blank.connect() as connection:
        assert schema.current(connection) == "0003"


def test_a_database_of_the_first_releases(blank: Engine, release: Callable[[int], None]) -> None:
    release(1)
    migrate.migrate(blank, "admin", PASSWORD)
    with blank.begin() as connection:
        connection.execute(text("DROP TABLE schema_state"))
    release(2)
    assert [step["revision"] for step in _plan(blank)["pending"]] == ["0002"]  # type: ignore[attr-defined]
    assert "schema_state" not in _tables(blank)
    release(1)
    assert migrate.migrate(blank, "admin", PASSWORD)[0].pending == ()
    with blank.connect() as connection:
        assert schema.served(connection, "0001") == "0001"


def test_what_is_written_down_for_another_revision_says_nothing(
    blank: Engine, release: Callable[[int], None]
) -> None:
    release(2)
    migrate.migrate(blank, "admin", PASSWORD)
    with blank.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0009'"))
    release(1)
    found = _plan(blank)
    assert found["compatible"] is False
    assert "do not say which code they serve" in str(found["detail"])


def test_a_step_that_fails_is_named_and_what_came_before_is_kept(
    blank: Engine, release: Callable[[int], None]
) -> None:
    release(4)
    broken = migrate.scripts() / "versions" / "0003_x.py"
    broken.write_text(broken.read_text().replace("DROP COLUMN x", "DROP COLUMN nowhere"))
    with pytest.raises(MigrationError, match=r"revision 0003 \(Change number 3\.\) failed"):
        migrate.migrate(blank, "admin", PASSWORD)
    with blank.connect() as connection:
        assert schema.current(connection) == "0002"
        assert schema.served(connection, "0002") == "0001"
    broken.write_text(broken.read_text().replace("DROP COLUMN nowhere", "DROP COLUMN x"))
    assert [s.revision for s in migrate.migrate(blank, "a", PASSWORD)[0].pending] == [
        "0003", "0004",
    ]  # fmt: skip


def test_the_way_back_from_a_one_way_migration_is_the_dump(
    release: Callable[[int], None],
) -> None:
    with container() as (config, name):

        def run(command: str, stdin: bytes = b"") -> bytes:
            argv = ["docker", "exec", "--interactive", name, command]
            return subprocess.run(argv, input=stdin, capture_output=True, check=True).stdout

        own = make_engine(config)
        release(2)
        migrate.migrate(own, "admin", PASSWORD)
        with transaction(make_sessions(own)) as session:
            session.add(Channel(id=1, name="喵"))
            session.flush()
            session.add(Article(id=1, channel_id=1, message_id=1, name="书", title="书"))
        dump = run("moorage-dump")
        release(4)
        kinds = [step.kind for step in migrate.migrate(own, "admin", PASSWORD)[0].pending]
        assert kinds == ["contract", "one-way"]
        release(2)
        assert "moorage-restore" in str(_plan(own)["detail"])

        run("moorage-restore", dump)
        assert (_plan(own)["from"], _plan(own)["compatible"]) == ("0002", True)
        assert migrate.migrate(own, "admin", PASSWORD)[0].pending == ()
        with make_sessions(own)() as session:
            assert session.get_one(Article, 1).title == "书"
        release(4)
        assert len(migrate.migrate(own, "admin", PASSWORD)[0].pending) == 2
        own.dispose()


def test_the_services_work_on_expanded_tables(
    blank: Engine, mariadb: DatabaseConfig, release: Callable[[int], None], tmp_path: Path
) -> None:
    release(2)
    migrate.migrate(blank, "admin", PASSWORD)
    with transaction(make_sessions(blank)) as session:
        session.add(Channel(id=1, name="demo"))
    store = Store(make_sessions(blank))
    message = Message("demo", 1, utcnow(), RichText("名称：书\n🏷 标签：#a"), ("http://x/1.png",))
    assert store.save(1, [message], store.options(), Mark(1, 1, True)).new == 1
    site = create_app(FrontendConfig(mariadb, "k" * 40, str(tmp_path / "control.sock")))
    client = site.test_client()
    for path in ("/health", "/health/live", "/", "/article/1", "/api/articles", "/metrics"):
        assert client.get(path).status_code == 200, path


def test_the_plan_as_a_command(
    engine: Engine, mariadb: DatabaseConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {
        "DATABASE_HOST": mariadb.host,
        "DATABASE_PORT": str(mariadb.port),
        "DATABASE_NAME": mariadb.name,
        "DATABASE_USER": mariadb.user,
        "DATABASE_PASSWORD": mariadb.password,
        "MIGRATE_PLAN_TIMEOUT": "0.1",
    }
    assert migrate.main(environment, ["--plan"]) == 0
    head = revisions.load(OWN / "versions")[-1].revision
    assert json.loads(capsys.readouterr().out) == {
        "from": head, "to": head, "pending": [], "compatible": True, "detail": "",
    }  # fmt: skip
    assert migrate.main(environment | {"DATABASE_PORT": "1"}, ["--plan"]) == 1
    assert "the database does not let us in: (2003" in capsys.readouterr().err
    assert migrate.main(environment, ["--what"]) == 2
    wrong = environment | {"MIGRATE_PLAN_TIMEOUT": "soon"}
    assert migrate.main(wrong, ["--plan"]) == 1
    assert "MIGRATE_PLAN_TIMEOUT must be seconds, not 'soon'" in capsys.readouterr().err
