"""Reading control groups, in both versions and as hosts lay them out."""

import subprocess
from pathlib import Path

import pytest

from moorage.control.cgroup import Reading, read_container

ID = "ab" * 32
LAYOUTS = {
    "systemd, version 2": (
        f"0::/system.slice/docker-{ID}.scope\n",
        f"system.slice/docker-{ID}.scope",
    ),
    "cgroupfs, version 2": (f"0::/docker/{ID}\n", f"docker/{ID}"),
    "with groups of its own": (f"0::/docker/{ID}/init.scope\n", f"docker/{ID}"),
    "nested engine": (f"0::/docker/{'cd' * 32}/docker/{ID}\n", f"docker/{'cd' * 32}/docker/{ID}"),
}


def _write(path: Path, **files: str) -> None:
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name.replace("_", ".", 1)).write_text(text)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_version_2(tmp_path: Path, layout: str) -> None:
    line, group = LAYOUTS[layout]
    _write(tmp_path / "proc/7", cgroup=line)
    _write(
        tmp_path / "sys" / group,
        cpu_stat="usage_usec 2500000\nuser_usec 1\n",
        memory_current="5000\n",
        memory_stat="anon 4000\nfile 1000\ninactive_file 700\nactive_file 300\n",
    )
    found = read_container(7, ID, proc=str(tmp_path / "proc"), root=str(tmp_path / "sys"))
    assert found == Reading(2.5, 4300)


def test_version_1(tmp_path: Path) -> None:
    lines = (
        f"9:cpu,cpuacct:/docker/{ID}\n8:memory:/docker/{ID}/x\n1:name=systemd:/y\n0::/docker/{ID}\n"
    )
    _write(tmp_path / "proc/7", cgroup=lines)
    _write(tmp_path / f"sys/cpuacct/docker/{ID}", cpuacct_usage="1500000000\n")
    memory = tmp_path / f"sys/memory/docker/{ID}"
    _write(memory, memory_stat="inactive_file 1\ntotal_inactive_file 100\n")
    (memory / "memory.usage_in_bytes").write_text("1100\n")
    found = read_container(7, ID, proc=str(tmp_path / "proc"), root=str(tmp_path / "sys"))
    assert found == Reading(1.5, 1000)


@pytest.mark.parametrize("line", ["0::/user.slice\n", "0::/docker/" + "ee" * 32, "", "x", "0::/"])
def test_a_process_of_somebody_else_tells_nothing(tmp_path: Path, line: str) -> None:
    _write(tmp_path / "proc/7", cgroup=line)
    assert read_container(7, ID, proc=str(tmp_path / "proc"), root=str(tmp_path)) is None
    assert read_container(8, ID, proc=str(tmp_path / "proc"), root=str(tmp_path)) is None


def test_a_process_that_is_in_no_container() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert read_container(process.pid, ID) is None
        process.kill()
