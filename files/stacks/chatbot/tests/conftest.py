"""What the tests of chatbot share: both databases, a migrated one of them, the site on it."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "moorage" / "src"))

from chatbot import migrate
from chatbot.app import create_app
from chatbot.config import Config, WebConfig
from chatbot.db import Database
from chatbot_rig import ADMIN_PASSWORD, Postgres
from chatbot_rig import environment as variables
from flask import Flask
from flask.testing import FlaskClient


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL."""
    made = Postgres()
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(params=["postgresql", "sqlite"])
def server(request: pytest.FixtureRequest) -> Postgres | None:
    """One database after the other: PostgreSQL without a table, or none, which means SQLite."""
    if request.param == "sqlite":
        return None
    found: Postgres = request.getfixturevalue("postgres")
    found.empty()
    return found


@pytest.fixture
def environment(server: Postgres | None, tmp_path: Path) -> dict[str, str]:
    """The variables of the stack's processes."""
    found: dict[str, str] = variables(tmp_path, server, JOB_RETRY_SECONDS="0", LEASE_SECONDS="1")
    return found


@pytest.fixture
def config(environment: dict[str, str]) -> Config:
    """The same, read."""
    return Config.from_environment(environment)


@pytest.fixture
def database(config: Config) -> Iterator[Database]:
    """Tables, and the tests' own connections."""
    made = migrate.wait(config, 60)
    migrate.upgrade(made)
    migrate.ensure_admin(made, "admin", ADMIN_PASSWORD)
    made.close()
    made = Database(config, size=2)
    yield made
    made.close()


@pytest.fixture
def app(environment: dict[str, str], config: Config, database: Database) -> Iterator[Flask]:
    """The site."""
    made = create_app(config, WebConfig.from_environment({**environment, "LOGIN_LIMIT": "3"}))
    yield made
    made.extensions["chatbot"].database.close()


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
    """Signs a browser in; returns the status."""

    def send(client: FlaskClient, name: str = "admin", password: str = ADMIN_PASSWORD) -> int:
        page = client.get("/login").text
        form = {"csrf_token": token(page), "username": name, "password": password}
        status = client.post("/login", data=form).status_code
        if status == 303:
            # The token of the new session goes with every request from now on.
            client.environ_base["HTTP_X_CSRF_TOKEN"] = token(client.get("/admin/").text)
        return status

    return send


@pytest.fixture
def admin(visitor: Callable[..., FlaskClient], enter: Callable[..., int]) -> FlaskClient:
    """The administrator, signed in."""
    client = visitor("192.0.2.9")
    assert enter(client) == 303
    return client


@pytest.fixture
def talk(visitor: Callable[..., FlaskClient]) -> FlaskClient:
    """A visitor with a conversation."""
    client = visitor()
    held = client.post("/api/conversations").json
    assert held is not None
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {held['token']}"
    return client
