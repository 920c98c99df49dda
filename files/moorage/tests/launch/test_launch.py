"""The launcher's second half: what a process sees, and who it is. Real namespaces, as root."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from moorage.launch import surroundings
from moorage.release.native import Mount, Process

SOURCES = Path(__file__).resolve().parents[2] / "src"
UID, GID = 40123, 40124
PLAIN = Process(
    unit="shop_server",
    service="server",
    command=("true",),
    directory="/",
    path="/usr/bin:/bin",
    user=f"{UID}:{GID}",
)

Launch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Run a shell's script as a process, by its file."""

    def run(script: str, process: Process = PLAIN, mode: int = 0o644) -> object:
        path = tmp_path / "shop_server.json"
        content = asdict(replace(process, command=("sh", "-c", script)))
        path.write_text(json.dumps(content), encoding="utf-8")
        path.chmod(mode)
        return subprocess.run(
            [sys.executable, "-P", "-m", "moorage.launch", "--inside", str(path)],
            env={"PYTHONPATH": str(SOURCES), "LEAKED": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run  # type: ignore[return-value]


def test_it_is_the_user_with_the_environment_and_nothing_else(launch: Launch) -> None:
    process = replace(PLAIN, groups=(40200,), environment={"COLOUR": "blue $HOME %"})

    done = launch("id -u; id -g; id -G; env | grep -v ^PWD=; exit 7", process)

    assert done.stderr == ""
    said = done.stdout.splitlines()
    assert said[:3] == [f"{UID}", f"{GID}", f"{GID} 40200"]
    assert sorted(said[3:]) == ["COLOUR=blue $HOME %", "PATH=/usr/bin:/bin"]
    assert done.returncode == 7


def test_it_may_open_its_output_by_name(launch: Launch) -> None:
    done = launch("echo said >/dev/stdout; echo complained >/dev/stderr")

    assert (done.stdout, done.stderr) == ("said\n", "complained\n")


def test_it_can_gain_no_privilege(launch: Launch) -> None:
    done = launch("grep -E '^(NoNewPrivs|CapBnd|CapEff|SigIgn)' /proc/self/status")

    values = dict(line.split(":\t") for line in done.stdout.splitlines())
    assert values["NoNewPrivs"] == "1"
    assert int(values["CapBnd"], 16) == int(values["CapEff"], 16) == 0
    ignored = int(values["SigIgn"], 16)
    assert not any(ignored >> number - 1 & 1 for number in (signal.SIGPIPE, signal.SIGXFSZ))


def test_another_process_of_the_same_user_is_a_stranger(launch: Launch, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(
        json.dumps(asdict(replace(PLAIN, command=("sh", "-c", "echo; exec sleep 99"))))
    )
    argv = [sys.executable, "-P", "-m", "moorage.launch", "--inside", str(other)]
    with subprocess.Popen(
        argv, env={"PYTHONPATH": str(SOURCES)}, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout
            assert running.stdout.readline() == "\n"
            proc = f"/proc/{running.pid}"
            done = launch(f"cat /proc/self/status; ls {proc}; cat {proc}/cmdline; ls /proc/1")
            assert f"Uid:\t{UID}\t" in done.stdout
            # Of one user, without a namespace of its own, it would be in sight.
            assert done.stderr.count("No such file or directory") == 3
        finally:
            running.kill()


def test_it_writes_to_its_volume_and_its_scratch_alone(launch: Launch, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    everywhere = Path("/var/lib/moorage-test-launch")
    everywhere.mkdir(exist_ok=True)
    everywhere.chmod(0o777)
    try:
        done = launch(
            f"touch /data/mine /tmp/mine /var/tmp/mine && echo well; touch {everywhere}/not",
            replace(PLAIN, mounts=(Mount("/data", str(volume)),)),
        )
        assert done.stdout == "well\n"
        assert "Read-only file system" in done.stderr
        assert (volume / "mine").exists()
        assert not list(everywhere.iterdir())
        assert not Path("/tmp/mine").exists()
    finally:
        everywhere.rmdir()
        Path("/data").rmdir()


def test_of_opt_it_sees_its_environment_alone(launch: Launch, tmp_path: Path) -> None:
    code, secret = tmp_path / "code", tmp_path / "token"
    (code / "app").mkdir(parents=True)
    secret.write_text("s3cret", encoding="utf-8")
    secret.chmod(0o400)
    subprocess.run(["chown", f"{UID}", str(secret)], check=True)
    process = replace(
        PLAIN,
        directory="/opt/shop/environments/x/app",
        mounts=(
            Mount("/opt", read_only=True, options="mode=0755"),
            Mount("/opt/shop/environments/x", str(code), read_only=True),
            Mount("/run/secrets/token", str(secret), read_only=True, secret=True),
            Mount("/run/secrets", read_only=True, options="mode=0755"),
            Mount("/opt/cache", options="size=1m,mode=0700,uid=40123,noexec"),
        ),
    )

    done = launch(
        "pwd; ls /opt; cat /run/secrets/token; echo; touch /opt/cache/mine && echo cached;"
        "touch /opt/not /run/secrets/not; echo x > /run/secrets/token; df -k /opt/cache | tail -1",
        process,
    )

    pwd, *listed, secret_said, cached, size = done.stdout.splitlines()
    assert (pwd, listed) == ("/opt/shop/environments/x/app", ["cache", "shop"])
    assert (secret_said, cached) == ("s3cret", "cached")
    assert size.split()[1] == "1024"
    assert len(done.stderr.splitlines()) == 3


def test_its_devices_are_few_and_the_hosts_state_is_closed(launch: Launch) -> None:
    done = launch(
        "ls /dev; echo > /dev/null && head -c 2 /dev/zero | wc -c; ls -a /root; touch /proc/sys/x"
    )

    said = set(done.stdout.split())
    assert {"null", "zero", "urandom", "ptmx", "shm", "2"} <= said
    assert not {name for name in said if name.startswith(("sd", "vd", "loop", "mem", "kmsg"))}
    assert "Permission denied" in done.stderr


def test_no_mount_brings_a_device(launch: Launch, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    volume = tmp_path / "volume"
    volume.mkdir()
    os.mknod(volume / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (volume / "null").chmod(0o666)
    volume.chmod(0o755)
    done = launch("echo x > /data/null", replace(PLAIN, mounts=(Mount("/data", str(volume)),)))
    assert "Permission denied" in done.stderr


def test_it_shares_its_memory_with_no_other(launch: Launch) -> None:
    assert launch("echo well > /dev/shm/mine; cat /dev/shm/mine").stdout == "well\n"
    assert launch("ls /dev/shm").stdout == ""


def test_a_volume_leads_root_nowhere(launch: Launch, tmp_path: Path) -> None:
    volume, config = tmp_path / "volume", tmp_path / "config"
    volume.mkdir()
    config.write_text("x", encoding="utf-8")
    subprocess.run(["ln", "-s", "/etc", str(volume / "conf")], check=True)
    subprocess.run(["chown", "-hR", f"{UID}", str(volume)], check=True)
    mounts = (
        Mount("/srv/data", str(volume)),
        Mount("/srv/data/conf/new", str(config), read_only=True),
    )
    try:
        done = launch("true", replace(PLAIN, mounts=mounts))
    finally:
        Path("/srv/data").rmdir()

    assert done.returncode == 70
    assert done.stderr == (
        "cannot start shop_server: cannot mount at /srv/data/conf/new: conf is a link to /etc\n"
    )
    assert not Path("/etc/new").exists()


def test_limits_are_set(launch: Launch) -> None:
    limits = {"LimitNOFILE": "100:200", "LimitCORE": "0"}

    done = launch("ulimit -Sn; ulimit -Hn; ulimit -c", replace(PLAIN, limits=limits))

    assert done.stdout.split() == ["100", "200", "0"]


@pytest.mark.parametrize(
    ("process", "said"),
    [
        (replace(PLAIN, directory="/nowhere"), "cannot enter /nowhere: No such file or directory"),
        (replace(PLAIN, path="/nowhere"), "cannot run sh: No such file or directory"),
        (
            replace(PLAIN, mounts=(Mount("/srv", "/nowhere/x"),)),
            "cannot mount /nowhere/x at /srv: No such file or directory",
        ),
        (
            replace(PLAIN, mounts=(Mount("/srv", options="size=much"),)),
            "cannot mount an empty directory (size=much) at /srv: Invalid argument",
        ),
    ],
)
def test_why_not_is_one_line(launch: Launch, process: Process, said: str) -> None:
    done = launch("true", process)

    assert (done.returncode, done.stderr) == (70, f"cannot start shop_server: {said}\n")


def test_a_file_that_others_can_write_is_no_order(launch: Launch) -> None:
    done = launch("true", mode=0o664)

    assert done.returncode == 70
    assert "is not root's alone to write" in done.stderr


def test_two_that_start_together_may_want_the_same_place(tmp_path: Path) -> None:
    together, here = threading.Barrier(4), os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)

    def enter(number: int) -> None:
        for name in range(100):
            together.wait(60)
            os.close(surroundings._entered(here, str(name), is_directory=bool(name % 2)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(4)))
    os.close(here)
    assert len(list(tmp_path.iterdir())) == 100


def test_a_program_in_reserve_has_nothing_to_run_and_is_not_started_again(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "moorage.launch", "--pace", f"{tmp_path}/shop_task_07.json"],
        env={"PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (78, "shop_task_07 has nothing to run\n")
