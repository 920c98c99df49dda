"""What the tests of fastblog share: the site, and browsers without a screen on it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "moorage" / "src"))

from fastblog.app import create_app
from fastblog.config import Config
from fastblog_rig import PASSWORD, environment, token
from flask import Flask
from flask.testing import FlaskClient


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    """The site."""
    given = environment(tmp_path, MOORAGE_CONTROL_SOCKET=str(tmp_path / "nobody.sock"))
    return create_app(Config.from_environment(given))


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


@pytest.fixture
def admin(visitor: Callable[..., FlaskClient]) -> FlaskClient:
    """The administrator, signed in."""
    client = visitor("192.0.2.9")
    form = {
        "username": "admin",
        "password": PASSWORD,
        "csrf_token": token(client.get("/sign-in").text),
    }
    assert client.post("/sign-in", data=form).status_code == 303
    client.environ_base["HTTP_X_CSRF_TOKEN"] = token(client.get("/admin/").text)
    return client


@pytest.fixture
def write(admin: FlaskClient) -> Callable[..., int]:
    """Writes a post; returns the status."""

    def send(title: str, body: str = "Text.", *, action: str = "publish", tags: str = "") -> int:
        form = {"title": title, "body": body, "tags": tags, "action": action}
        return admin.post("/admin/posts/new", data=form).status_code

    return send
