"""The database away and back, and pictures passed on."""

import dataclasses
import socket
import sys
import threading
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from tg2em_core import options
from tg2em_core.db import SessionFactory, transaction
from tg2em_core.environment import ConfigurationError
from tg2em_frontend.app import create_app
from tg2em_frontend.config import FrontendConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scraper"))

from image_server import ImageServer


@pytest.fixture
def away(config: FrontendConfig) -> FlaskClient:
    """A front end whose database is a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    database = dataclasses.replace(config.database, port=port)
    return create_app(dataclasses.replace(config, database=database)).test_client()


def test_health_is_the_database_s(client: FlaskClient, away: FlaskClient) -> None:
    assert client.get("/health").get_json()["database"] == "ok"
    answer = away.get("/health")
    assert (answer.status_code, answer.get_json()["database"]) == (503, "unreachable")


def test_live_waits_for_the_first_answer_and_stays(app: Flask, away: FlaskClient) -> None:
    assert away.get("/health/live").status_code == 503

    client = app.test_client()
    assert client.get("/health/live").status_code == 200
    app.extensions["store"].engine = away.application.extensions["store"].engine
    assert client.get("/health").status_code == 503
    assert client.get("/health/live").status_code == 200


def test_without_a_database_the_site_says_so(away: FlaskClient) -> None:
    page = away.get("/", headers={"Accept": "text/html", "Accept-Language": "zh"})
    assert page.status_code == 503 and "网站暂时无法使用" in page.text
    problem = away.get("/api/articles")
    assert (problem.status_code, problem.content_type) == (503, "application/problem+json")
    assert "pymysql" not in page.text + problem.text


def test_pictures_come_through_the_front_end(client: FlaskClient, empty: SessionFactory) -> None:
    images = ImageServer()
    images.start()
    images.files["abc"] = b"\x89PNG picture"
    with transaction(empty) as session:
        options.save(session, {"tgstate_url": images.url})
    answer = client.get("/d/abc")
    assert (answer.status_code, answer.data) == (200, b"\x89PNG picture")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert client.get("/d/other").status_code == 404
    images.stop()
    assert client.get("/d/abc").status_code == 502


def test_a_picture_is_asked_for_again_when_the_image_service_is_replaced(
    client: FlaskClient, empty: SessionFactory
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            server.accept()[0].close()
            with server.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npicture")

        threading.Thread(target=serve, daemon=True).start()
        with transaction(empty) as session:
            url = f"http://127.0.0.1:{server.getsockname()[1]}"
            options.save(session, {"tgstate_url": url})
        answer = client.get("/d/abc")
    assert (answer.status_code, answer.data) == (200, b"picture")


@pytest.mark.parametrize("name", ["..%2fadmin", "a%0d%0aX:y", "a" * 300, "%e5%9b%be"])
def test_only_a_picture_s_name_is_passed_on(client: FlaskClient, name: str) -> None:
    assert client.get(f"/d/{name}").status_code == 404


def test_the_session_key_must_be_long() -> None:
    with pytest.raises(ConfigurationError, match="32"):
        FrontendConfig.from_environment({"SESSION_KEY": "short", "DATABASE_PASSWORD": "x"})
