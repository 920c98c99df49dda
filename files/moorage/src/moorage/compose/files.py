"""Reading the files of a description: the Compose file, what it includes and extends."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moorage.compose.dotenv import DotenvError, parse_dotenv
from moorage.compose.errors import ComposeError, Problem, did_you_mean
from moorage.compose.extension import EXTENSION
from moorage.compose.merge import (
    merge_files,
    merge_services,
    unique_service,
    without_paths,
)
from moorage.compose.schema import FILE
from moorage.compose.shapes import EXTENSION_PREFIX, INVALID, Place
from moorage.compose.source import Sheet, read_sheet

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECTIONS = ("services", "networks", "volumes", "secrets", "configs")
_Key = tuple[Path, Path, frozenset[tuple[str, str]]]
_EMPTY_ADVICE = "write at least services: with one service"


@dataclass
class Files:
    """The files read so far and the problems found in them."""

    problems: list[Problem] = field(default_factory=list)
    sheets: dict[Path, Sheet] = field(default_factory=dict)
    # Variables of these names, unless they are given, stay as they are written: a pattern.
    kept: str = ""
    # Whoever only looks at a description reads nothing of the machine: nothing outside of this.
    within: Path | None = None
    # Every word of the files read, and the names that values were looked up for.
    words: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    _canonical: dict[_Key, dict[str, Any]] = field(default_factory=dict)

    def inside(self, file: Path) -> Path:
        """Return a file that may be read; raises ComposeError."""
        if self.within and not file.resolve().is_relative_to(self.within.resolve()):
            advice = "lay a copy into the project, and name that"
            raise ComposeError([Problem("", f"{file} lies outside of the project", advice)])
        return file

    def read(
        self, file: Path, base: Path, variables: Mapping[str, str], including: tuple[Path, ...] = ()
    ) -> dict[str, Any]:
        """A file in canonical form, `include` and `extends` carried out."""
        data = dict(self.canonical(file, base, variables))
        services = data.get("services", {})
        extended = {
            name: self.extended(name, file, services, base, variables, ()) for name in services
        }
        data["services"] = extended
        for index, entry in enumerate(data.pop("include", [])):
            self._include(data, entry, file, index, variables, (*including, file))
        return data

    def canonical(self, file: Path, base: Path, variables: Mapping[str, str]) -> dict[str, Any]:
        """A file in canonical form, checked by itself."""
        key = (file, base, frozenset(variables.items()))
        if key in self._canonical:
            return self._canonical[key]
        sheet = read_sheet(self.inside(file), lambda name: self._value(name, variables))
        self.sheets[file] = sheet
        with suppress(OSError, UnicodeDecodeError):  # reported with the sheet
            self.words.update(_WORD.findall(file.read_text(encoding="utf-8")))
        if sheet.data is None and not sheet.problems:
            sheet.report((), "the file is empty", advice=_EMPTY_ADVICE)
        data = FILE(sheet.data, Place(sheet, base)) if sheet.data is not None else {}
        result: dict[str, Any] = {} if data is INVALID else data
        for name, service in result.get("services", {}).items():
            result["services"][name] = unique_service(service)
        if isinstance(sheet.data, dict):
            for key, value in sheet.data.items():
                if key.startswith(EXTENSION_PREFIX):
                    result.setdefault(key, value)
        self.problems += sheet.problems
        self._canonical[key] = result
        return result

    def _value(self, name: str, variables: Mapping[str, str]) -> str | None:
        self.asked.add(name)
        kept = f"${{{name}}}" if re.fullmatch(self.kept, name) else None
        return variables.get(name, kept)

    def extended(
        self,
        name: str,
        file: Path,
        services: dict[str, Any],
        base: Path,
        variables: Mapping[str, str],
        chain: tuple[tuple[Path, str], ...],
    ) -> dict[str, Any]:
        """A service merged over the one that it extends."""
        service = dict(services[name])
        extends = service.pop("extends", None)
        if extends is None or "service" not in extends:
            return service
        sheet, path = self.sheets[file], ("services", name, "extends")
        if (file, name) in chain:
            steps = " -> ".join(step for _, step in (*chain, (file, name)))
            self._report(sheet, path, f"services extend each other: {steps}", "break the circle")
            return service
        parent_file, parents = file, services
        if "file" in extends:
            parent_file = Path(extends["file"])
            base = parent_file.parent
            parents = self.canonical(parent_file, base, variables).get("services", {})
        parent = extends["service"]
        if parent not in parents:
            where = "" if parent_file == file else f" in {parent_file.name}"
            message = f"extends {parent!r}, which is no service{where}"
            self._report(sheet, path, message, did_you_mean(parent, parents))
            return service
        below = self.extended(parent, parent_file, parents, base, variables, (*chain, (file, name)))
        own = [path[2:] for path in sheet.replaced if path[:2] == ("services", name)]
        return merge_services(without_paths(below, filter(None, own)), service)

    def _include(
        self,
        data: dict[str, Any],
        entry: dict[str, Any],
        file: Path,
        index: int,
        variables: Mapping[str, str],
        including: tuple[Path, ...],
    ) -> None:
        sheet, path = self.sheets[file], ("include", index)
        paths = [Path(item) for item in entry.get("path", [])]
        if not paths:
            return
        if paths[0] in including:
            steps = " -> ".join(step.name for step in (*including, paths[0]))
            self._report(sheet, path, f"files include each other: {steps}", "break the circle")
            return
        base = Path(entry.get("project_directory", paths[0].parent))
        default = base / ".env"
        env_files = [Path(item) for item in entry.get("env_file", [])]
        if not env_files and default.is_file():
            env_files = [default]
        inner: dict[str, str] = {}
        for env_file in env_files:
            inner |= self.dotenv(env_file, {**inner, **variables}, sheet, path)
        merged: dict[str, Any] = {}
        for item in paths:
            over = self.read(item, base, {**inner, **variables}, including)
            merged = merge_files(merged, over, self.sheets[item].replaced)
        self._import(data, merged, sheet, path)

    def _import(
        self, data: dict[str, Any], other: dict[str, Any], sheet: Sheet, path: tuple[str | int, ...]
    ) -> None:
        for section in _SECTIONS:
            mine = dict(data.get(section, {}))
            for name, value in other.get(section, {}).items():
                if name in mine and mine[name] != value:
                    message = f"{section}.{name} is defined in both files, differently"
                    self._report(sheet, path, message, "rename one, or extend it instead")
                mine.setdefault(name, value)
            data[section] = mine
        if all(isinstance(each.get(EXTENSION, {}), dict) for each in (other, data)):
            data[EXTENSION] = {**other.get(EXTENSION, {}), **data.get(EXTENSION, {})}

    def dotenv(
        self,
        file: Path,
        outer: Mapping[str, str],
        sheet: Sheet,
        path: tuple[str | int, ...],
    ) -> dict[str, str]:
        """Variables of an environment file; what is wrong is reported at `path` of `sheet`."""
        try:
            text = self.inside(file).read_text(encoding="utf-8")
            self.words.update(_WORD.findall(text))
            return parse_dotenv(text, outer)
        except OSError as error:
            message = f"the environment file {_short(file)} cannot be read: {error.strerror}"
            self._report(sheet, path, message, "create it, or give the long form required: false")
        except (DotenvError, UnicodeDecodeError) as error:
            message = f"the environment file {_short(file)}: {error}"
            self._report(sheet, path, message, "write KEY=VALUE lines")
        return {}

    def _report(self, sheet: Sheet, path: tuple[str | int, ...], message: str, advice: str) -> None:
        before = len(sheet.problems)
        sheet.report(path, message, advice=advice)
        self.problems += sheet.problems[before:]


def _short(file: Path) -> str:
    home = os.path.relpath(file)
    return home if len(home) < len(str(file)) else str(file)
