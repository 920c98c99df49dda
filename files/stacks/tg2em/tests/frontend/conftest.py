"""The front end as a WSGI application on a real database."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from tg2em_core import articles
from tg2em_core.db import SessionFactory, transaction
from tg2em_core.environment import DatabaseConfig
from tg2em_core.models import Article, Category, Channel, utcnow
from tg2em_frontend.app import create_app
from tg2em_frontend.config import FrontendConfig

ADMIN_PASSWORD = "a-password-for-tests-only-0123456789"


@pytest.fixture
def config(mariadb: DatabaseConfig, tmp_path: Path) -> FrontendConfig:
    """Its settings; there is no supervisor behind this socket."""
    return FrontendConfig(
        database=mariadb,
        session_key="k" * 40,
        control_socket=str(tmp_path / "control.sock"),
        login_limit=3,
    )


@pytest.fixture
def app(config: FrontendConfig, empty: SessionFactory) -> Flask:
    """The application, with thirty articles in the database."""
    with transaction(empty) as session:
        session.add(Channel(id=1, name="demo", title="演示频道"))
        session.flush()
        tags = articles.tags_for(session, ["电影", "C++"])
        for number in range(1, 31):
            session.add(
                Article(
                    id=number,
                    channel_id=1,
                    message_id=number,
                    name=f"资源 {number} <b>",
                    title=f"资源 {number} <b>",
                    description="一行\n两行",
                    link="https://pan.quark.cn/s/x" if number > 1 else "javascript:alert(1)",
                    image="/d/abc" if number % 2 else "",
                    size="2GB",
                    category=Category.QUARK if number % 3 else Category.BAIDU,
                    posted_at=utcnow() - timedelta(hours=30 - number),
                    tags=tags[: number % 3],
                )
            )
    return create_app(config)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A visitor who reads English."""
    made = app.test_client()
    made.environ_base["HTTP_ACCEPT_LANGUAGE"] = "en"
    made.environ_base["HTTP_ACCEPT"] = "text/html"
    return made


def token(page: str) -> str:
    """The token of a page's form."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None, page[:500]
    return found[1]


@pytest.fixture
def sign_in() -> Callable[..., int]:
    """Sign a client in; returns the status."""

    def enter(
        client: FlaskClient,
        password: str = ADMIN_PASSWORD,
        next_: str = "",
        name: str = "admin",
    ) -> int:
        form = {
            "csrf_token": token(client.get("/dm").text),
            "username": name,
            "password": password,
            "next": next_,
        }
        return client.post("/dm", data=form).status_code

    return enter


@pytest.fixture
def admin(client: FlaskClient, sign_in: Callable[..., int]) -> FlaskClient:
    """The administrator, signed in; the token goes with every request."""
    assert sign_in(client) == 303
    client.environ_base["HTTP_X_CSRF_TOKEN"] = token(client.get("/admin").text)
    return client
