"""Reading configuration files: one, or several of which later ones override earlier ones."""

from __future__ import annotations

import os
import re

from process_supervisor.config.plugins import located
from process_supervisor.config.reader import ConfigError, meant
from process_supervisor.config.settings import OWN_PATHS, PATHS, Config, mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

YAML_ENDINGS = (".yaml", ".yml")
MOST_FILES = 1000


def load(*paths: str) -> Config:
    """Read configuration files, YAML if their names end so; raises ConfigError.

    A later file overrides an earlier one: its processes by name, key by key. Those that a file
    names in `include`, patterns relative to it, come right after it.
    """
    files = Files()
    for path in paths:
        files.add(path)
    return files.config()


class Files:
    """Several files as one mapping, and which of them each setting came from."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.names: list[str] = []
        self.directories: list[str] = []
        self.problems: list[str] = []
        self._read: set[str] = set()
        # By process (or `supervisor`) and key; the empty key is of who named it first.
        self._origins: dict[tuple[str, str], str] = {}

    def add(self, path: str, included_by: str = "") -> None:
        """Read a file over those before it, and what it includes."""
        real = os.path.realpath(path)
        if real in self._read or len(self._read) >= MOST_FILES:
            self.problems.append(f"{path}: is read twice" if real in self._read else "too many")
            return
        self._read.add(real)
        self.names.append(path)
        try:
            with open(path, encoding="utf-8") as file:
                found = mapping(file.read(), path.endswith(YAML_ENDINGS))
        except (OSError, UnicodeDecodeError) as error:
            whence = f" (included by {included_by})" if included_by else ""
            self.problems.append(f"{path}: {getattr(error, 'strerror', None) or error}{whence}")
            return
        except ConfigError as error:
            self.problems += [f"{path}: {problem}" for problem in error.problems]
            return
        base = os.path.dirname(os.path.abspath(path))
        include = found.pop("include", None)
        self._merge(rooted(found, base), path)
        for name in self._included(include, path):
            self.add(name, path)

    def config(self) -> Config:
        """Return the configuration that they make; raises ConfigError."""
        if self.problems:
            raise ConfigError(self.problems)
        try:
            config = Config(self.data)
        except ValueError as error:
            # Else a number of more digits than Python writes, in what is told of it.
            problems = error.problems if isinstance(error, ConfigError) else [str(error)]
            raise ConfigError([self.placed(problem) for problem in problems]) from None
        config.files, config.included = self.names, self.directories
        return config

    def placed(self, problem: str) -> str:
        """Return a problem with the file in front that it is in, if it is in one."""
        if not self.names:
            return problem
        where, _, rest = problem.partition(": ")
        key = re.match(r"\w*", rest)
        # A replica's name begins with that of its entry.
        owners = [name for name, key in self._origins if not key and where.startswith(name)]
        owner = max(owners, key=len, default=where)
        file = self._origins.get((where, key[0] if key else "")) or self._origins.get((owner, ""))
        if rest == "command: is required" and file != self.names[0]:
            known = [name.removeprefix("process ") for name, key in self._origins if not key]
            name = where.removeprefix("process ")
            problem += meant(name, [other for other in known if other != name])
        return f"{file or self.names[0]}: {problem}"

    def _included(self, include: object, path: str) -> list[str]:
        patterns = [include] if isinstance(include, str) else include or []
        if not isinstance(patterns, list) or not all(
            isinstance(item, str) and "\0" not in item for item in patterns
        ):
            self.problems.append(f"{path}: include: must be a list of paths, not {include!r}")
            return []
        if not patterns:
            return []
        from glob import glob, has_magic

        directory, found = os.path.dirname(path), []
        for pattern in patterns:
            whole = os.path.join(directory, pattern)
            # A directory may be empty, a file that is named has to be there.
            found += sorted(glob(whole)) if has_magic(pattern) else [whole]
            while has_magic(whole):
                whole = os.path.dirname(whole)
            self.directories.append(whole)
        return found

    def _merge(self, found: dict[str, Any], path: str) -> None:
        for key, value in found.items():
            self._origins["configuration", key] = path
            before = self.data.get(key)
            if before is None and key in ("processes", "supervisor"):
                before = type(value)()
            if key == "processes" and isinstance(value, list) and isinstance(before, list):
                self.data[key] = before
                self._merge_processes(value, path)
            elif key == "supervisor" and isinstance(value, dict) and isinstance(before, dict):
                self.data[key] = before
                self._override(before, value, key, path)
            elif key not in self.data or before == value or key == "version":
                self.data[key] = value
            else:
                self.problems.append(f"{path}: {key}: cannot override {before!r}")

    def _merge_processes(self, items: list[Any], path: str) -> None:
        processes = self.data["processes"]
        # Twice in one file is a mistake, so those of this file are not among them.
        known = {str(item.get("name")): item for item in processes if isinstance(item, dict)}
        for item in items:
            name = item.get("name") if isinstance(item, dict) else None
            if not isinstance(name, str):
                processes.append(item)
            elif name in known:
                self._override(known[name], item, f"process {name}", path)
            else:
                new: dict[str, Any] = {}
                self._override(new, item, f"process {name}", path)
                processes.append(new)

    def _override(
        self, old: dict[str, Any], new: dict[str, Any], where: str, path: str
    ) -> None:  # fmt: skip
        self._origins.setdefault((where, ""), path)
        for key, value in new.items():
            self._origins[where, key] = path
            old[key] = overridden(old.get(key), value, key)


def overridden(old: Any, new: Any, key: str) -> Any:
    """Return a setting after a later file: mappings and named lists are gone through, key by key.

    In a mapping null takes a key away. A health check of another type is another one.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        if key == "health_check" and new.get("type") not in (None, old.get("type")):
            return new
        merged = {**old, **{name: overridden(old.get(name), v, name) for name, v in new.items()}}
        return {name: value for name, value in merged.items() if value is not None}
    if named(old) and named(new):
        found = {item["name"]: item for item in old}
        for item in new:
            found[item["name"]] = overridden(found.get(item["name"]), item, "")
        return list(found.values())
    return new


def named(value: object) -> bool:
    """Whether a setting is a list of mappings that have names, such as plug-ins."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and isinstance(item.get("name"), str) for item in value)
    )


def rooted(found: dict[str, Any], base: str) -> dict[str, Any]:
    """Have the paths of a file be relative to nothing; what is no path is left to who reads it."""

    def under(place: Any, keys: tuple[str, ...]) -> None:
        for key in keys if isinstance(place, dict) else ():
            if isinstance(place.get(key), str) and place[key]:
                place[key] = os.path.abspath(os.path.join(base, place[key]))

    def items(place: object, key: str) -> list[Any]:
        value = place.get(key) if isinstance(place, dict) else None
        return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []

    section = found.get("supervisor")
    under(section, OWN_PATHS)
    for process in items(found, "processes"):
        under(process, PATHS)
    for plugin in items(section, "plugins"):
        if isinstance(plugin.get("class"), str):
            plugin["class"] = located(plugin["class"], base)
    alerts = section.get("alerts") if isinstance(section, dict) else None
    for channel in items(alerts, "channels"):
        under(channel, tuple(key for key in channel if str(key).endswith("_file")))
    return found
