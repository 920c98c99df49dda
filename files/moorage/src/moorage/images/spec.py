"""One image to build: what goes into it and the name that follows from it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from moorage.images import context as contexts
from moorage.images.dockerfile import CONTEXT, Uses, uses
from moorage.images.environment import REQUIREMENTS, VENV
from moorage.images.errors import ImageError
from moorage.images.ignore import IgnoreRules
from moorage.release.native import PREFIX

# Part of every hash: raise it when what a builder does with the same sources changes.
_FORMAT = 1
_KEYS = {"context", "dockerfile", "target", "args", "additional_contexts"}
# The same of environments.
_ENVIRONMENT_FORMAT = 1
_ENVIRONMENT_KEYS = {"requirements", "sources", "files"}
_DIRECTORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_DIRECT = ("docker-image://", "https://", "http://", "git@", "ssh://", "oci-layout://")


class Names(Protocol):
    """What stands for the names that Dockerfiles use: `moorage.images.mapping.ImageMap`."""

    @property
    def directory(self) -> Path:
        """Where the directories lie that images are made of: files/images."""

    @property
    def refs(self) -> Mapping[str, str]:
        """The references, by name."""

    def identity(self, name: str) -> str:
        """Return what an image built on ``name`` depends on."""


@dataclass(frozen=True)
class BuildSpec:
    """An image or environment that a host can build, named by a hash of all that goes into it.

    `trees` holds the files of the build context (key "") and of every named context in use;
    `images` the references that stand for names in FROM; `remotes` named contexts that are no
    directory. `script` is set for an image that is bootstrapped rather than built: its program.
    Of an `environment`, `trees` are its directories, and `requirements` is the text of that file.
    """

    key: str
    ref: str
    dockerfile: Path | None
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    trees: Mapping[str, tuple[contexts.Entry, ...]] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    remotes: Mapping[str, str] = field(default_factory=dict)
    stack: str = ""
    script: str = ""
    digest: str = ""
    environment: bool = False
    requirements: str = ""


def stack_spec(
    stack: str,
    key: str,
    build: Mapping[str, Any],
    directory: Path,
    images: Names,
    name: str | None = None,
) -> BuildSpec:
    """Describe the image of a `build:` mapping as in the Compose Specification.

    `directory` is where relative paths start: the stack's. The image is called moorage/NAME:HASH,
    by default after the stack and the target (or the key, which is also what errors name). One
    that says `environment` is an environment. Raises ImageError.
    """
    if set(build) == {"environment"}:
        return environment_spec(stack, key, build["environment"], directory, images, name)
    what = f"{stack}: {key}: build"
    unknown = ", ".join(sorted(set(build) - _KEYS))
    if unknown:
        raise ImageError(f"{what}: {unknown} cannot be honoured: use {', '.join(sorted(_KEYS))}")
    target = build.get("target")
    try:
        spec = describe(key, build, directory, images, stack)
    except (ImageError, OSError) as error:
        raise ImageError(f"{what}: {error}") from error
    digest = spec_digest(spec, images)
    ref = f"moorage/{name or f'{stack}-{target or key}'}:{digest[:12]}".lower()
    return replace(spec, ref=ref, digest=digest)


def environment_spec(
    stack: str,
    key: str,
    environment: Mapping[str, Any],
    directory: Path,
    images: Names,
    name: str | None = None,
) -> BuildSpec:
    """Describe an environment by its `requirements`, `sources` and `files`.

    `requirements` is a file with hashes, as pip reads it, or None. `sources` are directories, and
    `files` those of files/images, by the names that they get. Other paths are relative to
    `directory`, the stack's. Which Python it is for is the host's to say. Raises ImageError.
    """
    what = f"{stack}: {key}: environment"
    unknown = ", ".join(sorted(set(environment) - _ENVIRONMENT_KEYS))
    if unknown:
        known = ", ".join(sorted(_ENVIRONMENT_KEYS))
        raise ImageError(f"{what}: {unknown} cannot be honoured: use {known}")
    sources, files = environment.get("sources") or {}, environment.get("files") or {}
    for wanted in (*sources, *files):
        _check_name(what, wanted, twice=wanted in sources and wanted in files)
    file = environment.get("requirements")
    try:
        requirements = (directory / file).read_text(encoding="utf-8") if file else ""
        trees = {n: _source(directory / path, directory) for n, path in sources.items()}
        for wanted, path in files.items():
            root = images.directory / path
            trees[wanted] = tuple(contexts.scan(root, contexts.rules_of(root)))
    except (ImageError, OSError) as error:
        raise ImageError(f"{what}: {error}") from error
    content = {
        "environment": _ENVIRONMENT_FORMAT,
        "requirements": requirements,
        "trees": {name: contexts.digest(entries) for name, entries in trees.items()},
    }
    digest = _hash(content)
    return BuildSpec(
        key=key,
        ref=f"{PREFIX}{name or f'{stack}-{key}'}:{digest[:12]}".lower(),
        dockerfile=None,
        trees=trees,
        stack=stack,
        digest=digest,
        environment=True,
        requirements=requirements,
    )


def _check_name(what: str, name: str, *, twice: bool) -> None:
    if twice:
        raise ImageError(f"{what}: {name} is of sources and of files: give one another name")
    if name in (VENV, REQUIREMENTS) or not _DIRECTORY.fullmatch(name):
        raise ImageError(
            f"{what}: {name!r} cannot be the name of a directory in it: use letters, digits, "
            f"'_', '.' and '-', and neither {VENV} nor {REQUIREMENTS}"
        )


def _source(root: Path, stack: Path) -> tuple[contexts.Entry, ...]:
    """Return the files of a source, as the nearest .dockerignore at or above it wants.

    A directory that the stack lies in is too far up: others are in it as well.
    """
    root, stack = root.resolve(), stack.resolve()
    for at in (root, *root.parents):
        if at in stack.parents:
            break
        if (at / ".dockerignore").is_file():
            within = root.relative_to(at).as_posix()
            prefix = "" if at == root else f"{within}/"
            return tuple(contexts.scan(root, contexts.rules_of(at), prefix))
    return tuple(contexts.scan(root, IgnoreRules()))


def describe(
    key: str, build: Mapping[str, Any], directory: Path, images: Names, stack: str
) -> BuildSpec:
    """Collect what goes into an image, still without a name."""
    root = directory / str(build.get("context") or ".")
    dockerfile = root / str(build.get("dockerfile") or "Dockerfile")
    if not dockerfile.is_file():
        raise ImageError(f"there is no {dockerfile}")
    target = build.get("target")
    args = _arguments(build.get("args") or {})
    named = _contexts(build.get("additional_contexts") or {})
    used = uses(dockerfile.read_text(encoding="utf-8"), target, args)
    remotes = {name: value for name, value in named.items() if value.startswith(_DIRECT)}
    roots = {CONTEXT: root} | {
        name: directory / value for name, value in named.items() if name not in remotes
    }
    return BuildSpec(
        key=key,
        ref="",
        dockerfile=dockerfile,
        target=target,
        args=args,
        trees={
            name: tuple(_files(path, used, name, dockerfile))
            for name, path in roots.items()
            if used.anything or name in used.sources
        },
        images={
            name: ref
            for name, ref in images.refs.items()
            if name not in named and (used.anything or name in used.images)
        },
        remotes={
            name: value for name, value in remotes.items() if used.anything or name in used.sources
        },
        stack=stack,
    )


def spec_digest(spec: BuildSpec, images: Names) -> str:
    """Return the SHA-256 (hex) of all that goes into the image."""
    content: dict[str, Any] = {
        "format": _FORMAT,
        "dockerfile": spec.dockerfile.read_text(encoding="utf-8") if spec.dockerfile else "",
        "target": spec.target,
        "args": dict(spec.args),
        "trees": {name: contexts.digest(entries) for name, entries in spec.trees.items()},
        "images": {name: images.identity(name) for name in spec.images},
        "remotes": dict(spec.remotes),
    }
    return _hash(content)


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _files(root: Path, used: Uses, name: str, dockerfile: Path) -> list[contexts.Entry]:
    rules = contexts.rules_of(root, dockerfile if name == CONTEXT else None)
    entries = contexts.scan(root, rules)
    sources = None if used.anything else used.sources[name]
    return entries if sources is None else contexts.select(entries, sources)


def _arguments(args: Mapping[str, Any] | list[str]) -> dict[str, str]:
    pairs = [item.partition("=")[::2] for item in args] if isinstance(args, list) else args.items()
    return {str(name): _text(value) for name, value in pairs if value is not None}


def _contexts(named: Mapping[str, Any] | list[str]) -> dict[str, str]:
    if isinstance(named, list):
        return {name: value for name, _, value in (item.partition("=") for item in named)}
    return {str(name): str(value) for name, value in named.items()}


def _text(value: Any) -> str:
    # YAML's true is written "true" in a build argument, as Compose does.
    return str(value).lower() if isinstance(value, bool) else str(value)
