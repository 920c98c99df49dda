"""Secrets are files, and nothing but files."""

from __future__ import annotations

from shared_secrets import *  # noqa: F403 - these are tests of this scenario, too
