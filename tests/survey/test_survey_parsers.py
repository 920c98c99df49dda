"""The survey's parsers, on what real hosts say."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from ansible.module_utils.moorage_host import dpkg, engine, listeners, machine, sources, units

Data = Callable[[str], str]


def test_installed_packages_are_those_that_are_on_the_disk(data: Data) -> None:
    installed = dpkg.parse_status(data("dpkg_status.txt"))
    # logrotate was removed and left its configuration; dpkg has Essential: before Status:.
    assert sorted(installed) == ["docker.io", "dpkg", "libc6", "mawk", "systemd-timesyncd"]
    assert installed["docker.io"].version == "26.1.5+dfsg1-9+deb13u1"
    assert dpkg.native_architecture(installed) == "amd64"


def test_a_package_is_satisfied_by_an_alternative_or_by_who_provides_it(data: Data) -> None:
    installed = dpkg.parse_status(data("dpkg_status.txt"))
    wanted = ["docker.io", "logrotate", "chrony | time-daemon", "gawk | mawk", "curl | wget"]
    assert dpkg.missing(wanted, installed) == ["logrotate", "curl | wget"]


def test_a_host_without_dpkg_has_no_packages(tmp_path: Path) -> None:
    assert dpkg.read_status(tmp_path / "status") == {}


def test_listening_sockets_of_a_host(data: Data) -> None:
    found = listeners.parse_table(data("proc_net_tcp.txt"), "tcp")
    assert [(str(entry.address), entry.port) for entry in found] == [
        ("127.0.0.1", 42431),
        ("0.0.0.0", 5000),
        ("0.0.0.0", 8088),
    ]
    assert found[1].inode == 365970


def test_a_connected_udp_socket_does_not_listen(data: Data) -> None:
    found = listeners.parse_table(data("proc_net_udp.txt"), "udp")
    assert [(str(entry.address), entry.port) for entry in found] == [("127.0.0.1", 5353)]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("0" * 32, "::"),
        ("00000000000000000000000001000000", "::1"),
        ("0000000000000000FFFF00000100007F", "::ffff:127.0.0.1"),
        ("000080FE00000000FF57A6705DC771FE", "fe80::70a6:57ff:fe71:c75d"),
    ],
)
def test_addresses_are_in_the_hosts_byte_order(text: str, address: str) -> None:
    assert listeners.parse_address(text) == ip_address(address)


@pytest.mark.parametrize(
    ("wanted", "held", "collides"),
    [
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "::", True),
        ("::", "10.0.0.1", True),
        ("0.0.0.0", "::1", False),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("127.0.0.1", "::ffff:127.0.0.2", False),
        ("::1", "::1", True),
    ],
)
def test_when_two_addresses_exclude_each_other(wanted: str, held: str, collides: bool) -> None:
    assert listeners.collide(wanted, ip_address(held)) is collides


def test_the_holder_of_a_real_socket_is_found() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        mine = [entry for entry in listeners.read_listeners() if entry.port == port]
        assert [str(entry.address) for entry in mine] == ["127.0.0.1"]
        holder = listeners.holders([mine[0].inode])[mine[0].inode]
    assert holder.pid == os.getpid()
    assert holder.name == Path("/proc/self/comm").read_text().strip()


CGROUP_V1 = """\
9:name=systemd:/system.slice/docker.service
8:pids:/system.slice/docker.service
0::/system.slice/docker.service
"""
CONTAINER = "55644f54f23d60cc006cdb2d7e0c180d1cffd64c22eec1e75f0abe5d707dff7c"


@pytest.mark.parametrize(
    ("cgroup", "unit", "container"),
    [
        (CGROUP_V1, "docker.service", ""),
        ("0::/user.slice/user-0.slice/session-3.scope\n", "session-3.scope", ""),
        (f"8:pids:/docker/{CONTAINER}\n0::/docker/{CONTAINER}\n", "", CONTAINER),
        (f"0::/system.slice/docker-{CONTAINER}.scope\n", f"docker-{CONTAINER}.scope", CONTAINER),
        ("0::/\n", "", ""),
    ],
)
def test_unit_and_container_of_a_process(cgroup: str, unit: str, container: str) -> None:
    assert listeners.parse_unit(cgroup) == unit
    assert listeners.parse_container(cgroup) == container


def test_one_line_sources() -> None:
    text = """\
# deb http://old.example.com/debian trixie main
deb http://mirror.example.com/debian/ trixie main contrib # trailing words
deb-src http://mirror.example.com/debian trixie main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] https://apt.example.com/x ./
deb [ trusted=yes ] http://flat.example.com/x stable main

deb broken
"""
    assert sources.parse_one_line(text) == [
        ("http://mirror.example.com/debian", "trixie"),
        ("https://apt.example.com/x", "./"),
        ("http://flat.example.com/x", "stable"),
    ]


def test_deb822_sources() -> None:
    text = """\
# From the installer
Types: deb deb-src
URIs: http://mirror.example.com/debian/
Suites: trixie
  trixie-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
Enabled: no
URIs: http://off.example.com/debian
Suites: trixie

types: deb-src
URIs: http://source.example.com/debian
Suites: trixie
"""
    assert sources.parse_deb822(text) == [
        ("http://mirror.example.com/debian", "trixie"),
        ("http://mirror.example.com/debian", "trixie-updates"),
    ]


def test_all_source_files_are_read_and_each_source_once(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    line = "deb http://mirror.example.com/debian trixie main\n"
    (tmp_path / "sources.list").write_text(line)
    (parts / "a.list").write_text(line.replace("trixie", "trixie-updates"))
    (parts / "b.sources").write_text("Types: deb\nURIs: http://x.example.com/\nSuites: s/\n")
    (parts / "c.list.save").write_text(line.replace("mirror", "saved"))
    assert sources.read_sources(tmp_path) == [
        ("http://mirror.example.com/debian", "trixie"),
        ("http://mirror.example.com/debian", "trixie-updates"),
        ("http://x.example.com", "s/"),
    ]


def test_where_the_index_of_a_source_lies() -> None:
    plain = sources.Source("http://mirror.example.com/debian", "trixie")
    assert sources.release_url(plain) == "http://mirror.example.com/debian/dists/trixie/InRelease"
    flat = sources.Source("http://mirror.example.com/x", "./")
    assert sources.release_url(flat) == "http://mirror.example.com/x/InRelease"


def test_units_as_systemd_shows_them(data: Data) -> None:
    found = units.parse_show(data("systemctl_show.txt"))
    docker, timer = found["docker.service"], found["logrotate.timer"]
    assert docker.active and docker.enabled and docker.started == pytest.approx(2482.480912)
    assert timer.active and timer.enabled and timer.started is None
    # A container has its machine's clock: the unit's own condition refuses to start it.
    assert found["systemd-timesyncd.service"].refused
    missing = found["none.service"]
    assert not missing.loaded and not missing.enabled and not missing.refused


def test_containers_as_the_engine_lists_them(data: Data) -> None:
    ours, other = [engine.summary(entry) for entry in json.loads(data("containers.json"))]
    assert (ours["name"], ours["stack"], ours["service"]) == ("tg2em-unified", "tg2em", "unified")
    assert (ours["state"], ours["health"], ours["exit_code"]) == ("running", "starting", None)
    assert ours["ports"] == [{"address": "127.0.0.1", "port": 3306, "protocol": "tcp"}]
    assert (other["state"], other["exit_code"], other["stack"]) == ("exited", 137, "")


@pytest.mark.parametrize(
    ("status", "health"),
    [
        ("Up 3 minutes (healthy)", "healthy"),
        ("Up 3 minutes (unhealthy)", "unhealthy"),
        ("Up 1 second (health: starting)", "starting"),
        ("Up 2 hours", "none"),
        ("Up 2 hours (Paused)", "none"),
    ],
)
def test_health_in_a_containers_status(status: str, health: str) -> None:
    assert engine.parse_health(status) == health


def test_an_engine_that_answers_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        engine.get("/version", tmp_path / "docker.sock")


def test_os_release_and_memory_of_a_host(data: Data) -> None:
    release = machine.parse_os_release(data("os-release.txt"))
    assert (release["ID"], release["VERSION_ID"]) == ("debian", "13")
    assert release["PRETTY_NAME"] == "Debian GNU/Linux 13 (trixie)"
    assert machine.parse_memory_mb(data("meminfo.txt")) == 24105


def test_a_containers_memory_limit(tmp_path: Path) -> None:
    assert machine.memory_limit_mb(tmp_path) is None
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert machine.memory_limit_mb(tmp_path) is None
    (tmp_path / "memory.max").write_text("536870912\n")
    assert machine.memory_limit_mb(tmp_path) == 512


def test_the_disk_of_a_path_that_is_not_there_yet(tmp_path: Path) -> None:
    assert machine.disk(str(tmp_path / "a/b"))["device"] == os.stat(tmp_path).st_dev
