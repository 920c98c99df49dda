"""What the tests of taifish share: real servers, a migrated database, the site on them."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "moorage" / "src"))

from flask import Flask
from flask.testing import FlaskClient
from taifish import migrate
from taifish.app import create_app
from taifish.config import Config, WebConfig
from taifish.db import Database
from taifish.jobs import Queue
from taifish_rig import ADMIN_PASSWORD, Mailbox, Servers

PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and Redis."""
    made = Servers()
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def mailbox() -> Iterator[Mailbox]:
    """A mail server."""
    with Mailbox().open() as made:
        yield made


@pytest.fixture(scope="session")
def migrated(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A configuration whose database has its tables."""
    config = Config.from_environment(servers.environment(tmp_path_factory.mktemp("migrate")))
    with migrate.connect(config, 60) as connection:
        migrate.upgrade(connection)
    return config


@pytest.fixture
def environment(
    servers: Servers, migrated: Config, mailbox: Mailbox, tmp_path: Path
) -> dict[str, str]:
    """The variables of the stack's processes; nothing is in the tables, in Redis or the mailbox."""
    mailbox.mails.clear()
    with migrate.connect(migrated, 60) as connection:
        connection.execute(
            "TRUNCATE notifications, comments, posts, exports, digests, jobs, users;"
            " UPDATE counters SET value = 0"
        )
        migrate.ensure_admin(connection, "admin", ADMIN_PASSWORD)
    servers.redis(0).flushall()
    found: dict[str, str] = servers.environment(
        tmp_path,
        SMTP_HOST="127.0.0.1",
        SMTP_PORT=str(mailbox.port),
        SITE_URL="https://board.example.com",
        JOB_RETRY_SECONDS="1",
    )
    return found


@pytest.fixture
def config(environment: dict[str, str]) -> Config:
    """The same, read."""
    return Config.from_environment(environment)


@pytest.fixture
def database(config: Config) -> Iterator[Database]:
    """The tests' own connections."""
    made = Database(config, size=2)
    yield made
    made.close()


@pytest.fixture
def queue(config: Config) -> Queue:
    """The tests' own way to the broker."""
    return Queue(config)


@pytest.fixture
def app(environment: dict[str, str], config: Config) -> Iterator[Flask]:
    """The site."""
    web = WebConfig.from_environment({**environment, "LOGIN_LIMIT": "3", "SIGNUP_LIMIT": "6"})
    made = create_app(config, web)
    yield made
    made.extensions["taifish"].database.close()


@pytest.fixture
def visitor(app: Flask) -> Callable[..., FlaskClient]:
    """Makes browsers; each has its own cookies."""

    def make(address: str = "192.0.2.1", language: str = "en") -> FlaskClient:
        client = app.test_client()
        client.environ_base |= {
            "REMOTE_ADDR": address,
            "HTTP_ACCEPT_LANGUAGE": language,
            "HTTP_ACCEPT": "text/html",
        }
        return client

    return make


def token(page: str) -> str:
    """The token of a page's form."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None, page[:500]
    return found[1]


@pytest.fixture
def enter() -> Callable[..., int]:
    """Signs a browser up (path /signup) or in (/login); returns the status."""

    def send(
        client: FlaskClient, path: str, name: str, password: str = PASSWORD, **more: str
    ) -> int:
        page = client.get(path).text
        if 'name="csrf_token"' not in page:
            return 0
        form = {"csrf_token": token(page), "username": name, "password": password, **more}
        status = client.post(path, data=form).status_code
        if status == 303:
            # The token of the new session goes with every request from now on.
            client.environ_base["HTTP_X_CSRF_TOKEN"] = token(client.get("/").text)
        return status

    return send


@pytest.fixture
def member(visitor: Callable[..., FlaskClient], enter: Callable[..., int]) -> FlaskClient:
    """Somebody who is signed in, with a mail address."""
    client = visitor()
    assert enter(client, "/signup", "Alice", email="alice@example.com") == 303
    return client


@pytest.fixture
def admin(visitor: Callable[..., FlaskClient], enter: Callable[..., int]) -> FlaskClient:
    """The administrator, signed in."""
    client = visitor("192.0.2.9")
    assert enter(client, "/login", "admin", ADMIN_PASSWORD) == 303
    return client
