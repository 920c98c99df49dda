"""Errors: all of them at once, each with service, key, line, value and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.compose import ComposeError, Problem, load_stack

MANY = """\
services:
  web:
    image: x
    enviroment: {A: 1}
    ports: ["99999:80", "80:80/http"]
    depends_on: [wroker]
    user: 1000
  worker:
    command: run
    volumes: ["data:/data"]
    healthcheck:
      test: [curl]
      intervall: 5s
    secrets: [token]
secrets:
  token: {}
"""


def problems_of(directory: Path, text: str) -> dict[str, Problem]:
    (directory / "compose.yml").write_text(text, encoding="utf-8")
    with pytest.raises(ComposeError) as raised:
        load_stack(directory)
    return {problem.where: problem for problem in raised.value.problems}


def test_all_problems_in_one_report(tmp_path: Path) -> None:
    found = problems_of(tmp_path, MANY)
    assert set(found) == {
        "services.web.enviroment",
        "services.web.ports[0]",
        "services.web.ports[1]",
        "services.web.depends_on.wroker",
        "services.web.user",
        "services.worker.image",
        "services.worker.volumes[0]",
        "services.worker.healthcheck.test",
        "services.worker.healthcheck.intervall",
        "secrets.token",
    }
    assert all(problem.advice for where, problem in found.items() if "ports" not in where)


def test_a_problem_says_where(tmp_path: Path) -> None:
    problem = problems_of(tmp_path, MANY)["services.web.enviroment"]
    assert (problem.service, problem.key) == ("web", "enviroment")
    assert (problem.file, problem.line) == ("compose.yml", 4)
    assert problem.advice == "did you mean 'environment'?"
    expected = 'compose.yml:4: services.web.enviroment: unknown key (value: {"A": 1}); did you'
    assert str(problem).startswith(expected)


def test_names_are_suggested(tmp_path: Path) -> None:
    found = problems_of(tmp_path, MANY)
    assert found["services.web.depends_on.wroker"].advice == "did you mean 'worker'?"


def test_a_refused_value_is_no_second_problem(tmp_path: Path) -> None:
    text = "services: {a: {image: 5}, b: {image: x, volumes: [{type: volume, source: v}]}}"
    assert set(problems_of(tmp_path, text)) == {"services.a.image", "services.b.volumes[0]"}


def test_lines_of_merged_and_folded_values(tmp_path: Path) -> None:
    text = "x-a: &a\n  restart: alway\nservices:\n  a:\n    <<: *a\n    image: x\n"
    problem = problems_of(tmp_path, text)["services.a.restart"]
    assert problem.line == 2


def test_problems_in_an_extended_file_name_that_file(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text("services:\n  b:\n    imag: x\n", encoding="utf-8")
    text = "services: {a: {image: x, extends: {file: base.yml, service: b}}}"
    problem = problems_of(tmp_path, text)["services.b.imag"]
    assert (problem.file, problem.line) == ("base.yml", 3)


def test_required_variable_says_why(tmp_path: Path) -> None:
    text = "services: {a: {image: '${IMAGE:?the image to run}'}}"
    problem = problems_of(tmp_path, text)["services.a.image"]
    assert problem.message == "the variable IMAGE is required: the image to run"
    assert problem.advice == "set IMAGE"


def test_circle_is_named_whole(tmp_path: Path) -> None:
    text = """services:
  a: {image: x, depends_on: [b]}
  b: {image: x, depends_on: [c]}
  c: {image: x, depends_on: [b]}
"""
    messages = [problem.message for problem in problems_of(tmp_path, text).values()]
    assert messages == ["services wait for each other: b -> c -> b"]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ComposeError, match=r"holds no Compose file; create compose\.yml there"):
        load_stack(tmp_path)


def test_missing_config_file(tmp_path: Path) -> None:
    text = "services: {a: {image: x, configs: [c]}}\nconfigs: {c: {file: ./absent}}"
    assert "No such file" in problems_of(tmp_path, text)["configs.c.file"].message


def test_secret_values_are_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text(
        "services: {a: {image: x, environment: {TOKEN: [$TOKEN]}}}", encoding="utf-8"
    )
    with pytest.raises(ComposeError) as raised:
        load_stack(tmp_path, environment={"TOKEN": "geheim"})
    assert "geheim" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("x-moorage: {unifed: {}}\nservices: {a: {image: x}}", "x-moorage.unifed"),
        (
            "x-moorage: {unified: {user: app}}\nservices: {a: {image: x}}",
            "x-moorage.unified.user",
        ),
        (
            "services: {a: {image: x, x-moorage: {unhealthy: explode}}}",
            "services.a.x-moorage.unhealthy",
        ),
        (
            "services: {a: {image: x, x-moorage: {restart_window: soon}}}",
            "services.a.x-moorage.restart_window",
        ),
        (
            "services: {a: {image: x, x-moorage: {health_url: 'https://example.com/'}}}",
            "services.a.x-moorage.health_url",
        ),
        (
            "services: {a: {image: x, secrets: [s]}}\n"
            "secrets: {s: {file: f, x-moorage: {generate: {lenght: 40}}}}",
            "secrets.s.x-moorage.generate.lenght",
        ),
        (
            "services: {a: {image: x, volumes: ['v1:/v']}}\n"
            "volumes: {v1: {x-moorage: {mode: '999'}}}",
            "volumes.v1.x-moorage.mode",
        ),
    ],
)
def test_extension_keys_are_strict(tmp_path: Path, text: str, where: str) -> None:
    problem = problems_of(tmp_path, text)[where]
    assert problem.advice


@pytest.mark.parametrize("key", ["volumes", "networks", "services", "secrets"])
@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_is_a_step_in_a_path_is_refused(tmp_path: Path, key: str, name: str) -> None:
    found = problems_of(tmp_path, f"{key}: {{'{name}': {{}}}}\n")
    assert f"{key}.{name}" in found
