"""Versions of a stack, read from real git repositories."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moorage.controller.project import Project
from moorage.controller.source import SourceError, at_version

COMPOSE = "services: {web: {image: 'shop:%s'}}\n"


def git(directory: Path, *argv: str) -> str:
    """Run git with a name of its own and return what it prints."""
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    command = ["git", "-C", str(directory), *identity, *argv]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with one stack, which is no repository yet."""
    (tmp_path / "files/stacks/shop").mkdir(parents=True)
    for name in ("moorage", "images"):
        (tmp_path / "files" / name).mkdir()
        (tmp_path / "files" / name / "README").write_text("now\n")
    (tmp_path / "files/stacks/shop/compose.yml").write_text(COMPOSE % 1)
    return tmp_path


def commit(repository: Path, shop: Path, number: int, tag: str) -> None:
    """Commit the stack's next state and tag it."""
    (shop / "compose.yml").write_text(COMPOSE % number)
    git(repository, "add", "--all", "--", ":!.state")
    git(repository, "commit", "--quiet", "-m", f"state {number}")
    git(repository, "tag", tag)


@pytest.fixture
def checkout(root: Path) -> Project:
    """The stack as a part of the checkout's repository, in two versions and a changed tree."""
    git(root, "init", "--quiet", "--initial-branch", "main")
    shop = root / "files/stacks/shop"
    commit(root, shop, 1, "v1.0")
    commit(root, shop, 2, "v1.1")
    (shop / "compose.yml").write_text(COMPOSE % 3)
    (root / "files/moorage/README").write_text("later\n")
    return Project(root)


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("v1.0", "1"),
        ("v1.1", "2"),
        ("main", "2"),
        ("v1.1~1", "1"),
    ],
)
def test_a_version_is_what_the_repository_holds(checkout: Project, name: str, state: str) -> None:
    found = at_version(checkout, "shop", name).stack_directory("shop")
    assert (found / "compose.yml").read_text() == COMPOSE % state
    # The working tree is not read, and not touched.
    assert (checkout.stack_directory("shop") / "compose.yml").read_text() == COMPOSE % 3
    assert (found / "../../moorage/README").read_text() == "now\n"


def test_a_commit_is_read_once_and_by_its_short_name_too(checkout: Project) -> None:
    full = git(checkout.root, "rev-parse", "v1.0")
    places = {
        at_version(checkout, "shop", name).stack_directory("shop")
        for name in ("v1.0", full, full[:10])
    }
    assert places == {checkout.root / ".state/versions" / full / "files/stacks/shop"}


def test_hosts_that_are_planned_side_by_side_share_the_tree(checkout: Project) -> None:
    def place(_: int) -> Path:
        return at_version(checkout, "shop", "v1.0").stack_directory("shop")

    with ThreadPoolExecutor(8) as pool:
        places = set(pool.map(place, range(16)))
    assert len(places) == 1
    (shop,) = places
    assert (shop / "compose.yml").exists()
    left = [path.name for path in (checkout.root / ".state/versions").iterdir()]
    assert len(left) == 2, f"one tree and the lock, not {left}"


def test_a_stack_may_be_a_repository_of_its_own(root: Path) -> None:
    shop = root / "files/stacks/shop"
    git(shop, "init", "--quiet", "--initial-branch", "main")
    commit(shop, shop, 1, "v1.0")
    commit(shop, shop, 2, "v1.1")
    found = at_version(Project(root), "shop", "v1.0").stack_directory("shop")
    assert (found / "compose.yml").read_text() == COMPOSE % 1
    # What it takes from beside it is the checkout's.
    assert (found / "../../moorage/README").read_text() == "now\n"


def test_a_stack_elsewhere_has_versions_too(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shop = elsewhere / "kiosk"
    shop.mkdir(parents=True)
    git(elsewhere, "init", "--quiet", "--initial-branch", "main")
    commit(elsewhere, shop, 1, "v1.0")
    project = Project(root, (elsewhere,))
    found = at_version(project, "kiosk", "v1.0").stack_directory("kiosk")
    assert (found / "compose.yml").read_text() == COMPOSE % 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v1.2", r"no tag, branch or commit 'v1\.2': close to it: v1\.[01], v1\.[01].*fetch"),
        ("zzz", r"no tag, branch or commit 'zzz': it has: "),
        ("--help", "no tag, branch or commit '--help'"),
        ("$(id)", "no tag, branch or commit"),
    ],
)
def test_an_unknown_version_names_what_there_is(checkout: Project, name: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        at_version(checkout, "shop", name)


def test_a_version_from_before_the_stack_is_refused(root: Path) -> None:
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", "files/moorage")
    git(root, "commit", "--quiet", "-m", "no stack yet")
    with pytest.raises(SourceError, match="has no stack shop"):
        at_version(Project(root), "shop", "main")


def test_without_a_repository_there_are_no_versions(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceError, match=r"in no git repository.*leave out"):
        at_version(Project(root), "shop", "v1.0")
    monkeypatch.setenv("PATH", str(root))
    with pytest.raises(SourceError, match="git, which is not installed"):
        at_version(Project(root), "shop", "v1.0")


def test_settings_of_git_from_outside_lead_nowhere_else(
    checkout: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # As in a hook, which git runs with its own repository in the environment.
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert at_version(checkout, "shop", "v1.0").trees.keys() == {"shop"}
