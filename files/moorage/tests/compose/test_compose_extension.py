"""x-moorage: what is read of it, and that mistakes in it are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.compose import ComposeError, Problem, Stack, load_stack
from moorage.compose.extension import Hook, LocalExtension, Migrations, ServiceBackup
from moorage.settings.stack import Route

TEXT = """\
x-moorage:
  unified: {build: .}
  routes: [{path: /, service: web, port: "5000"}, {path: /api/, service: web}]
  hooks:
    before: [{name: Dump, service: web, command: "dump 'all of it'", save_as: a.sql}]
  migrations: {service: web, plan: [plan]}
services:
  web: {build: ., x-moorage: {edge: false, probe_paths: [/health, "/?a=b"]}}
"""


def load(directory: Path, text: str) -> Stack:
    (directory / "compose.yml").write_text(text, encoding="utf-8")
    return load_stack(directory)


def problems(directory: Path, text: str) -> dict[str, Problem]:
    with pytest.raises(ComposeError) as raised:
        load(directory, text)
    return {problem.where: problem for problem in raised.value.problems}


def test_what_is_read(tmp_path: Path) -> None:
    stack = load(tmp_path, TEXT)
    moorage = stack.moorage
    assert moorage.routes == (Route("/", "web", 5000), Route("/api/", "web"))
    assert moorage.hooks.before == (Hook("Dump", "web", ("dump", "all of it"), "a.sql"),)
    assert moorage.hooks.after == ()
    assert moorage.migrations == Migrations("web", ("plan",))
    assert moorage.unified is not None and moorage.unified.build is not None
    web = stack.services["web"].moorage
    assert (web.edge, web.probe_paths) == (False, ("/health", "/?a=b"))
    assert Stack.from_dict(stack.to_dict()) == stack


def test_what_is_included_brings_what_the_file_does_not_say_itself(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    text = "x-moorage: {host: {requirements: all.txt, sources: {app: ./app}}, unified: {user: 1:1}}"
    port = "services: {web: {build: ., command: 'web ${MOORAGE_PORT_80:-80} ${OTHER:-0}'}}"
    load(there, f"name: there\n{text}\n{port}\n")
    (here / "compose.yml").write_text(
        "name: here\ninclude: [../there/compose.yml]\nx-moorage: {unified: {user: 2:2}}\n"
    )
    stack = load_stack(here, kept=r"MOORAGE_PORT_\d+")
    host, unified = stack.moorage.host, stack.moorage.unified
    assert stack.name == "here" and unified is not None and unified.user == "2:2"
    assert (host.requirements, dict(host.sources)) == (
        f"{there}/all.txt",
        {"app": f"{there}/app"},
    )
    assert stack.services["web"].command == ("web", "${MOORAGE_PORT_80}", "0")
    assert load_stack(here).services["web"].command == ("web", "80", "0")


@pytest.mark.parametrize(
    ("change", "where", "advice"),
    [
        (("path: /,", "path: api,"), "routes[0].path", "/pictures/"),
        (("path: /,", 'path: "/a b",'), "routes[0].path", "/pictures/"),
        (("path: /, ", ""), "routes[0]", "add path"),
        (("service: web, port", "service: wbe, port"), "routes[0].service", "did you mean 'web'?"),
        (('"5000"', "70000"), "routes[0].port", "1 to 65535"),
        (("before:", "befor:"), "hooks.befor", "did you mean 'before'?"),
        (("name: Dump, ", ""), "hooks.before[0]", "add name"),
        (("service: web, command", "service: db, command"), "hooks.before[0].service", "web"),
        (("\"dump 'all of it'\"", "[]"), "hooks.before[0].command", "program"),
        (("\"dump 'all of it'\"", "dump > file"), "hooks.before[0].command", "sh"),
        (("a.sql", "../a.sql"), "hooks.before[0].save_as", "file name"),
        (("a.sql}", "a.sql, timeout_seconds: soon}"), "hooks.before[0].timeout_seconds", "90s"),
        ((", plan: [plan]", ""), "migrations", "add plan"),
        (("service: web, plan", "service: migrate, plan"), "migrations.service", "web"),
        (("routes:", "route:"), "route", "did you mean 'routes'?"),
    ],
)
def test_a_mistake_is_named(
    change: tuple[str, str], where: str, advice: str, tmp_path: Path
) -> None:
    found = problems(tmp_path, TEXT.replace(*change))
    assert list(found) == [f"x-moorage.{where}"]
    assert advice in found[f"x-moorage.{where}"].advice


def test_mistakes_of_a_service(tmp_path: Path) -> None:
    text = TEXT.replace("edge: false", "edge: never").replace("/health,", "health, /b, /b,")
    found = problems(tmp_path, text)
    where = "services.web.x-moorage"
    assert set(found) == {f"{where}.edge", f"{where}.probe_paths[0]", f"{where}.probe_paths[2]"}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("false", ServiceBackup("none")),
        ("{files: true}", ServiceBackup("files")),
        (
            '{dump: "pg_dump shop", restore: [restore]}',
            ServiceBackup("dump", ("pg_dump", "shop"), ("restore",)),
        ),
        (
            "{dump: [dump], restore: [restore], restore_tables: [tables, of]}",
            ServiceBackup("dump", ("dump",), ("restore",), ("tables", "of")),
        ),
    ],
)
def test_how_data_is_saved(written: str, read: ServiceBackup, tmp_path: Path) -> None:
    stack = load(tmp_path, TEXT.replace("edge: false", f"backup: {written}"))
    assert stack.services["web"].moorage.backup == read
    assert Stack.from_dict(stack.to_dict()) == stack


@pytest.mark.parametrize(
    "written", ["true", "{files: false}", "{dump: [a]}", "{files: true, dump: [a], restore: [b]}"]
)
def test_what_does_not_say_how_data_is_saved(written: str, tmp_path: Path) -> None:
    found = problems(tmp_path, TEXT.replace("edge: false", f"backup: {written}"))
    assert list(found) == ["services.web.x-moorage.backup"]


LOCAL = """\
x-moorage:
  host: {local: {without: [db], variables: {WS: "2"}, environment: {HOST: "", A: "${A:-1}"}}}
services:
  db: {image: x}
  web: {build: ., x-moorage: {host: {local: {environment: {A: "2"}, reload: RELOAD_FILE}}}}
"""


def test_what_is_other_on_a_developers_machine(tmp_path: Path) -> None:
    stack = load(tmp_path, LOCAL)
    found = stack.services["web"].moorage.host.over(stack.moorage.host).local
    assert found == LocalExtension(("db",), {"WS": "2"}, {"HOST": "", "A": "2"}, "RELOAD_FILE")
    assert stack.moorage.host.local.environment["A"] == "1"
    assert Stack.from_dict(stack.to_dict()) == stack


@pytest.mark.parametrize(
    ("change", "where", "advice"),
    [
        (("[db]", "[bd]"), "x-moorage.host.local.without[0]", "known here: db"),
        (("[db]", "[web]"), "x-moorage.host.local.without[0]", "known here: db"),
        (("RELOAD_FILE", "/tmp/x"), "services.web.x-moorage.host.local.reload", "variable"),
    ],
)
def test_mistakes_in_it(change: tuple[str, str], where: str, advice: str, tmp_path: Path) -> None:
    found = problems(tmp_path, LOCAL.replace(*change))
    assert list(found) == [where] and advice in found[where].advice
