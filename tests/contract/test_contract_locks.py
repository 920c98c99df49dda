"""Whatever pip runs or installs is under the hashes of a lock, also what it builds with."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_NAMES = ("Dockerfile", "bootstrap")
_PIP = re.compile(r"-m pip\b(?:\\\n|[^\n&;])*?\binstall\b(?:\\\n|[^\n&;])*")


def installs() -> list[tuple[str, str]]:
    """Return file and text of every command line that installs by pip."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [name for name in done.stdout.splitlines() if Path(name).name in _NAMES]
    return [(name, text) for name in paths for text in _PIP.findall((ROOT / name).read_text())]


def test_everything_that_pip_installs_has_a_hash_in_a_lock() -> None:
    found = installs()
    stacks = {str(path.relative_to(ROOT)) for path in ROOT.glob("files/stacks/*/Dockerfile")}
    assert {name for name, _ in found} == {"scripts/bootstrap", *stacks}
    assert [name for name, text in found if "--require-hashes" not in text] == []


def test_what_is_built_is_built_with_what_a_lock_names() -> None:
    for name, text in installs():
        # `bootstrap` adds the options of the two steps where it calls this.
        whole = (ROOT / name).read_text() if name.endswith("bootstrap") else text
        assert "--only-binary :all:" in whole, f"{name}: {text}"
        if "--no-binary" in whole:
            assert "--no-build-isolation" in whole, f"{name}: {text}"
