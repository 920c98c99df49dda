"""The certificate bundle that this machine trusts, for networks whose proxy reads TLS."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from devtool import shell

_VARIABLES = ("MOORAGE_EXTRA_CA_BUNDLE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


def extra_bundle(environ: Mapping[str, str] = os.environ) -> str:
    """Return the path of the bundle that pip was told to use here, or "" for none."""
    for name in _VARIABLES:
        if (path := environ.get(name, "")) and Path(path).is_file():
            return path
    asked = shell.capture((sys.executable, "-m", "pip", "config", "get", "global.cert"))
    path = asked.stdout.strip().strip("'\"")
    return path if asked.returncode == 0 and Path(path).is_file() else ""
