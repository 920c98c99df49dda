"""Images of a registry, pulled by the program that a controller ships, on this machine's engine."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from registry_rig import Registry, content_of, docker, forget, held

from moorage.controller.credentials import check_modes, read_registries
from moorage.deploy.parts import Content
from moorage.deploy.pinned import origin_of, pin
from moorage.deploy.release import Release, ReleaseError, point_current_at, write_release
from moorage.deploy.runtimes import archive, pulled
from moorage.deploy.runtimes.pulled import due, pins
from moorage.images import ImageMap, stack_spec
from moorage.images.builder import Builder
from moorage.images.bundle import pack
from moorage.images.dockerfile import line_of
from moorage.images.errors import ImageError
from moorage.images.names import digest_of, local_name
from moorage.images.pull import REGISTRIES, Limits, Puller, client_config
from moorage.release.layout import Layout
from moorage.release.manifest import FORMAT

Event = dict[str, Any]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with closing(Registry(tmp_path_factory.mktemp("plain"))) as registry:
        yield registry


@pytest.fixture
def pull(tmp_path: Path) -> Callable[..., list[Event]]:
    def do(ref: str, registries: Any = None, mirrors: Any = None, **more: Any) -> list[Event]:
        events: list[Event] = []
        limits = Limits(more.pop("timeout", 120), more.pop("retries", 0))
        log, known = tmp_path / "log", registries or {}
        with client_config(known) as environment:
            environment |= more.pop("environment", {})
            Puller(events.append, log, environment, sorted(known), mirrors, limits).pull(
                [{"ref": ref, **more}]
            )
        return events

    return do


def refused(pull: Callable[..., list[Event]], *args: Any, **more: Any) -> str:
    with pytest.raises(ImageError) as trouble:
        pull(*args, **more)
    return str(trouble.value)


def test_a_tag_is_pulled_once_and_moves_only_when_asked(plain: Registry, pull: Any) -> None:
    ref = f"{plain.address}/shop/web:1"
    first = plain.push("shop/web:1", "one")
    last = pull(ref)[-1]
    assert (last["event"], last["digest"]) == ("pulled", first)
    assert last["image"] == local_name(ref, first)
    assert content_of(last["image"]) == "one"

    second = plain.push("shop/web:1", "two")
    # What was pushed is no more here than on any other host.
    docker("tag", last["image"], ref)
    again = pull(ref)[-1]
    assert (again["event"], again["id"]) == ("there", last["id"])

    moved = pull(ref, refresh=True)[-1]
    assert (moved["event"], moved["digest"]) == ("pulled", second)
    assert content_of(moved["image"]) == "two"
    # And what ran before still has its own name.
    assert content_of(last["image"]) == "one"


def test_a_digest_that_is_there_counts_as_there(tmp_path: Path, pull: Any) -> None:
    with closing(Registry(tmp_path / "own")) as registry:
        digest = registry.push("shop/api:1", "api")
        ref = f"{registry.address}/shop/api@{digest}"
        name = pull(ref)[-1]["image"]
        assert content_of(name) == "api"
        registry.stop()
        # Also when always is asked: a digest cannot move.
        assert pull(ref, refresh=True)[-1]["event"] == "there"
        # An archive carries names and no digests of registries.
        archive = str(tmp_path / "archive")
        docker("save", "--output", archive, name)
        for known in [*held(f"{registry.address}/"), name]:
            forget(known)
        assert "cannot pull" in refused(pull, ref)
        docker("load", "--input", archive)
        last = pull(ref)[-1]
        assert (last["event"], last["image"], last["digest"]) == ("there", name, digest)


def test_what_is_not_there_is_said_with_the_registry_s_answer(plain: Registry, pull: Any) -> None:
    plain.push("shop/web:1", "one")
    said = refused(pull, f"{plain.address}/shop/web:none")
    assert f"cannot pull {plain.address}/shop/web:none" in said
    assert "manifest unknown" in said
    assert "correct its name, tag or digest" in said

    for odd in ("--help", "--all-tags"):
        assert "correct `image`" in refused(pull, odd)

    said = refused(pull, f"{plain.address}/shop/web:1", platform="linux/s390x")
    assert "platform" in said
    assert "correct" in said


def test_several_images_fail_in_one_error(plain: Registry, tmp_path: Path) -> None:
    puller = Puller(lambda _: None, tmp_path / "log", os.environ, limits=Limits(60, 0))
    with pytest.raises(ImageError) as trouble:
        puller.pull([{"ref": f"{plain.address}/{name}:1"} for name in ("one", "other")])
    assert [line.split("/")[1].split(":")[0] for line in str(trouble.value).splitlines()] == [
        "one",
        "other",
    ]


def test_what_is_made_here_otherwise_need_not_be_had(plain: Registry, pull: Any) -> None:
    ref = f"{plain.address}/shop/other:none"
    (last,) = pull(ref, instead="moorage/other:1")[-1:]
    assert (last["event"], last["ref"]) == ("not-had", ref)
    assert "manifest unknown" in last["text"]


def test_a_password(tmp_path: Path, pull: Any) -> None:
    word = uuid.uuid4().hex
    with closing(Registry(tmp_path / "own", password=word)) as registry:
        right = {registry.address: {"username": "anna", "password": word}}
        with client_config(right) as environment:
            config = Path(environment["DOCKER_CONFIG"])
            assert config.stat().st_mode & 0o777 == 0o700
            assert (config / "config.json").stat().st_mode & 0o777 == 0o600
            assert word not in " ".join(environment.values())
            digest = registry.push("shop/web:1", "secret", str(config))
        assert not config.exists()
        ref = f"{registry.address}/shop/web:1"

        said = refused(pull, ref)
        assert f"images_credentials has nobody for {registry.address}" in said
        said = refused(pull, ref, {registry.address: {"username": "anna", "password": "wrong"}})
        assert "did not take the user and password that images_credentials has" in said
        assert "wrong" not in said

        events = pull(ref, {"other.example.com": right[registry.address], **right})
        assert events[-1]["digest"] == digest
        assert word not in json.dumps(events)
        assert word not in (tmp_path / "log").read_text()


def test_tls_by_a_ca_of_one_s_own(tmp_path: Path, pull: Any) -> None:
    with closing(Registry(tmp_path / "own", tls=True)) as registry:
        ref = f"{registry.address}/shop/web:1"
        said = refused(pull, ref)
        assert "x509" in said
        trusted = Path("/etc/docker/certs.d") / registry.address
        assert f"{trusted}/ca.crt" in said
        assert "moorage_extra_ca_bundle" in said
        trusted.mkdir(parents=True)
        try:
            shutil.copy(tmp_path / "own" / "ca.crt", trusted)
            digest = registry.push("shop/web:1", "one")
            assert pull(ref)[-1]["digest"] == digest
        finally:
            shutil.rmtree(trusted)


@contextmanager
def proxy(
    target: str, broken: int = 0, network: Path | None = None
) -> Iterator[tuple[str, list[int]]]:
    """Pass connections on to ``target``, but end the first ones in the middle of a request."""
    made: list[socket.socket] = []

    def listen() -> None:
        if network is not None:
            # Of this thread alone, which ends here; a socket stays where it was made.
            with network.open() as there:
                os.setns(there.fileno(), os.CLONE_NEWNET)
        made.append(socket.create_server(("127.0.0.1", 0)))

    listener = threading.Thread(target=listen)
    listener.start()
    listener.join()
    server = made[0]
    count = [0]

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            count[0] += 1
            if count[0] <= broken:
                client.recv(10)
                client.close()
                continue
            host, _, port = target.partition(":")
            behind = socket.create_connection((host, int(port)))
            for one, other in ((client, behind), (behind, client)):
                threading.Thread(target=pump, args=(one, other), daemon=True).start()

    def pump(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        finally:
            other.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}", count
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_a_pull_that_breaks_off_is_begun_again(plain: Registry, pull: Any) -> None:
    digest = plain.push("shop/broken:1", "whole")
    with proxy(plain.address, broken=2) as (address, count):
        try:
            events = pull(f"{address}/shop/broken:1", retries=3)
            assert events[-1]["digest"] == digest
            assert any("again in" in event.get("text", "") for event in events)
            assert count[0] > 2
        finally:
            for name in held(f"{address}/"):
                forget(name)
            forget(events[-1]["image"])


def test_who_does_not_answer_is_not_waited_for_for_ever(pull: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ref = f"127.0.0.1:{silent.getsockname()[1]}/shop/web:1"
        said = refused(pull, ref, timeout=1)
        assert "images_pull_timeout_seconds" in said
        assert ref in said


def test_a_registry_that_is_down(pull: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    said = refused(pull, f"127.0.0.1:{port}/shop/web:1")
    assert "connection refused" in said
    assert "moorage images save" in said


def test_mirrors_are_asked_before(plain: Registry, tmp_path: Path, pull: Any) -> None:
    plain.push("shop/origin:1", "origin")
    with closing(Registry(tmp_path / "mirror")) as mirror:
        digest = mirror.push("cache/shop/web:1", "mirrored")
        mirrors = {plain.address: [f"{mirror.address}/cache"]}
        ref = f"{plain.address}/shop/web:1"
        forget(ref)
        last = pull(ref, mirrors=mirrors, refresh=True)[-1]
        assert last["digest"] == digest
        assert last["image"] == local_name(ref, digest)
        # What no mirror has comes from the registry itself.
        events = pull(f"{plain.address}/shop/origin:1", mirrors=mirrors)
        assert any("not from the mirror" in event.get("text", "") for event in events)
        assert content_of(events[-1]["image"]) == "origin"


def test_a_full_disk(plain: Registry, tmp_path: Path, pull: Any) -> None:
    plain.push("shop/large:1", "large")
    root, run = tmp_path / "root", Path("/tmp") / f"pytest-{uuid.uuid4().hex[:8]}"
    root.mkdir()
    run.mkdir()
    address = f"unix://{run}/s"
    # An engine has no business in this machine's network: it would take its bridge away.
    engine = f"exec dockerd --host {address} --data-root {root} --exec-root {run} --bridge none "
    engine += f"--pidfile {run}/pid --iptables=false --storage-driver vfs"
    disk = f"mount -t tmpfs -o size=24m none {root}"
    with (tmp_path / "said").open("wb") as said:
        argv = ["unshare", "--net", "--mount", "sh", "-ec", f"ip link set lo up; {disk}; {engine}"]
        running = subprocess.Popen(argv, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + 120
        while subprocess.run(["docker", "-H", address, "version"], capture_output=True).returncode:
            assert time.monotonic() < deadline
            assert running.poll() is None, (tmp_path / "said").read_text()
            time.sleep(0.1)
        network = Path(f"/proc/{running.pid}/ns/net")
        assert network.readlink() != Path("/proc/self/ns/net").readlink()
        with proxy(plain.address, network=network) as (registry, _):
            ref = f"{registry}/shop/large:1"
            text = refused(pull, ref, environment={"DOCKER_HOST": address})
        assert "no space left on device" in text
        assert "the host's disk is full" in text
    finally:
        running.terminate()
        running.wait(timeout=60)
        shutil.rmtree(run, ignore_errors=True)


def test_names() -> None:
    half = "0123456789abcdef" * 2
    digest = f"sha256:{half * 2}"
    for ref, name in (
        ("redis", f"moorage/pulled/redis:latest-{half}"),
        ("bitnami/redis:8", f"moorage/pulled/bitnami/redis:8-{half}"),
        ("R.example.com:5000/a_b/c:1", f"moorage/pulled/r.example.com-5000/a-b/c:1-{half}"),
        (f"localhost/web@{digest}", f"moorage/pulled/localhost/web:{half}"),
        (f"localhost/web:2@{digest}", f"moorage/pulled/localhost/web:2-{half}"),
    ):
        assert local_name(ref, digest_of(ref) or digest) == name
        docker("tag", "moorage/base:trixie", name)
        forget(name)


@pytest.mark.parametrize(
    ("dockerfile", "line"),
    [
        ("ARG V=1\nFROM scratch AS a\nFROM {0}/none:${{V}} AS web\nRUN true\n", 3),
        ("FROM scratch\n# one more\nCOPY --from={0}/none:1 /x /y\n", 3),
    ],
)
def test_a_base_that_cannot_be_had_is_said_with_its_line(
    dockerfile: str, line: int, plain: Registry, tmp_path: Path
) -> None:
    root = tmp_path / "source"
    root.mkdir()
    text = dockerfile.format(plain.address)
    (root / "Dockerfile").write_text(text)
    spec = stack_spec("shop", "web", {"context": "."}, root, ImageMap(root, {}))
    bundle = io.BytesIO()
    pack([spec], bundle, {"base_source": "bootstrap", "base_name": ""})
    bundle.seek(0)
    with tarfile.open(fileobj=bundle) as archive:
        archive.extractall(tmp_path / "bundle", filter="fully_trusted")
    recipe = json.loads((tmp_path / "bundle" / "build.json").read_text())
    builder = Builder(tmp_path / "bundle", lambda _: None, recipe, logs=tmp_path / "logs")
    with pytest.raises(ImageError) as trouble:
        builder.build(recipe["images"])
    said = str(trouble.value).splitlines()[0]
    assert f"line {line} of its Dockerfile, `{text.splitlines()[line - 1]}`" in said
    assert f"{plain.address}/none:1, which cannot be pulled" in said
    assert "correct its name, tag or digest" in said


def test_lines_that_name_an_image() -> None:
    text = "ARG BASE=redis\nFROM ${BASE} AS a\nRUN echo redis:8\nCOPY --from=redis:8 / /\n"
    assert line_of(text, ["hub.example.com/library/redis:latest"], {}) == (2, "FROM ${BASE} AS a")
    assert line_of(text, ["x/mysql:1"], {"BASE": "mysql:1"}) == (2, "FROM ${BASE} AS a")
    assert line_of(text, ["mysql:1"], {}) is None


def written(layout: Layout, ref: str, pulled: Event) -> Release:
    """Write a release without containers, which names an image that was pulled."""
    planned = {"id": "0" * 12, "stack": layout.stack, "topology": "containers", "format": FORMAT}
    files = dict.fromkeys(("compose.yaml", "compose.json"), ('{"services": {}}', 0o644))
    content = Content(files, {**planned, "images": [ref], "units": []})
    content = pin(content, {ref: (pulled["image"], origin_of(pulled))})
    return write_release(layout, str(content.manifest["id"]), content.files, content.manifest)


def test_what_is_due_and_what_nobody_needs_any_more(
    plain: Registry, tmp_path: Path, pull: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = f"{plain.address}/shop/due:1"
    digest = plain.push("shop/due:1", "due")
    first = pull(ref)[-1]
    layout = Layout.of("shop", tmp_path / "opt", tmp_path / "run")

    def is_due(policy: str, name: str = ref) -> bool:
        return due(layout, [{"ref": name, "policy": policy}]) == [name]

    # Nobody knows how old it is before a release has it.
    assert is_due("every_1h")
    assert not is_due("missing")
    release = written(layout, ref, first)
    point_current_at(layout, release)
    assert is_due("always")
    assert not is_due("every_1h")
    deadline = time.monotonic() + 60
    while not is_due("every_2s"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # A digest cannot move.
    assert not is_due("always", f"{plain.address}/shop/due@{digest}")

    # Of this test's own alone: others beside it have pulled too.
    own = first["image"].rpartition(":")[0]
    monkeypatch.setattr(pulled, "PULLED", own)
    assert pulled.sweep(tmp_path / "opt") == []
    plain.push("shop/due:1", "later")
    last = pull(ref, refresh=True)[-1]
    assert pulled.sweep(tmp_path / "opt") == []
    monkeypatch.setattr(pulled, "_WAITING_SECONDS", 0.0)
    assert pulled.sweep(tmp_path / "opt") == [last["image"]]
    assert content_of(first["image"]) == "due"
    shutil.rmtree(release.path)
    assert pulled.sweep(tmp_path / "opt") == [first["image"]]
    assert held(own) == []


def test_an_archive_takes_a_stack_s_images_to_a_host_without_a_network(
    tmp_path: Path, pull: Any
) -> None:
    with closing(Registry(tmp_path / "own")) as registry:
        digest = registry.push("shop/web:1", "one")
        ref = f"{registry.address}/shop/web:1"
        brought = pull(ref)[-1]
        layout = Layout.of("shop", tmp_path / "opt", tmp_path / "run")
        release = written(layout, ref, brought)
        file = tmp_path / "shop.tar"
        with pytest.raises(ReleaseError, match="nothing of shop runs here yet"):
            archive.save(layout, file)
        point_current_at(layout, release)
        assert pins(layout) == {ref: (brought["image"], origin_of(brought))}

        assert brought["image"] in archive.save(layout, file)
        assert file.stat().st_mode & 0o777 == 0o600
        registry.stop()
        for name in [*held(f"{registry.address}/"), brought["image"]]:
            forget(name)
        assert pins(layout) == {}
        assert {ref, brought["image"]} <= set(archive.load(file))
        # A deploy finds it under the name that the Compose file has.
        last = pull(ref)[-1]
        assert (last["event"], last["id"]) == ("there", brought["id"])
        assert pins(layout)[ref][1].digest == digest

        torn = tmp_path / "torn.tar"
        torn.write_bytes(file.read_bytes()[:-20_000])
        with pytest.raises(ReleaseError, match="is no archive that"):
            archive.load(torn)
        with pytest.raises(ReleaseError, match="No such file"):
            archive.load(tmp_path / "none")


def test_the_program_of_a_bundle_pulls_and_leaves_no_password(tmp_path: Path) -> None:
    word = uuid.uuid4().hex
    with closing(Registry(tmp_path / "own", password=word)) as registry:
        who = {registry.address: {"username": "anna", "password": word}}
        with client_config(who) as environment:
            digest = registry.push("shop/web:1", "one", environment["DOCKER_CONFIG"])
        ref = f"{registry.address}/shop/web:1"
        bundle = io.BytesIO()
        pack([], bundle, {"pulls": [{"ref": ref}], "mirrors": {}, "limits": {"retries": 0}})
        bundle.seek(0)
        directory = tmp_path / "bundle"
        with tarfile.open(fileobj=bundle) as packed:
            packed.extractall(directory, filter="fully_trusted")
        (directory / REGISTRIES).write_text(json.dumps(who))
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(directory / "lib")}
        program = [sys.executable, "-S", "-m", "moorage.images.host"]
        subprocess.run([*program, "start", str(directory)], env=environment, check=True)
        events: list[Event] = []
        deadline = time.monotonic() + 120
        while not events or events[-1]["event"] != "done":
            assert time.monotonic() < deadline
            argv = [*program, "follow", str(directory), "0"]
            done = subprocess.run(argv, env=environment, capture_output=True, check=True)
            events = json.loads(done.stdout)["events"]
        assert events[-1]["error"] == ""
        assert next(e for e in events if e["event"] == "pulled")["digest"] == digest
        for path in directory.rglob("*"):
            assert not path.is_file() or word.encode() not in path.read_bytes(), path


def test_credentials(tmp_path: Path) -> None:
    file = tmp_path / "registries.yml"
    file.write_text("auths:\n  r.example.com: {username: anna, password: 'one:two'}\n")
    file.chmod(0o640)
    with pytest.raises(ImageError, match="has mode 0640"):
        check_modes(file)
    file.chmod(0o600)
    check_modes(file)
    pair = {"username": "anna", "password": "one:two"}
    assert read_registries(file) == {"r.example.com": pair}
    # As `docker login` writes it.
    coded = base64.b64encode(b"anna:one:two").decode()
    file.write_text(json.dumps({"auths": {"r.example.com": {"auth": coded}}, "HttpHeaders": {}}))
    assert read_registries(file) == {"r.example.com": pair}
    for text, words in (
        ("{", "neither JSON nor YAML"),
        ("[1]", "has no `auths`"),
        ("auths: {r: {username: anna, password: 12345}}", "as texts"),
        ("auths: {r: {auth: c2VjcmV0}}", "not NAME:WORD in base64"),
    ):
        file.write_text(text)
        with pytest.raises(ImageError) as trouble:
            read_registries(file)
        assert words in str(trouble.value)
        assert "12345" not in str(trouble.value)
    file.write_bytes(b"$ANSIBLE_VAULT;1.1;AES256\n")
    file.chmod(0o644)
    check_modes(file)
    with pytest.raises(ImageError, match="No such file"):
        check_modes(tmp_path / "none")
