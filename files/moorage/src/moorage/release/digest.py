"""Hashes by which controller and hosts know releases and containers."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(data: Any, digits: int) -> str:
    """Return the first digits of the SHA-256 (hex) of plain data, whatever its keys' order."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
