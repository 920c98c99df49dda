"""The web panel: a Flask blueprint that shows and controls services through the control API."""

from moorage.panel.blueprint import create_blueprint

__all__ = ["create_blueprint"]
