"""Secrets are files, and nothing but files."""

from __future__ import annotations

from shared_secrets import (
    test_no_secret_is_anywhere_but_in_its_file,
    test_secrets_are_long_ascii_and_all_different,
    test_the_search_finds_what_is_there,
)

__all__ = [
    "test_no_secret_is_anywhere_but_in_its_file",
    "test_secrets_are_long_ascii_and_all_different",
    "test_the_search_finds_what_is_there",
]
