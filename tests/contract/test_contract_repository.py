"""What every file of the repository keeps to."""

from __future__ import annotations

import re
import subprocess
import unicodedata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Written in pieces, since this file is searched too.
HOSTS = [
    ".".join(parts)
    for parts in (
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
        ("ftp", "debian", "org"),
        ("snapshot", "debian", "org"),
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry-1", "docker", "io"),
        ("index", "docker", "io"),
        ("hub", "docker", "com"),
        ("galaxy", "ansible", "com"),
        ("proxy", "golang", "org"),
        ("quay", "io"),
        ("ghcr", "io"),
    )
]
MACHINE_PATHS = ["/".join(parts) for parts in (("", "work", ""), ("", "root", ".pyenv"))]
MACHINE_PATHS.append("/".join(("", "tmp", "dev")))


def tracked() -> list[Path]:
    """Return all tracked files that are text."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and is_text(path)]


def is_text(path: Path) -> bool:
    """Whether a file has no NUL byte, which is how git tells."""
    return b"\0" not in path.read_bytes()[:8000]


def test_no_registry_is_named_and_no_path_of_one_machine() -> None:
    found = []
    for path in tracked():
        text = path.read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), start=1):
            hits = [host for host in HOSTS if re.search(rf"(?<![\w-]){re.escape(host)}\b", line)]
            hits += [part for part in MACHINE_PATHS if re.search(rf"(?<![\w.-]){part}\b", line)]
            found += [f"{path.relative_to(ROOT)}:{number}: {hit}" for hit in hits]
    assert found == []


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    words = re.compile(r"\bpytest\." + "(skip|xfail|importorskip)" + r"\b|\bmark\.(skip|xfail)")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked()
        if path.suffix == ".py"
        for match in words.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def documents() -> list[Path]:
    """Return all tracked Markdown files."""
    return [path for path in tracked() if path.suffix == ".md"]


def outside_code(text: str) -> str:
    """Return Markdown without its code blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as code hosts make them."""
    found = set()
    for heading in re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M
    ):
        plain = re.sub(r"[`*]", "", heading).strip().lower()
        kept = [c for c in plain if c in " -_" or unicodedata.category(c)[0] in "LN"]
        found.add("".join(kept).replace(" ", "-"))
    return found


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for path in documents():
        for target in re.findall(
            r"\]\(([^)\s]+)\)", outside_code(path.read_text(encoding="utf-8"))
        ):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            there = (path.parent / name).resolve() if name else path
            if not there.exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
            elif anchor and there.suffix == ".md" and anchor not in anchors(there.read_text()):
                broken.append(f"{path.relative_to(ROOT)}: {target} (no such heading)")
    assert broken == []


def test_where_to_change_what_holds_the_names_that_it_says() -> None:
    text = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    named = re.findall(r"\]\(\.\./(\S+?)\) `(\w+)`", text)
    assert len(named) >= 15
    wrong = [(path, name) for path, name in named if name not in (ROOT / path).read_text()]
    assert wrong == []


def outline(path: Path) -> list[int]:
    """Return the levels of a document's headings, in order."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [len(marks) for marks in re.findall(r"^(#+) ", text, re.M)]


def code_blocks(path: Path) -> list[str]:
    """Return the code blocks of a document without their comments, which are translated."""
    blocks = re.findall(r"^```.*?^```$", path.read_text(encoding="utf-8"), re.M | re.S)
    return [re.sub(r"[ \t]*#.*$", "", block, flags=re.M) for block in blocks]


TRANSLATED = sorted(ROOT.glob("**/README.zh.md")) or [ROOT / "README.zh.md"]


@pytest.mark.parametrize("chinese", TRANSLATED, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_chinese_readme_is_in_step(chinese: Path) -> None:
    english = chinese.with_name("README.md")
    assert outline(chinese) == outline(english)
    assert code_blocks(chinese) == code_blocks(english)


def test_the_documents_every_project_has_are_there() -> None:
    names = ("README.md", "README.zh.md", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md")
    assert [name for name in names if not (ROOT / name).is_file()] == []


def test_the_readme_is_a_door_and_no_manual() -> None:
    long = {
        path.name: lines
        for path in (ROOT / "README.md", ROOT / "README.zh.md")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 180
    }
    assert long == {}, "what a reader looks up belongs into docs/"


def test_every_page_has_its_place_in_the_list_of_documents() -> None:
    listed = set(re.findall(r"\]\(([^)#\s]+)\)", (ROOT / "docs/README.md").read_text()))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert sorted(pages - listed) == []
