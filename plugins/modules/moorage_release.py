#!/usr/bin/python
"""Write the files of a release as one immutable directory."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: moorage_release
short_description: Write the files of a release as one immutable directory
description:
  - Writes O(files) to O(base)/C(releases)/O(release) as a whole; the directory appears complete or
    not at all.
  - A release is named by the hash of its content, so one that is already there is left as it is.
  - Nothing that runs is touched. With C(--diff) the files are compared with those of the release
    that is running now.
options:
  base:
    description: Directory of the stack, such as C(/opt/tg2em).
    type: path
    required: true
  release:
    description: Id of the release, the first twelve hexadecimal digits of its content's hash.
    type: str
    required: true
  files:
    description: Content and mode of every file, by its path in the release.
    type: dict
    required: true
  manifest:
    description: What is written to C(release.json), the last file of a release.
    type: dict
    required: true
attributes:
  check_mode:
    support: full
    description: Reports and shows what would be written.
  diff_mode:
    support: full
    description: Shows the files against those of the running release.
author: The Moorage authors
"""

EXAMPLES = r"""
- name: Ensure the release is on the host
  moorage_release:
    base: /opt/tg2em
    release: 4f0c2d9a71be
    files:
      compose.yaml: {content: "services: {}\n", mode: "0644"}
    manifest: {topology: unified, images: []}
"""

RETURN = r"""
path:
  description: The directory of the release.
  returned: always
  type: str
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

MANIFEST = "release.json"


def read_current(base: Path) -> dict[str, str]:
    """Return the files of the running release, or none before the first deploy."""
    root = (base / "current").resolve()
    found = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in root.rglob("*")
        if path.is_file()
    }
    found.pop(MANIFEST, None)
    return found


def differences(before: dict[str, str], after: dict[str, str]) -> list[dict[str, str]]:
    """Return Ansible's diff entries for every file that differs."""
    entries = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, ""), after.get(name, "")
        if old != new:
            entries.append(
                {
                    "before_header": f"{name} (running)" if old else f"{name} (absent)",
                    "after_header": f"{name} (new release)" if new else f"{name} (gone)",
                    "before": old,
                    "after": new,
                }
            )
    return entries


def write(path: Path, files: dict[str, dict[str, str]], manifest: dict[str, Any]) -> None:
    """Write the release beside its place and move it there."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        scratch.chmod(0o755)
        manifest_file = {"content": json.dumps(manifest, indent=2) + "\n", "mode": "0644"}
        # The manifest comes last: a directory without one is no release.
        for name, file in [*files.items(), (MANIFEST, manifest_file)]:
            target = scratch / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("w", encoding="utf-8") as out:
                out.write(file["content"])
                out.flush()
                os.fsync(out.fileno())
            target.chmod(int(file["mode"], 8))
        scratch.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "base": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "files": {"type": "dict", "required": True},
            "manifest": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    args = module.params
    base = Path(args["base"])
    path = base / "releases" / args["release"]
    missing = not (path / MANIFEST).exists()
    result: dict[str, Any] = {"changed": missing, "path": str(path)}
    if missing:
        after = {name: file["content"] for name, file in args["files"].items()}
        result["diff"] = differences(read_current(base), after)
        if not module.check_mode:
            try:
                write(path, args["files"], args["manifest"])
            except OSError as trouble:
                module.fail_json(msg=f"release {args['release']} could not be written: {trouble}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
