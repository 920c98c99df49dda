"""Environments, built by this machine's pip from an index of the test's own."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from moorage.deploy.runtimes import environments
from moorage.images import BuildSpec, ImageError, ImageMap, stack_spec
from moorage.images.builder import Builder
from moorage.images.bundle import pack
from moorage.images.host import main
from moorage.release.layout import Layout

NOBODY = 65534
WHEEL = "harbour-1.0-py3-none-any.whl"


class Index:
    """A package index with one wheel, over TLS: what it is asked for, and when it answers."""

    def __init__(self, directory: Path) -> None:
        self.asked: list[str] = []
        self.open = threading.Event()
        self.open.set()
        self.wheel = wheel(directory / WHEEL).read_bytes()
        self.requirement = f"harbour==1.0 --hash=sha256:{hashlib.sha256(self.wheel).hexdigest()}\n"
        self.ca, key = directory / "ca.pem", directory / "key.pem"
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        argv += ["-nodes", "-days", "2", "-subj", "/CN=index", "-keyout", str(key)]
        argv += ["-addext", "subjectAltName=DNS:localhost", "-out", str(self.ca)]
        subprocess.run(argv, check=True, capture_output=True)
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.asked.append(self.path)
                page = f'<a href="/{WHEEL}">{WHEEL}</a>'.encode()
                if self.path.endswith(WHEEL):
                    index.open.wait(60)
                    page = index.wheel
                self.send_response(200)
                if not self.path.endswith(WHEEL):
                    self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, key)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_port}/simple/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def wheel(path: Path) -> Path:
    """Write a wheel of one module and one program."""
    files = {
        "harbour.py": "def say():\n    print('harbour')\n",
        "harbour-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: harbour\nVersion: 1.0\n",
        "harbour-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
        "harbour-1.0.dist-info/entry_points.txt": "[console_scripts]\nharbour = harbour:say\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, "harbour-1.0.dist-info/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, "harbour-1.0.dist-info/RECORD": record}.items():
            archive.writestr(name, text)
    return path


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    made = Index(tmp_path_factory.mktemp("index"))
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(autouse=True)
def settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_") or "CA_BUNDLE" in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("no_proxy", "localhost")


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory in the place of /opt, which everybody may look into."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        (Path(directory) / "shop").mkdir(mode=0o755)
        yield Path(directory)


@pytest.fixture
def sources(tmp_path: Path, index: Index) -> Path:
    """A stack beside a package that others share, as in a checkout."""
    files = {
        "stacks/shop/requirements.txt": index.requirement,
        "stacks/shop/.dockerignore": "app/private\n",
        "stacks/shop/app/shop/__init__.py": "NAME = 'shop'\n",
        "stacks/shop/app/run": "#!/bin/sh\n",
        "stacks/shop/app/private": "no",
        "stacks/shop/app/shop/__pycache__/x.cpython-313.pyc": "no",
        "stacks/shop/app/.pytest_cache/x": "no",
        "shared/.dockerignore": "src/lib/host\n",
        "shared/src/lib/__init__.py": "",
        "shared/src/lib/host/x.py": "no",
        "images/postgres/.dockerignore": "Dockerfile\n.dockerignore\n",
        "images/postgres/Dockerfile": "FROM no",
        "images/postgres/start.sh": "#!/bin/sh\n",
    }
    for name, text in files.items():
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "files/stacks/shop/app/run").chmod(0o700)
    return tmp_path / "files"


APP = {
    "requirements": "requirements.txt",
    "sources": {"app": "app", "lib": "../../shared/src"},
}


def spec(where: Path, /, key: str = "web", **environment: Any) -> BuildSpec:
    images = ImageMap(where / "images", {})
    build = {"environment": environment or APP}
    return stack_spec("shop", key, build, where / "stacks/shop", images)


class Host:
    """A bundle as it arrives, and what its build tells."""

    def __init__(self, base: Path, where: Path, index: Index, *, ca: bool = True) -> None:
        self.base, self.where = base, where
        self.index, self.ca = index, ca
        self.events: list[dict[str, Any]] = []

    def bundle(self, *specs: BuildSpec) -> tuple[Path, dict[str, Any]]:
        """Unpack a bundle, and return its directory and recipe."""
        directory = Path(tempfile.mkdtemp(dir=self.where))
        output = io.BytesIO()
        pack(specs, output, {"pip_index_url": self.index.url})
        with tarfile.open(fileobj=io.BytesIO(output.getvalue())) as archive:
            archive.extractall(directory, filter="fully_trusted")
        if self.ca:
            shutil.copy(self.index.ca, directory / "ca")
        return directory, json.loads((directory / "build.json").read_text())

    def build(self, *specs: BuildSpec) -> list[str]:
        """Build in this process, and return what happened but for steps."""
        directory, recipe = self.bundle(*specs)
        told = self.events = []
        Builder(directory, told.append, recipe, self.where, self.base).build(recipe["images"])
        return [event["event"] for event in told if event["event"] != "step"]

    def begin(self, *specs: BuildSpec) -> subprocess.Popen[bytes]:
        """Build in a process of its own."""
        directory, _ = self.bundle(*specs)
        program = (
            "import json, sys\n"
            "from pathlib import Path\n"
            "from moorage.images.builder import Builder\n"
            "at, logs, base = map(Path, sys.argv[1:])\n"
            "recipe = json.loads((at / 'build.json').read_text())\n"
            "Builder(at, print, recipe, logs, base).build(recipe['images'])\n"
        )
        argv = [sys.executable, "-c", program, str(directory), str(self.where), str(self.base)]
        environment = {**os.environ, "PYTHONPATH": str(directory / "lib")}
        return subprocess.Popen(argv, env=environment, start_new_session=True)


@pytest.fixture
def host(base: Path, tmp_path: Path, index: Index) -> Host:
    index.asked.clear()
    (tmp_path / "build").mkdir()
    return Host(base, tmp_path / "build", index)


def wait_for(what: Any) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_goes_in_follows_the_rules_of_the_nearest_ignore_file(sources: Path) -> None:
    found = spec(sources, sources=APP["sources"], files={"bin": "postgres"})
    paths = {name: [entry.path for entry in tree] for name, tree in found.trees.items()}
    assert paths == {
        "app": ["run", "shop/__init__.py"],
        "lib": ["lib/__init__.py"],
        "bin": ["start.sh"],
    }


def test_its_name_changes_with_what_goes_in_and_with_nothing_else(
    sources: Path, tmp_path: Path
) -> None:
    shop = sources / "stacks/shop"
    names = [spec(sources).ref]
    assert names[0] == f"environment/shop-web:{spec(sources).digest[:12]}"
    elsewhere = shutil.copytree(sources, tmp_path / "elsewhere" / "files")
    os.utime(elsewhere / "stacks/shop/app/run", (0, 0))
    (elsewhere / "stacks/shop/app/private").write_text("yes")
    assert [spec(elsewhere).ref] == names
    changes: list[Callable[[], Any]] = [
        lambda: (shop / "app/shop/__init__.py").write_text("NAME = 'other'\n"),
        lambda: (shop / "app/run").chmod(0o600),
        lambda: (sources / "shared/src/lib/more.py").write_text(""),
        lambda: (shop / "requirements.txt").write_text("# none\n"),
    ]
    for change in changes:
        change()
        names.append(spec(sources).ref)
    names.append(spec(sources, requirements=None, sources=APP["sources"]).ref)
    names.append(spec(sources, requirements=None, sources={"app": "app"}).ref)
    names.append(spec(sources, requirements=None, sources={"other": "app"}).ref)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"source": {}}, r"shop: web: environment: source cannot be honoured: use files, req"),
        ({"sources": {"app": "nowhere"}}, r"nowhere is not a directory"),
        ({"requirements": "none.txt"}, r"none\.txt"),
        ({"sources": {"venv": "app"}}, r"'venv' cannot be the name"),
        ({"sources": {"../app": "app"}}, r"'\.\./app' cannot be the name"),
        ({"sources": {"a": "app"}, "files": {"a": "postgres"}}, r"a is of sources and of files"),
    ],
)
def test_errors_name_the_service_and_what_is_wrong(
    sources: Path, environment: dict[str, Any], message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        spec(sources, **environment)


def test_an_environment_runs_and_nobody_writes_in_it(
    host: Host, sources: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, layout = spec(sources), Layout.of("shop", base)
    # No engine is there to be asked.
    monkeypatch.setenv("PATH", str(base))
    before = os.umask(0o077)
    try:
        assert host.build(made) == ["building", "built"]
        assert host.build(made) == []
    finally:
        os.umask(before)
    path = layout.environment(made.ref)
    assert path == base / "shop/environments" / made.ref.removeprefix("environment/").replace(
        ":", "-"
    )
    assert sorted(found.name for found in path.iterdir()) == [
        ".complete",
        "app",
        "lib",
        "requirements.txt",
        "venv",
    ]
    assert subprocess.check_output([path / "venv/bin/harbour"]) == b"harbour\n"
    argv = [str(path / "venv/bin/python3"), "-c", "import shop; print(shop.NAME, shop.__cached__)"]
    variables = {"PYTHONPATH": str(path / "app")}
    name, compiled = subprocess.check_output(argv, env=variables, text=True).split()
    assert name == "shop"
    # Its flags: a hash is there, and nobody compares it.
    assert Path(compiled).read_bytes()[4:8] == b"\1\0\0\0"
    for found in (path.parent, path, *path.rglob("*")):
        if not found.is_symlink():
            mode = found.stat().st_mode & 0o7777
            assert mode in ((0o755,) if found.is_dir() else (0o644, 0o755)), found
            assert found.stat().st_uid == os.geteuid()
    assert (path / "app/run").stat().st_mode & 0o7777 == 0o755
    if os.geteuid() == 0:
        read = ["/bin/cat", str(path / "app/shop/__init__.py")]
        assert subprocess.run(read, user=NOBODY, group=NOBODY, check=False).returncode == 0
        for where in (path, path / "app/shop/__pycache__", path / "venv/bin"):
            write = ["/bin/touch", str(where / "x")]
            done = subprocess.run(write, user=NOBODY, group=NOBODY, check=False)
            assert done.returncode != 0, where


def test_one_with_the_same_requirements_needs_no_index(
    host: Host, sources: Path, index: Index, base: Path
) -> None:
    host.build(spec(sources))
    assert f"/{WHEEL}" in index.asked
    index.asked.clear()
    (sources / "stacks/shop/app/shop/__init__.py").write_text("NAME = 'newer'\n")
    newer = spec(sources)
    assert host.build(newer) == ["building", "built"]
    assert index.asked == []
    assert environments.missing(Layout.of("shop", base), [newer.ref]) == []


def test_a_wheel_that_was_cut_off_is_fetched_anew(
    host: Host, sources: Path, index: Index, base: Path
) -> None:
    wheels = base / "moorage/wheels"
    wheels.mkdir(parents=True)
    (wheels / WHEEL).write_bytes(index.wheel[:100])
    assert host.build(spec(sources)) == ["building", "built"]
    assert (wheels / WHEEL).read_bytes() == index.wheel


def test_without_requirements_there_is_no_venv(
    host: Host, sources: Path, index: Index, base: Path
) -> None:
    data = spec(sources, "postgres", files={"bin": "postgres"})
    host.build(data)
    path = Layout.of("shop", base).environment(data.ref)
    assert sorted(found.name for found in path.iterdir()) == [".complete", "bin"]
    assert index.asked == []


def test_a_build_that_was_killed_is_made_anew(
    host: Host, sources: Path, index: Index, base: Path
) -> None:
    made, layout = spec(sources), Layout.of("shop", base)
    path = layout.environment(made.ref)
    index.open.clear()
    process = host.begin(made)
    try:
        wait_for(lambda: f"/{WHEEL}" in index.asked)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        index.open.set()
    assert (path / "venv").is_dir()
    assert environments.missing(layout, [made.ref]) == [made.ref]
    (path / "left").touch()
    assert host.build(made) == ["building", "built"]
    assert not (path / "left").exists()
    assert environments.missing(layout, [made.ref]) == []


@pytest.mark.parametrize("gone", ["bin", "lib"])
def test_one_for_another_python_is_made_anew(
    gone: str, host: Host, sources: Path, base: Path
) -> None:
    made, layout = spec(sources), Layout.of("shop", base)
    host.build(made)
    venv = layout.environment(made.ref) / "venv"
    if gone == "bin":
        (venv / "bin/python3").unlink()
        (venv / "bin/python3").symlink_to("/usr/bin/python3.2")
    else:
        next((venv / "lib").glob("python*")).rename(venv / "lib/python3.2")
    assert environments.missing(layout, [made.ref]) == [made.ref]
    assert environments.digests(layout, [made.ref]) == {}
    assert host.build(made) == ["building", "built"]
    assert environments.digests(layout, [made.ref]) == {made.ref: f"sha256:{made.digest}"}
    assert subprocess.check_output([venv / "bin/harbour"]) == b"harbour\n"


def test_a_build_that_fails_says_why_and_leaves_nothing(
    host: Host, sources: Path, base: Path
) -> None:
    (sources / "stacks/shop/requirements.txt").write_text("harbour==1.0 --hash=sha256:" + "0" * 64)
    made = spec(sources)
    with pytest.raises(ImageError, match="DO NOT MATCH THE HASHES") as failed:
        host.build(made)
    log = host.where / "build-shop-web.log"
    assert f"building {made.ref} failed, see {log} on the host" in str(failed.value)
    steps = [event["text"] for event in host.events if event["event"] == "step"]
    assert steps == ["not all wheels are on the host: downloading", "Collecting harbour==1.0"]
    assert "No matching distribution" in log.read_text(), "both attempts are in it"
    assert not Layout.of("shop", base).environment(made.ref).exists()


def test_pip_trusts_the_certificates_that_came_along(host: Host, sources: Path) -> None:
    host.ca = False
    with pytest.raises(ImageError, match=r"(?i)certificate"):
        host.build(spec(sources))


def test_what_nothing_wants_any_more_goes(host: Host, sources: Path, base: Path) -> None:
    layout = Layout.of("shop", base)
    web, old = spec(sources), spec(sources, "old")
    data = spec(sources, "postgres", files={"bin": "postgres"})
    host.build(web, old, data)
    (layout.environments / "half-0123456789ab").mkdir()
    (layout.environments / "somebody-s").mkdir()
    gone = environments.prune(layout, {web.ref}, {data.ref})
    assert gone == ["environment/half:0123456789ab", old.ref]
    assert environments.missing(layout, [web.ref, old.ref, data.ref]) == [old.ref]
    assert (layout.environments / "somebody-s").is_dir()
    assert (layout.wheels / WHEEL).exists(), "web is made of it"
    assert environments.prune(layout, (), {data.ref}) == [web.ref]
    assert not (layout.wheels / WHEEL).exists()
    assert environments.prune(Layout.of("other", base), (), ()) == []


def test_a_host_says_which_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["held", "no-such-stack", "environment/no-such-stack-web:0123456789ab"]) == 0
    assert capsys.readouterr().out.split() == []
