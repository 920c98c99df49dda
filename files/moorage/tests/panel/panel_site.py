"""An application that has nothing but the panel, for its tests."""

from pathlib import Path
from typing import Any

from flask import Flask, redirect, session
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from flask_babel import Babel

from moorage.control import ControlBackend
from moorage.panel import assets, create_blueprint, csrf


def application(backend: ControlBackend, *, language: str = "en", **options: Any) -> Flask:
    """An application that has nothing but the panel: whoever asks with `ada` is signed in."""
    app = Flask(__name__)
    app.secret_key = "for these tests"
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = str(Path(csrf.__file__).parent / "translations")
    Babel(app, locale_selector=lambda: language)
    app.jinja_env.globals["language"] = lambda: language
    csrf.protect(app)
    assets.register(app)

    @app.get("/enter")
    def enter() -> str:
        session["user"] = "ada"
        return csrf.token()

    def authorize() -> ResponseReturnValue | None:
        return None if "user" in session else redirect("/sign-in")

    panel = create_blueprint(
        backend, authorize=authorize, current_user=lambda: session["user"], **options
    )
    app.register_blueprint(panel, url_prefix="/services")
    return app


def signed_in(app: Flask) -> FlaskClient:
    """Sign in and keep the token."""
    client = app.test_client()
    token = client.get("/enter").text
    client.environ_base["HTTP_X_CSRF_TOKEN"] = token
    return client
