"""From a stack's directory to its model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from moorage.compose.check import Report, check_extension, check_resources, check_services
from moorage.compose.errors import ComposeError, Problem
from moorage.compose.extension import EXTENSION
from moorage.compose.files import Files
from moorage.compose.merge import merge_files
from moorage.compose.model import ON_DEMAND, SHIPPED, UNSET, Stack
from moorage.compose.resolve import (
    SECTIONS,
    enabled,
    project_name,
    resolve_build,
    resolve_resources,
    resolve_service,
    without_unused,
)
from moorage.compose.resources import BODY
from moorage.compose.shipped import NotShipped, read_tree
from moorage.compose.source import Sheet, dotted
from moorage.settings.readers import nearest

# What Compose itself reads.
_OF_COMPOSE = {
    "COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME",
}  # fmt: skip
FILE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")


def load_stack(
    directory: Path | str,
    *,
    environment: Mapping[str, str] | None = None,
    profiles: Sequence[str] = (),
    file: str | None = None,
    on_demand: bool = False,
    kept: str = "",
    told: Collection[str] = (),
    within: Path | None = None,
) -> Stack:
    """Load and validate the Compose file of `directory`.

    `environment` are the variables of the caller for interpolation; they win over those of
    `.env` (default: none, so that the result depends on the files alone). `profiles` enables
    services that belong to one; `on_demand` keeps the others too and names them in
    `Stack.on_demand`. `file` names another file than compose.yml. Variables whose names match
    `kept` and that nobody gives stay as they are written. Those in `told` an operator has set for
    this stack: each must stand in one of its files. No file outside of `within` is read. Raises
    ComposeError with all problems found.
    """
    base = Path(directory).absolute()
    path = base / (file or FILE_NAMES[1])
    try:
        files = Files(kept=kept, within=within)
        return _loaded(base, path, environment, profiles, file is None, on_demand, files, told)
    except RecursionError:
        message = "services extend, include or wait for each other in too long a chain"
        problem = Problem("services", message, "shorten it: hundreds of links are too many")
        raise ComposeError([problem]) from None


def _loaded(
    base: Path,
    path: Path,
    environment: Mapping[str, str] | None,
    profiles: Sequence[str],
    overridden: bool,
    on_demand: bool,
    files: Files,
    told: Collection[str],
) -> Stack:
    variables = _variables(files, path, base, environment or {})
    first, *others = _paths(base, variables) if overridden else [path]
    data = files.read(first, base, variables)
    for other in others:
        over = files.read(other, base, variables)
        data = merge_files(data, over, files.sheets[other].replaced)
    given = variables.get("COMPOSE_PROJECT_NAME") or data.get("name")
    name = project_name(given, base)
    if not name:
        message = "the stack has no usable name"
        files.problems.append(Problem("name", message, "add name: with letters and digits"))
    asked = profiles or variables.get("COMPOSE_PROFILES", "").split(",")
    every = data.get("services", {})
    if not every and not files.problems:
        files.problems.append(Problem("services", "there is no service", "write at least one"))
    # Compose enables "" where nothing is asked for, which `${UNSET:-}` becomes.
    started = set(enabled(every, set(asked)))
    brought = set(every) if on_demand else started
    result = _resolved(data, name, base, files, variables, started, brought)
    files.problems += _unknown(told, files)
    if files.problems:
        raise ComposeError(files.problems)
    waiting = [key for key in result["services"] if key not in started]
    unset = sorted(name for sheet in files.sheets.values() for name in sheet.unset)
    more = {"directory": str(base), ON_DEMAND: waiting, UNSET: list(dict.fromkeys(unset))}
    return Stack.from_dict({**result, **more})


def _unknown(told: Collection[str], files: Files) -> Iterator[Problem]:
    """Yield the variables that no file of the stack has, in whatever place."""
    for name in sorted(set(told) - files.words - _OF_COMPOSE):
        near = nearest(name, files.asked)
        advice = f"did you mean {near!r}?" if near else f"remove it, or write ${{{name}}} there"
        yield Problem(f"settings.variables.{name}", "no file of the stack has it", advice)


def started_only(stack: Stack) -> Stack:
    """A stack without its services on demand, but for those that ask to be there."""
    dropped = {key for key in stack.on_demand if not stack.services[key].moorage.on_demand}
    data = {section: {} for section in SECTIONS} | stack.to_dict()
    data[ON_DEMAND] = [key for key in stack.on_demand if key not in dropped]
    services = data["services"].items()
    data["services"] = {key: value for key, value in services if key not in dropped}
    return Stack.from_dict(without_unused(data))


def _paths(base: Path, variables: Mapping[str, str]) -> list[Path]:
    """The files that Compose takes: those of COMPOSE_FILE, else the usual one and its override."""
    separator = variables.get("COMPOSE_PATH_SEPARATOR") or ":"
    named = [name for name in variables.get("COMPOSE_FILE", "").split(separator) if name]
    if named:
        return [base / name for name in named]
    path = find_file(base)
    override = path.with_name(f"{path.stem}.override{path.suffix}")
    return [path, *([override] if override.is_file() else [])]


def find_file(directory: Path) -> Path:
    """The Compose file of a directory; ComposeError when there is none."""
    for name in FILE_NAMES:
        if (directory / name).is_file():
            return directory / name
    message = f"{directory} holds no Compose file"
    raise ComposeError([Problem("", message, f"create {FILE_NAMES[1]} there")])


def _variables(
    files: Files, file: Path, base: Path, environment: Mapping[str, str]
) -> dict[str, str]:
    dotenv = base / ".env"
    if not dotenv.is_file():
        return dict(environment)
    return {**files.dotenv(dotenv, environment, Sheet(file), ()), **environment}


def _read_configs(data: dict[str, Any], files: Files, report: Report) -> None:
    for key, config in data["configs"].items():
        if "file" not in config:
            continue
        try:
            body = files.inside(Path(config["file"])).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            advice = "create it, or correct the path"
            report(("configs", key, "file"), f"the file cannot be read: {reason}", advice)
        else:
            data["configs"][key] = {**config, BODY: body}


def _read_shipped(services: Mapping[str, Any], base: Path, report: Report) -> dict[str, Any]:
    """What is there of the stack's directory that services mount, by source."""
    found: dict[str, Any] = {}
    for name, service in services.items():
        for index, mount in enumerate(service.get("volumes", [])):
            source = Path(mount.get("source", "")) if mount["type"] == "bind" else None
            if source is None or str(source) in found or not source.is_relative_to(base):
                continue
            where = ("services", name, "volumes", index)
            try:
                if files := read_tree(source, base):
                    found[str(source)] = files
            except NotShipped as error:
                report(where, f"{source.relative_to(base)}: {error}", error.advice)
            except OSError as error:
                report(where, f"cannot be read: {error.strerror}", "let it be read, or remove it")
    return found


def _resolved(
    data: dict[str, Any],
    name: str,
    base: Path,
    files: Files,
    variables: Mapping[str, str],
    started: set[str],
    kept: set[str],
) -> dict[str, Any]:
    sheet = next(iter(files.sheets.values()))
    known = [problem.where for problem in files.problems]

    def report(path: tuple[str | int, ...], message: str, advice: str) -> None:
        # A value that was refused is missing from here on: that is no second problem.
        where = dotted(path)
        if any(where == seen or seen.startswith((f"{where}.", f"{where}[")) for seen in known):
            return
        problem = Problem(where, message, advice, None, sheet.file.name, sheet.line(path))
        files.problems.append(problem)

    every = data.get("services", {})
    services = {key: service for key, service in every.items() if key in kept}
    result = {key: value for key, value in data.items() if key not in ("version", "include")}
    result["name"] = name
    result["services"] = {
        key: resolve_service(key, service, files, sheet, variables)
        for key, service in services.items()
    }
    resolve_resources(result, name, base)
    if not isinstance(result.get(EXTENSION), dict):
        result.pop(EXTENSION, None)  # reported, if it is there
    unified = result.get(EXTENSION, {}).get("unified", {})
    if "build" in unified:
        build = resolve_build(unified["build"], base, variables)
        result[EXTENSION] = {**result[EXTENSION], "unified": {**unified, "build": build}}
    check_extension(result.get(EXTENSION, {}), every, report)
    check_services(result, every, report)
    if kept != started:
        # What is started must not need what is not.
        alone = {key: result["services"][key] for key in result["services"] if key in started}
        check_services({**result, "services": alone}, every, report)
    result = without_unused(result)
    _read_configs(result, files, report)
    check_resources(result, report)
    result[SHIPPED] = _read_shipped(result["services"], base, report)
    return result
