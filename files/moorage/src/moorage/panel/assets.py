"""Static files with their content's hash in the address, so that browsers may keep them."""

import hashlib
from functools import cache
from pathlib import Path

from flask import Flask, current_app, url_for


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def asset_url(endpoint: str, filename: str) -> str:
    """Return the address of a static file of the application or of one of its blueprints."""
    name = endpoint.removesuffix(".static") if endpoint != "static" else ""
    owner = current_app.blueprints[name] if name else current_app
    folder = owner.static_folder
    if folder is None:
        raise LookupError(f"{endpoint}: no static folder")
    return url_for(endpoint, filename=filename, v=_digest(Path(folder) / filename))


def register(app: Flask) -> None:
    """Give templates `asset_url()`."""
    app.jinja_env.globals["asset_url"] = asset_url
