"""A registry of the test's own: Debian's, in a container, plain, with a password, or with TLS."""

from __future__ import annotations

import ctypes
import json
import socket
import subprocess
import time
import uuid
from pathlib import Path

IMAGE = "moorage/test-registry:1"
_MADE_OF = """\
FROM moorage/base:trixie
RUN apt-get update && apt-get install -y --no-install-recommends docker-registry openssl
LABEL moorage.test=registry
"""
_SERVE = "docker-registry serve /etc/docker/registry/own.yml"


def docker(*argv: str, text: str | None = None, check: bool = True) -> str:
    done = subprocess.run(
        ["docker", *argv], input=text, capture_output=True, text=True, check=False, timeout=300
    )
    assert not check or done.returncode == 0, f"docker {argv}: {done.stderr}"
    return done.stdout.strip()


class Registry:
    """On loopback, which engines take without TLS; with ``tls`` on an address of its own."""

    def __init__(self, directory: Path, *, password: str = "", tls: bool = False) -> None:
        if not docker("images", "--quiet", IMAGE):
            docker("build", "--network", "host", "--tag", IMAGE, "-", text=_MADE_OF)
        self.name = f"pytest-registry-{uuid.uuid4().hex[:8]}"
        self.directory, self.tls = directory, tls
        self.directory.mkdir(parents=True, exist_ok=True)
        http: dict[str, object] = {"addr": "127.0.0.1:0"}
        config: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": "/var/lib/registry"}},
            "http": http,
        }
        if password:
            (directory / "htpasswd").write_text(f"anna:{_bcrypt(password)}\n")
            config["auth"] = {"htpasswd": {"realm": "moorage", "path": "/own/htpasswd"}}
        network = "bridge" if tls else "host"
        serve = _SERVE
        if tls:
            http |= {"addr": ":5000", "tls": {"certificate": "/own/crt", "key": "/own/key"}}
            # The address is known once the container has it.
            serve = f"until [ -s /own/crt ]; do sleep 0.1; done; {_SERVE}"
        else:
            http["addr"] = f"127.0.0.1:{_free_port()}"
        # JSON is YAML too.
        (directory / "own.yml").write_text(json.dumps(config))
        mounts = ["-v", f"{directory}:/own", "-v"]
        mounts.append(f"{directory}/own.yml:/etc/docker/registry/own.yml:ro")
        argv = ["run", "--detach", "--name", self.name, "--network", network, "--init", *mounts]
        docker(*argv, IMAGE, "sh", "-c", serve)
        self.address = str(http["addr"])
        if tls:
            form = "{{.NetworkSettings.IPAddress}}"
            self.address = f"{docker('inspect', '--format', form, self.name)}:5000"
            self._certify(self.address.partition(":")[0])
        self._wait()

    def _certify(self, address: str) -> None:
        make = (
            "cd /own && openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt "
            "-subj /CN=own -days 2 2>/dev/null && openssl req -newkey rsa:2048 -nodes -keyout key "
            "-out csr -subj /CN=registry 2>/dev/null && "
            f"echo subjectAltName=IP:{address} > ext && openssl x509 -req -in csr -CA ca.crt "
            "-CAkey ca.key -CAcreateserial -out made -days 2 -extfile ext 2>/dev/null && "
            "chmod a+r * && mv made crt"
        )
        docker("exec", self.name, "sh", "-c", make)

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while "listening on" not in (said := self.log()):
            assert time.monotonic() < deadline, said
            time.sleep(0.1)

    def log(self) -> str:
        done = subprocess.run(["docker", "logs", self.name], capture_output=True, text=True)
        return done.stdout + done.stderr

    def push(self, name: str, content: str, config: str = "") -> str:
        """Put an image with one file into it, and return its digest; nothing of it stays here."""
        ref = f"{self.address}/{name}"
        made = (
            f"FROM moorage/base:trixie\nRUN echo {content} > /content\nLABEL moorage.test=image\n"
        )
        docker("build", "--tag", ref, "-", text=made)
        said = docker(*(["--config", config] if config else []), "push", ref)
        forget(ref)
        return said.rpartition("digest: ")[2].split()[0]

    def stop(self) -> None:
        docker("kill", self.name, check=False)

    def start(self) -> None:
        docker("start", self.name)

    def close(self) -> None:
        docker("rm", "--force", "--volumes", self.name, check=False)
        for ref in held(f"{self.address}/"):
            forget(ref)
        for ref in held("moorage/pulled/"):
            if self.address.replace(":", "-") in ref:
                forget(ref)


def held(start: str) -> list[str]:
    """Return the references of this engine that begin so, digests too."""
    form = "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}"
    words = docker("images", "--digests", "--format", form).split()
    return sorted({w for w in words if w.startswith(start) and "<none>" not in w})


def forget(ref: str) -> None:
    docker("image", "rm", "--force", ref, check=False)


def content_of(image: str) -> str:
    return docker("run", "--rm", "--pull", "never", "--network", "none", image, "cat", "/content")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _bcrypt(word: str) -> str:
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    said: bytes = library.crypt(word.encode(), b"$2b$05$abcdefghijklmnopqrstuu")
    return said.decode()
