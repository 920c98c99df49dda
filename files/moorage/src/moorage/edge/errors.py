"""What the edge cannot do."""

from __future__ import annotations


class EdgeError(Exception):
    """The edge refused or failed; the message says why, in nginx's words where it was nginx."""
