"""tg2em's front end: what visitors read, and the administration."""

from tg2em_frontend.app import create_app

__all__ = ["create_app"]
