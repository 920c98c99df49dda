"""A release against what a host has: files, images, secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ansible.module_utils.moorage_host import engine, names

# What is named like a secret has a value there (with the deeper lines below it), or an address a
# password. What a run prints is kept where others read it: on a terminal, in a pipeline's log.
_SECRET = re.compile(
    r"""(?imx)^(?P<start>(?P<indent>[ \t]*)(?:Environment=)?[^#\n=:]*?
        (?:pass|passwd|password|passphrase|secret|token|credentials?|salt|_key)
        [_.\d-]*["']?[ \t]*[=:][ \t]*)
        [^\s,{[][^\n]*?(?:\n(?P=indent)[ \t]+[^\n]*)*(?P<end>,?)$
    |(?P<scheme>[a-z][a-z0-9+.-]{0,30}://[^/\s:@]*:)[^/\s@]+(?=@)"""
)


def read_current(base: Path) -> dict[str, str]:
    """Return the files of the running release, or none before the first deploy."""
    root = (base / "current").resolve()
    found = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in root.rglob("*")
        if path.is_file()
    }
    return {name: text for name, text in found.items() if is_shown(name)}


def is_shown(name: str) -> bool:
    """Whether a file of a release is for people to compare."""
    return name not in (names.MANIFEST, names.COMPOSE_JSON) and not name.startswith(names.RECEIPTS)


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
                    "before": _without_secrets(old),
                    "after": _without_secrets(new, old),
                }
            )
    return entries


def _without_secrets(text: str, old: str | None = None) -> str:
    """Return a text for people without its secrets; those that ``old`` has not are told as new."""
    known = None if old is None else {found[0] for found in _SECRET.finditer(old)}

    def shown(found: re.Match[str]) -> str:
        word = "(not shown)" if known is None or found[0] in known else "(not shown, new)"
        if found["scheme"]:
            return found["scheme"] + word
        return found["start"] + word + found["end"]

    return _SECRET.sub(shown, text)


def lacking(
    base: Path, secrets: list[dict[str, Any]], manifest: dict[str, Any]
) -> dict[str, list[str]]:
    """Return the images and secrets that the release needs and this host does not have.

    Environments are among the images.
    """
    refs = [str(ref) for ref in manifest.get("images", [])]
    present: set[str] = set()
    if refs and engine.is_running():
        present = {
            tag for image in engine.get("/images/json") for tag in image.get("RepoTags") or []
        }
    root = base / "secrets"
    without = [
        secret["name"]
        for secret in secrets
        if not all(
            path.is_file()
            for path in (
                root / secret["name"],
                *(
                    root / "for" / names.reader_directory(uid) / secret["name"]
                    for uid in secret["users"]
                ),
            )
        )
    ]
    tagged = {ref: ref if ":" in ref.rpartition("/")[2] else f"{ref}:latest" for ref in refs}
    absent = [ref for ref in refs if tagged[ref] not in present]
    return {"images": _no_environments(base, absent), "secrets": without}


def _no_environments(base: Path, refs: list[str]) -> list[str]:
    """Return those of the references that are no environment of the stack on this host."""
    try:
        from moorage.deploy.runtimes.environments import missing
        from moorage.release.layout import Layout
    except ImportError:
        # A dry run on a bare host.
        return refs
    return missing(Layout.of(base.name, base.parent), refs)
