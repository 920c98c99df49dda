"""A project of somebody else becomes a stack: its files as they came, the rest said or refused."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from moorage.adopt import __main__ as command
from moorage.adopt import fetch
from moorage.compose import load_stack

PASSWORD, KEY = "correct-horse-battery", "q8Zr-staple-0417"
COMPOSE = f"""
services:
  db:
    image: postgres:17
    user: "10004:10004"
    restart: always
    environment:
      POSTGRES_USER: blog
      POSTGRES_PASSWORD: {PASSWORD}
    volumes: [data:/var/lib/postgresql/data]
  web:
    build: .
    user: "10001:10001"
    env_file: web.env
    environment:
      DATABASE_URL: "postgres://blog:{PASSWORD}@db/blog"
      PASSWORD_MIN_LENGTH: "12"
      VERSION: "${{BLOG_VERSION:-1.2}}"
      TITLE: ${{BLOG_TITLE}}
    ports: ["8080:8080"]
    depends_on: [db]
volumes:
  data:
"""
Adopt = Callable[..., tuple[int, str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = tmp_path / "from" / "My.Blog"
    made.mkdir(parents=True)
    (made / "docker-compose.yml").write_text(COMPOSE)
    (made / "web.env").write_text(f"SECRET_KEY={KEY}\nDEBUG=false\n")
    (made / "Dockerfile").write_text("FROM debian:trixie-slim\nCMD sleep 600\n")
    return made


@pytest.fixture
def adopt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Adopt:
    # The checkout's own files are looked at; what is written goes elsewhere.
    monkeypatch.setattr(command, "GROUP_VARS", tmp_path / "group_vars")
    (tmp_path / "group_vars").mkdir()

    def run(source: Path | str, *words: str) -> tuple[int, str]:
        status = command.main([str(source), "--into", str(tmp_path / "stacks"), *words])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


def read(tmp_path: Path, name: str, **variables: str) -> Any:
    return load_stack(tmp_path / "stacks" / name, environment=variables).to_dict()


def test_a_directory_becomes_a_stack_and_its_files_stay(
    project: Path, adopt: Adopt, tmp_path: Path
) -> None:
    status, said = adopt(project)
    assert status == 0, said
    stack = tmp_path / "stacks" / "my-blog"
    for path in project.iterdir():
        assert (stack / "upstream" / path.name).read_bytes() == path.read_bytes()
    # What it is does not change: only where it lies does.
    own = json.dumps(load_stack(project).to_dict()["services"]).replace(str(project), "@")
    here = json.dumps(read(tmp_path, "my-blog")["services"])
    assert here.replace(str(stack / "upstream"), "@") == own
    settings = yaml.safe_load((tmp_path / "group_vars" / "my-blog.yml").read_text())
    assert settings["my_blog_topology"] == "containers"
    assert '#  BLOG_VERSION: "1.2"\n' in (tmp_path / "group_vars" / "my-blog.yml").read_text()


def test_the_report_says_what_comes_from_where(project: Path, adopt: Adopt) -> None:
    said = adopt(project, "--name", "blog")[1]
    rows = [line.split() for line in said.splitlines()]
    assert ["SERVICE", "IMAGE", "FROM", "PUBLISHED", "DATA"] in rows
    assert ["db", "postgres:17", "Debian's", "packages", "-", "/opt/blog/data/data"] in rows
    assert ["web", "blog-web", "built", "8080/tcp", "-"] in rows
    assert "containers: runs as it stands" in said
    # Every other topology says what it lacks.
    assert "unified: not as it stands\n  - x-moorage.unified.build: nothing says how" in said
    assert "host: not as it stands" in said


def test_what_a_ready_image_does_not_get_is_named(project: Path, adopt: Adopt) -> None:
    assert "Not behind the edge" not in adopt(project, "--name", "blog")[1]
    shop = '{image: "registry.example.com/shop:1", ports: ["8081:80"], volumes: ["./own:/d"]}'
    web = f"  shop: {shop}\n  web:\n"
    file = project / "docker-compose.yml"
    file.write_text(file.read_text().replace("  web:\n", web))
    said = adopt(project, "--name", "board")[1]
    assert "for they run a ready image (docs/adopt.md: x-moorage: {edge: true}): shop\n" in said
    # PostgreSQL has a dump of its own here, and `web` keeps nothing.
    assert "No backup before moorage.yml says how (docs/adopt.md):\n  - shop: upstream-own" in said


def test_secrets_are_found_and_none_is_told(project: Path, adopt: Adopt, tmp_path: Path) -> None:
    said = adopt(project, "--name", "blog")[1]
    assert "- db: POSTGRES_PASSWORD (upstream/docker-compose.yml:9, " in said
    assert "- web: DATABASE_URL (upstream/docker-compose.yml:9, " in said
    assert "- web: SECRET_KEY (upstream/web.env:1)" in said
    assert "PASSWORD_MIN_LENGTH" not in said
    added = (tmp_path / "stacks" / "blog" / "moorage.yml").read_text()
    settings = (tmp_path / "group_vars" / "blog.yml").read_text()
    for text in (said, added, settings):
        assert PASSWORD not in text and KEY not in text


def test_what_it_says_of_moving_secrets_works(project: Path, adopt: Adopt, tmp_path: Path) -> None:
    adopt(project, "--name", "blog")
    added = tmp_path / "stacks" / "blog" / "moorage.yml"
    blocks = [
        "".join(re.findall(r"^# (.*\n)", f"{block}\n", re.M))
        for block in added.read_text().split("\n\n")
    ]
    added.write_text(blocks[1][blocks[1].index("services:") :])
    settings = yaml.safe_load(blocks[2][blocks[2].index("blog_secrets") :])
    given = dict.fromkeys(settings["blog_variables"], "new")
    services = read(tmp_path, "blog", **given)["services"]
    assert services["db"]["environment"] == {
        "POSTGRES_USER": "blog",
        "POSTGRES_PASSWORD_FILE": "/run/secrets/db_postgres_password",
    }
    assert services["web"]["environment"]["SECRET_KEY"] == "new"
    assert PASSWORD not in json.dumps(services) and KEY not in json.dumps(services)
    assert settings["blog_secrets"] == {"db_postgres_password": "{{ vault_db_postgres_password }}"}
    # Who shares a password goes on to.
    assert settings["blog_variables"]["DB_POSTGRES_PASSWORD"] == "{{ vault_db_postgres_password }}"


def test_an_override_and_several_files_are_merged(
    project: Path, adopt: Adopt, tmp_path: Path
) -> None:
    (project / "docker-compose.override.yml").write_text("services: {web: {init: true}}\n")
    adopt(project, "--name", "blog")
    assert read(tmp_path, "blog")["services"]["web"]["init"] is True
    (project / "more.yml").write_text("services: {web: {tty: true}}\n")
    adopt(project, "--name", "two", "--file", "docker-compose.yml", "--file", "more.yml")
    web = read(tmp_path, "two")["services"]["web"]
    assert web["tty"] is True and "init" not in web


def test_a_dry_run_and_what_fails_write_nothing(
    project: Path, adopt: Adopt, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    status, said = adopt(project, "--dry-run")
    assert status == 0 and "containers: runs" in said
    (project / "docker-compose.yml").write_text("services: [\n")
    status, said = adopt(project, "--dry-run")
    assert status == 1 and "docker-compose.yml:2: not YAML" in said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--name", "Blog"), "'Blog' is no name for a stack"),
        (("--name", "all"), "the name all is reserved"),
        (("--name", "tg2em"), "the stack tg2em is in"),
        (("--file", "absent.yml"), "has no file absent.yml"),
        (("--file", "../../etc/passwd"), "has no file ../../etc/passwd"),
    ],
)
def test_what_cannot_be_is_said(
    project: Path, adopt: Adopt, words: tuple[str, ...], message: str
) -> None:
    status, said = adopt(project, *words)
    assert status == 1 and message in said


def test_nothing_is_written_over(project: Path, adopt: Adopt, tmp_path: Path) -> None:
    assert adopt(project)[0] == 0
    (tmp_path / "stacks" / "my-blog" / "moorage.yml").write_text("mine\n")
    status, said = adopt(project)
    assert status == 1 and "is there already" in said
    assert (tmp_path / "stacks" / "my-blog" / "moorage.yml").read_text() == "mine\n"


def test_links_pipes_and_data_of_a_project(
    project: Path, adopt: Adopt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "inside").symlink_to("web.env")
    (project / "outside").symlink_to("/etc/passwd")
    (project / "up").symlink_to("..")
    (project / "\x1b[2Jred\nMine").symlink_to("..")
    os.mkfifo(project / "pipe")
    (project / ".git").mkdir()
    (project / ".git" / "config").write_text("secret")
    status, said = adopt(project)
    upstream = tmp_path / "stacks" / "my-blog" / "upstream"
    assert status == 0 and (upstream / "inside").readlink() == Path("web.env")
    assert not {"outside", "up", "pipe", ".git"} & {path.name for path in upstream.iterdir()}
    # What others have called so neither acts nor poses as a line of the report.
    red = r"\x1b[2Jred\nMine: a link"
    for line in ("outside: a link that leads out", "up: a link", "pipe: neither a file", red):
        assert f"- {line}" in said
    monkeypatch.setattr(fetch, "MOST_BYTES", 1 << 20)
    (project / "pgdata").mkdir()
    (project / "pgdata" / "huge").write_bytes(bytes(2 << 20))
    status, said = adopt(project, "--name", "big")
    assert status == 1 and "most of it in pgdata" in said
    assert not (tmp_path / "stacks" / "big").exists()
    assert adopt(project, "--name", "big", "--without", "pgdata")[0] == 0


@pytest.mark.parametrize(
    "text",
    [
        "services: {web: {image: a, env_file: /dev/zero}}",
        "services: {web: {image: a, configs: [k]}}\nconfigs: {k: {file: /dev/zero}}",
        "include: [/dev/zero]",
        "services: {web: {extends: {file: /dev/zero, service: web}}}",
    ],
)
def test_nothing_of_this_machine_is_read(project: Path, adopt: Adopt, text: str) -> None:
    (project / "docker-compose.yml").write_text(text)
    status, said = adopt(project, "--dry-run")
    assert status == 1 and "/dev/zero lies outside of the project; lay a copy" in said


def git(where: Path, *words: str) -> str:
    own = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main")
    return subprocess.run(
        ["git", *own, *words], cwd=where, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_repository_at_a_revision_below_a_directory(
    project: Path, adopt: Adopt, tmp_path: Path
) -> None:
    top = project.parent
    git(top, "init", "--quiet")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "-m", "one")
    git(top, "tag", "v1")
    (project / "docker-compose.yml").write_text("services: {}\n")
    git(top, "commit", "--quiet", "-am", "two")
    address = f"file://{top}/.git"
    status, said = adopt(f"{address}#v1:My.Blog", "--name", "blog")
    assert status == 0, said
    assert f"({git(top, 'rev-parse', '--short=12', 'v1')}, My.Blog)" in said
    assert adopt(f"{address}#main:My.Blog", "--name", "newer")[0] == 1
    for wrong, message in (
        (f"{address}#absent", "absent"),
        (f"{address}#v1:../..", "has no directory ../.."),
        (f"ext::sh -c touch% {tmp_path}/owned#v1://", "not allowed"),
        ("ext::x://y", "git: "),
    ):
        status, said = adopt(wrong, "--name", "wrong")
        assert status == 1 and message in said, said
    assert not (tmp_path / "owned").exists()


def test_an_address_of_a_file(project: Path, adopt: Adopt, tmp_path: Path) -> None:
    (project / "big.yml").write_bytes(b"#" * (2 << 20))
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(project))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        (project / "docker-compose.yml").write_text(
            "services: {cache: {image: 'redis:8', user: '10005:10005'}}\n"
        )
        status, said = adopt(f"{at}/docker-compose.yml", "--name", "cache")
        assert status == 0, said
        assert "containers: runs as it stands" in said
        for path, message in (("absent.yml", "404"), ("big.yml", "is no Compose file")):
            status, said = adopt(f"{at}/{path}", "--name", "other")
            assert status == 1 and message in said
        server.shutdown()
    assert adopt(f"{at}/docker-compose.yml", "--name", "other")[0] == 1


def test_an_answer_without_an_end(adopt: Adopt, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dripping(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(b"#")
                    time.sleep(0.05)

    monkeypatch.setattr(fetch, "_SECONDS", 0.5)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        status, said = adopt(f"http://127.0.0.1:{server.server_port}/compose.yml", "--name", "x")
        server.shutdown()
    assert status == 1 and "took more than 0.5 s" in said


def test_what_a_deploy_would_take_from_this_machine_is_told(project: Path, adopt: Adopt) -> None:
    (project / "docker-compose.yml").write_text(
        "services: {web: {build: {context: /home/me, dockerfile: a}, user: '1:1', secrets: [k, o]}}"
        "\nsecrets: {k: {file: /home/me/key}, o: {file: ./own}}\n"
    )
    said = adopt(project, "--dry-run")[1]
    assert "  - secrets.k: /home/me/key\n  - services.web.build: /home/me\n" in f"{said}\n"
    assert "secrets.o" not in said


@pytest.mark.parametrize(
    "line", ["      LONG: " + "a" * 500_000, "# ${" + "a" * 500_000, "# " + "${a" * 200_000]
)
def test_a_line_of_half_a_million_letters(project: Path, adopt: Adopt, line: str) -> None:
    # With what grows by the square each takes minutes to hours.
    text = COMPOSE.replace('      PASSWORD_MIN_LENGTH: "12"', line)
    assert text != COMPOSE
    (project / "docker-compose.yml").write_text(text)
    assert adopt(project, "--name", "long")[0] == 0
