"""The script that makes the base image, with another program in the place of mmdebstrap."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

BOOTSTRAP = Path(__file__).parents[3] / "images/base/bootstrap.sh"
NAMESPACE = "/proc/self/ns/mnt"


def test_mounts_of_the_host_are_none_of_its_business(tmp_path: Path) -> None:
    seen, program = tmp_path / "seen", tmp_path / "mmdebstrap"
    program.write_text(f"#!/bin/sh\nreadlink {NAMESPACE} >{seen}\n")
    program.chmod(0o755)
    subprocess.run(
        [BOOTSTRAP, "--output", tmp_path / "root.tar"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=True,
        capture_output=True,
    )
    assert seen.read_text().strip() != os.readlink(NAMESPACE)
