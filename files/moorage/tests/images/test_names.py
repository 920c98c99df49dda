"""An image's name changes with what goes into it, and with nothing else."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from moorage.images import ImageError, ImageMap, stack_spec

NAMES = st.text("abcdefgh", min_size=1, max_size=3)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
FILES = st.dictionaries(
    PATHS, st.tuples(st.binary(max_size=20), st.booleans()), min_size=1, max_size=6
)
WHOLE = "FROM scratch\nCOPY . /\n"
MAP = {"debian:trixie-slim": "base", "mariadb:11.8": "mariadb"}


def clashes(files: Mapping[str, object]) -> bool:
    """Tell whether a path would have to be a file and a directory."""
    return any(other.startswith(f"{path}/") for path in files for other in files)


@contextmanager
def tree(files: Mapping[str, tuple[bytes, bool]], dockerfile: str = WHOLE) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "Dockerfile").write_text(dockerfile)
        for name, (content, executable) in files.items():
            path = root / "ctx" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o755 if executable else 0o644)
        yield root


def name(root: Path, **build: Any) -> str:
    build = {"context": "ctx", "dockerfile": "../Dockerfile", **build}
    return stack_spec("shop", "web", build, root, ImageMap(root, {})).ref


@settings(max_examples=60, deadline=None)
@given(FILES, st.data())
def test_any_change_of_a_file_changes_the_name(
    files: dict[str, tuple[bytes, bool]], data: st.DataObject
) -> None:
    assume(not clashes(files))
    path = data.draw(st.sampled_from(sorted(files)))
    content, executable = files[path]
    kind = data.draw(st.sampled_from(["content", "executable", "renamed", "removed", "added"]))
    changed = dict(files)
    if kind == "content":
        changed[path] = (content + b"!", executable)
    elif kind == "executable":
        changed[path] = (content, not executable)
    elif kind == "added":
        changed["new-file"] = (b"", False)
    else:
        del changed[path]
        if kind == "renamed":
            changed[f"{path}-2"] = (content, executable)
    with tree(files) as before, tree(changed) as after:
        (after / "ctx").mkdir(exist_ok=True)
        assert name(before) != name(after)


@settings(max_examples=40, deadline=None)
@given(FILES, st.randoms(use_true_random=False))
def test_times_order_and_other_modes_do_not_change_the_name(
    files: dict[str, tuple[bytes, bool]], random: Any
) -> None:
    assume(not clashes(files))
    shuffled = list(files.items())
    random.shuffle(shuffled)
    with tree(files) as before, tree(dict(shuffled)) as after:
        for path in (after / "ctx").rglob("*"):
            if path.is_file():
                path.chmod(0o700 if path.stat().st_mode & 0o100 else 0o600)
                os.utime(path, (random.randrange(10**9), random.randrange(10**9)))
        (after / "ctx" / "an-empty-directory").mkdir()
        assert name(before) == name(after)


def test_an_owner_does_not_change_the_name(tmp_path: Path) -> None:
    with tree({"f": (b"x", False)}) as root:
        before = name(root)
        shutil.copytree(root, tmp_path / "copy")
        if os.geteuid() == 0:
            os.chown(tmp_path / "copy" / "ctx" / "f", 1234, 1234)
        assert name(tmp_path / "copy") == before


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(NAMES, st.text(max_size=5), max_size=3),
    st.dictionaries(NAMES, st.text(max_size=5), max_size=3),
)
def test_arguments_change_the_name(one: dict[str, str], other: dict[str, str]) -> None:
    with tree({"f": (b"x", False)}) as root:
        assert (name(root, args=one) == name(root, args=other)) == (one == other)


def test_both_forms_of_arguments_and_contexts_mean_the_same() -> None:
    with tree({"f": (b"x", False)}, "FROM scratch\nCOPY --from=lib . /\n") as root:
        mapping = name(root, args={"A": True}, additional_contexts={"lib": "ctx"})
        listed = name(root, args=["A=true"], additional_contexts=["lib=ctx"])
        assert mapping == listed


def test_a_context_from_elsewhere_counts_by_its_address() -> None:
    with tree({"f": (b"x", False)}, "FROM scratch\nCOPY --from=lib / /\n") as root:
        tags = ("example.com/lib:1", "example.com/lib:2")
        names = {name(root, additional_contexts={"lib": f"docker-image://{tag}"}) for tag in tags}
        assert len(names) == 2


def test_the_dockerfile_and_the_target_change_the_name() -> None:
    text = "FROM scratch AS one\nCOPY . /\nFROM one AS two\n"
    with tree({"f": (b"x", False)}, text) as root:
        names = {name(root), name(root, target="one"), name(root, target="two")}
        (root / "Dockerfile").write_text(text + "# a comment is a change too\n")
        names.add(name(root))
        assert len({ref.rpartition(":")[2] for ref in names}) == 4


def test_a_link_counts_by_its_target() -> None:
    with tree({"f": (b"x", False), "g": (b"x", False)}) as root:
        (root / "ctx" / "link").symlink_to("f")
        before = name(root)
        (root / "ctx" / "link").unlink()
        (root / "ctx" / "link").symlink_to("g")
        assert name(root) != before


def test_only_what_the_target_copies_counts() -> None:
    text = (
        "FROM scratch AS common\nCOPY common/ /\n"
        "FROM common AS web\nCOPY web /web\n"
        'FROM common AS worker\nCOPY ["worker/*.py", "/worker/"]\n'
        "FROM scratch AS both\nCOPY --from=web / /\nCOPY --from=worker / /\n"
    )
    files = {"common/a": (b"1", False), "web/a": (b"1", False), "worker/a.py": (b"1", False)}
    targets = ("web", "worker", "both")
    for changed, renamed in {
        "common/a": {"web", "worker", "both"},
        "web/a": {"web", "both"},
        "worker/a.py": {"worker", "both"},
        "worker/notes.txt": set(),
        "elsewhere": set(),
    }.items():
        with tree(files, text) as root:
            before = {target: name(root, target=target) for target in targets}
            (root / "ctx" / changed).write_bytes(b"2")
            after = {target: name(root, target=target) for target in targets}
        assert {t for t in targets if before[t] != after[t]} == renamed, changed


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch\nARG what=a\nCOPY ${what} /\n",
        "FROM scratch\nCOPY <<EOF /f\nCOPY a /\nEOF\nCOPY b /\n",
        "# escape=`\nFROM scratch\nCOPY `\n  b /\n",
        "FROM scratch\nRUN --mount=type=bind,target=/src true\n",
        "FROM scratch\nONBUILD COPY . /\n",
        "FROM scratch\nCOPY --parents a/** /\n",
    ],
)
def test_what_cannot_be_told_counts_as_everything(text: str) -> None:
    with tree({"a": (b"1", False), "b": (b"1", False)}, text) as root:
        before = name(root)
        (root / "ctx" / "b").write_bytes(b"2")
        assert name(root) != before


def test_a_link_among_the_sources_may_lead_anywhere() -> None:
    files = {"real/a": (b"1", False), "web/b": (b"1", False)}
    with tree(files, "FROM scratch\nCOPY web /\n") as root:
        (root / "ctx" / "web" / "a").symlink_to("../real/a")
        before = name(root)
        (root / "ctx" / "real" / "a").write_bytes(b"2")
        assert name(root) != before


def images(root: Path) -> Path:
    """Write directories of images: a bootstrapped base, a database built on it."""
    (root / "images/base").mkdir(parents=True)
    (root / "images/base/bootstrap.sh").write_text("echo\n")
    (root / "images/mariadb").mkdir()
    (root / "images/mariadb/Dockerfile").write_text("FROM debian:trixie-slim\n")
    return root / "images"


def test_images_carry_what_they_start_from(tmp_path: Path) -> None:
    directory = images(tmp_path)
    build = {"context": "."}
    (tmp_path / "Dockerfile").write_text("FROM debian:trixie-slim\n")

    def names(refresh: str = "") -> tuple[str, str]:
        found = ImageMap(directory, MAP, refresh)
        return found.ref("mariadb:11.8"), stack_spec("s", "w", build, tmp_path, found).ref

    before = names()
    (directory / "base/bootstrap.sh").write_text("echo changed\n")
    changed = names()
    refreshed = names("2030-01-01")
    (directory / "mariadb/Dockerfile").write_text("FROM debian:trixie-slim\nUSER 1\n")
    database = names("2030-01-01")

    assert len({before[0], changed[0], refreshed[0], database[0]}) == 4
    assert len({before[1], changed[1], refreshed[1]}) == 3
    assert database[1] == refreshed[1]


def test_the_map_builds_the_base_first_and_passes_references_on(tmp_path: Path) -> None:
    found = ImageMap(images(tmp_path), {"a": "mariadb", **MAP, "redis:8": "example.com/redis:8"})

    assert [spec.key for spec in found.specs] == ["base", "mariadb"]
    assert found.ref("debian:trixie-slim") == "moorage/base:trixie"
    assert found.ref("a") == found.ref("mariadb:11.8")
    assert found.ref("redis:8") == "example.com/redis:8"
    assert found.ref("postgres:17") == "postgres:17"


def test_a_mistyped_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"mariadb:11\.8: 'mariabd' is neither a directory"):
        ImageMap(images(tmp_path), {"mariadb:11.8": "mariabd"})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ({"context": "nowhere"}, r"shop: web: build: there is no .*nowhere/Dockerfile"),
        ({"target": "tow"}, r"no target 'tow' \(its stages: one\)"),
        ({"cache_from": ["x"]}, r"cache_from cannot be honoured"),
        ({"additional_contexts": {"lib": "nowhere"}}, r"nowhere is not a directory"),
    ],
)
def test_errors_name_the_service_and_what_is_wrong(
    build: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch AS one\nCOPY --from=lib . /\n")
    with pytest.raises(ImageError, match=message):
        stack_spec("shop", "web", build, tmp_path, ImageMap(tmp_path, {}))


def test_an_image_that_is_no_alpine_says_so(tmp_path: Path) -> None:
    directory = images(tmp_path)
    names = {**MAP, "mariadb:11-alpine": "mariadb", "redis:8-alpine": "example.com/redis:8-alpine"}
    asked = ["mariadb:11-alpine", "mariadb:11.8", "redis:8-alpine", "python:3.13-alpine"]
    (note,) = ImageMap(directory, names).notes(asked)
    assert note.startswith("the image mariadb:11-alpine is built here of Debian's packages")
