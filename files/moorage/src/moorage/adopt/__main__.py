"""The command of scripts/adopt."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from moorage.adopt.fetch import AdoptError, Fetched, compose_files, fetched
from moorage.adopt.report import Verdict, report
from moorage.adopt.secrets import find_secrets
from moorage.adopt.stack import (
    ADDED,
    UPSTREAM,
    group_vars,
    name_of,
    variables,
    write_added,
    write_stack,
)
from moorage.common.text import say
from moorage.compose import Stack, load_stack
from moorage.compose.errors import ComposeError, Problem
from moorage.controller.plan import plan_host
from moorage.controller.project import Project
from moorage.controller.settings import prefix
from moorage.images import ImageError
from moorage.render import topologies

ROOT = Path(__file__).resolve().parents[5]
GROUP_VARS = ROOT / "group_vars"
# A user of the host, which has to be asked for the real one.
_SOME_USER = "20001:20001"


def main(argv: Sequence[str] | None = None) -> int:
    """Adopt a project; 0 where a topology runs it, 1 where none does or it cannot be had."""
    arguments = _parser().parse_args(argv)
    try:
        with fetched(arguments.project) as project:
            return _adopt(project, arguments)
    except (AdoptError, ComposeError) as error:
        say(f"adopt: {error}", sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/adopt",
        description="Make somebody else's Compose project a stack of Moorage, and say what becomes "
        "of it. Nothing reaches a host.",
    )
    parser.add_argument(
        "project", help="a directory, ADDRESS.git[#REVISION[:SUBDIRECTORY]], or a file's address"
    )
    parser.add_argument("--name", help="of the stack (its directory's, where it is not given)")
    parser.add_argument("--file", action="append", default=[], metavar="FILE",
                        help="a Compose file of the project; several are merged")  # fmt: skip
    parser.add_argument("--without", action="append", default=[], metavar="DIR",
                        help="a directory of the project that is not copied")  # fmt: skip
    parser.add_argument("--into", type=Path, metavar="DIR",
                        help="where the stack's directory is made (files/stacks)")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="say everything, write nothing")
    return parser


def _adopt(project: Fetched, arguments: argparse.Namespace) -> int:
    files = compose_files(project.directory, arguments.file)
    name = arguments.name or name_of(project.directory.name)
    if not name or name != name_of(name):
        raise AdoptError(f"{name!r} is no name for a stack: --name with a-z, 0-9, - and _")
    target = (arguments.into or ROOT / "files" / "stacks").absolute() / name
    settings = GROUP_VARS / f"{name}.yml"
    taken = next((path for path in (target, settings) if path.exists()), None)
    if taken:
        raise AdoptError(f"{taken} is there already: remove it, or choose another --name")
    # All is made and looked at apart; only what is whole comes to its place.
    with tempfile.TemporaryDirectory(prefix="adopt-") as scratch:
        made = Path(scratch) / name
        left = write_stack(project, name, files, made, arguments.without)
        stack, verdicts = _look(Project(ROOT, (made.parent,)), name)
        found = list(find_secrets(stack, made / UPSTREAM))
        write_added(made / ADDED, name, found)
        say("\n\n".join([f"{name}: {', '.join(files)} of {project.origin}",
                         *report(stack, verdicts, found, left)]))  # fmt: skip
        best = next((verdict.topology for verdict in verdicts if verdict.plan), None)
        if not arguments.dry_run:
            asked = variables(made / UPSTREAM / file for file in files)
            shutil.copytree(made, target, symlinks=True)
            settings.write_text(group_vars(name, best or verdicts[0].topology, asked))
            say(f"\nWritten: {target} and {settings}. Next: a host in the group {name}, then\n"
                "  ansible-playbook -i inventory/NAME site.yml --check --diff")  # fmt: skip
    return 0 if best else 1


def _look(project: Project, name: str) -> tuple[Stack, list[Verdict]]:
    """Return the stack, and what each topology makes of it; ComposeError where it is none."""
    directory = project.stack_directory(name)
    # Nobody has read it yet: what it names of this machine may be a key, or have no end.
    stack = load_stack(directory, on_demand=True, within=directory)
    verdicts: list[Verdict] = []
    for topology in sorted(topology.name for topology in topologies()):
        start = prefix(name)
        given = {f"{start}_topology": topology, f"{start}_user": _SOME_USER}
        try:
            verdicts.append(Verdict(topology, plan_host(project, [name], given)))
        except ComposeError as error:
            verdicts.append(Verdict(topology, None, error.problems))
        except ImageError as error:
            verdicts.append(Verdict(topology, None, (Problem("", str(error)),)))
    return stack, verdicts


if __name__ == "__main__":
    sys.exit(main())
