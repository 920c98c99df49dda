"""The gateway on a supervisor that is used alone: by a socket, and by TCP with a token."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from control_rig import SOURCES, ControlRig, eventually
from docker.transport import UnixHTTPAdapter

TOKEN = "a-token-of-these-tests-0123456789"


def command(rig: ControlRig, *words: str) -> list[str]:
    """Return the command line of a gateway."""
    return [sys.executable, "-m", "moorage.gateway", "--supervisor", rig.socket, *words]


@contextmanager
def gateway(rig: ControlRig, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a gateway, which must end well."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES)}
    process = subprocess.Popen(command(rig, *words), env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with the token, for nobody else to read."""
    made = tmp_path / "token"
    made.write_text(TOKEN + "\n")
    made.chmod(0o600)
    return made


def session(socket: Path) -> requests.Session:
    """Return a client whose requests to http://control/ go to a socket."""
    made = requests.Session()
    made.trust_env = False
    made.mount("http://control/", UnixHTTPAdapter(f"http+unix://{socket}"))
    return made


def test_by_a_socket_beside_the_supervisors(rig: ControlRig, tmp_path: Path) -> None:
    socket, audit = Path(rig.socket).with_name("http.sock"), tmp_path / "audit"
    with gateway(rig, "--audit", str(audit)):
        eventually(socket.exists, "it listens")
        assert stat.S_IMODE(socket.stat().st_mode) == 0o660
        client = session(socket)
        url = "http://control/v1"
        assert client.get(f"{url}/health").json()["backend"] == "process"
        found = {s["name"]: s for s in client.get(f"{url}/services").json()["services"]}
        assert found["broken"]["state"] == "fatal" and found["steady"]["pid"]
        lines = client.get(f"{url}/services/talker/logs?lines=2").json()["lines"]
        assert lines == ["one", "two"]
        assert "samples" in client.get(f"{url}/services/steady/history").json()
        assert client.get(f"{url}/services/absent/history").status_code == 404
        body = {"who": "ada", "reason": "a new certificate"}
        done = client.post(f"{url}/services/steady/restart", json=body).json()
        assert done["state"] == "running" and done["pid"] != found["steady"]["pid"]
        last = client.get(f"{url}/events").json()["events"]
        assert [e["who"] for e in last if e["kind"] == "request"][-1] == "ada"
        text = client.get(f"{url}/metrics").text
        assert 'moorage_service_up{stack="supervisor",service="steady"} 1' in text
        assert client.get(f"{url}/dependencies").json()["dependencies"]["steady"] == {}
        assert client.get(f"{url}/backups").json() == {"backup": None, "proof": None}
    noted = json.loads(audit.read_text().splitlines()[-1])
    assert (noted["action"], noted["who"], noted["result"]) == ("restart", "ada", "done")
    assert noted["peer"]["pid"] == os.getpid()
    assert not socket.exists()


def test_a_group_is_acted_on_as_one_and_one_after_the_other(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    well = tmp_path / "well"
    well.touch()
    check = {"type": "command", "command": ["test", "-e", str(well)], "interval": 0.1, "retries": 1}
    web = {"command": ["sleep", "600"], "group": "web", "health_check": check}
    made = ControlRig(tmp_path_factory.mktemp("g"), {"web-1": web, "web-2": web})
    audit = tmp_path / "audit"
    try:
        made.start()
        with gateway(made, "--audit", str(audit)):
            socket = Path(made.socket).with_name("http.sock")
            eventually(socket.exists, "it listens")
            client, url, body = session(socket), "http://control/v1", {"who": "ada"}
            assert client.get(f"{url}/groups").json() == {"groups": {"web": ["web-1", "web-2"]}}

            def act(action: str, status: int = 200) -> Any:
                answer = client.post(f"{url}/groups/web/{action}", json=body)
                assert answer.status_code == status, answer.text
                return answer.json()

            before = [one["pid"] for one in act("restart")["services"]]
            rolled = act("rolling-restart")["services"]
            assert [one["health"] for one in rolled] == ["healthy", "healthy"]
            assert not {one["pid"] for one in rolled} & {*before, None}
            well.unlink()
            problem = act("rolling-restart", 409)
            assert problem["code"] == "failed" and "web-2" in problem["detail"]
            assert made.state("web-2") == "RUNNING"
            assert {one["state"] for one in act("stop")["services"]} == {"stopped"}
            assert client.post(f"{url}/groups/shop/stop", json=body).status_code == 404
            assert client.post(f"{url}/groups/web/explode", json=body).status_code == 404
            assert client.get(f"{url}/groups/web/stop").status_code == 405
    finally:
        made.stop()
    noted = [json.loads(line) for line in audit.read_text().splitlines()]
    done = [(line["action"], line["service"]) for line in noted if line.get("result") == "done"]
    assert done == [(what, "web:") for what in ("restart", "rolling-restart", "stop")]


def test_by_tcp_with_a_token_alone(rig: ControlRig, tmp_path: Path, token_file: Path) -> None:
    audit = tmp_path / "audit"
    with gateway(
        rig, "--listen", "127.0.0.1:0", "--token-file", str(token_file), "--audit", str(audit)
    ) as process:
        port = eventually(lambda: listening(process.pid), "it listens")
        url = f"http://127.0.0.1:{port}/v1"
        good = {"Authorization": f"Bearer {TOKEN}"}
        found = requests.get(f"{url}/services", headers=good, timeout=20)
        assert {s["name"] for s in found.json()["services"]} >= {"steady", "talker"}
        for word in ("", f"Bearer {TOKEN}x", TOKEN, "Bearer \xe9", f"Basic {TOKEN}"):
            shown = {"Authorization": word} if word else {}
            for path in ("/services", "/metrics", "/health", "/nothing"):
                refused = requests.get(url + path, headers=shown, timeout=20)
                assert refused.status_code == 401, (shown, path)
                assert refused.headers["WWW-Authenticate"] == "Bearer"
        body = {"who": "eve"}
        assert (
            requests.post(f"{url}/services/steady/stop", json=body, timeout=20).status_code == 401
        )
        assert rig.state("steady") == "RUNNING"
        stopped = requests.post(
            f"{url}/services/steady/restart", json=body, headers=good, timeout=20
        )
        assert stopped.json()["state"] == "running"
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert lines[0]["result"] == "denied" and lines[0]["peer"]["address"] == "127.0.0.1"
    assert (lines[-1]["action"], lines[-1]["result"]) == ("restart", "done")
    assert TOKEN not in audit.read_text()


def listening(pid: int) -> int:
    """Return the port that a process listens on, 0 while there is none."""
    table = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    inodes = {
        os.readlink(link).removeprefix("socket:[").rstrip("]")
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if link.is_symlink()
    }
    fields = (line.split() for line in table)
    return next(
        (int(f[1].partition(":")[2], 16) for f in fields if f[3] == "0A" and f[9] in inodes), 0
    )


@pytest.mark.parametrize(
    ("words", "mode", "content", "why"),
    [
        (["--listen", "127.0.0.1:0"], 0o600, TOKEN, "--listen wants --token-file FILE"),
        (["--listen", "0.0.0.0:0", "--token-file"], 0o600, TOKEN, "in the clear"),
        (["--listen", "9000", "--token-file"], 0o600, TOKEN, "ADDRESS:PORT is wanted"),
        (["--listen", "127.0.0.1:0", "--token-file"], 0o644, TOKEN, "chmod 600"),
        (["--listen", "127.0.0.1:0", "--token-file"], 0o600, "short", "at least 20"),
        (["--listen", "127.0.0.1:0", "--token-file"], 0o600, f"{TOKEN}\n{TOKEN}", "one line"),
        (["--socket", "/run/x", "--listen", "127.0.0.1:0"], 0o600, TOKEN, "not both"),
    ],
)
def test_what_it_refuses_to_start_with(
    rig: ControlRig, token_file: Path, words: list[str], mode: int, content: str, why: str
) -> None:
    token_file.write_text(content)
    token_file.chmod(mode)
    if words[-1] == "--token-file":
        words = [*words, str(token_file)]
    ended = subprocess.run(
        command(rig, *words), env={"PYTHONPATH": str(SOURCES)}, capture_output=True, timeout=60
    )
    assert ended.returncode == 1 and why in ended.stderr.decode()
    assert b"Traceback" not in ended.stderr
