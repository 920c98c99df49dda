"""Proofs that start the application: one that works, one that cannot, and some that want out."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from rig import _PROBE
from saved import Saved, assert_nothing_left, host, state

from moorage.backup.confined import mount_of, out_of_bounds
from moorage.backup.throwaway import _in_order
from moorage.deploy.gate import Check, wait_until_healthy
from moorage.release.layout import Layout
from moorage.release.manifest import Unit

# Says its rows to whoever connects, as a database would.
DATABASE = """
cp /data/rows /tmp/rows; touch /tmp/well
exec perl -MIO::Socket::INET -e '
my $all = IO::Socket::INET->new(LocalPort => 5000, Listen => 9, ReuseAddr => 1) or die;
while (my $one = $all->accept) {
    open(my $in, "<", "/tmp/rows");
    print $one scalar <$in>;
    close $one;
}'
""".replace("$", "$$")
# Serves well with its picture, its secret and its rows alone. What its volume brings runs first.
APP = r"""
test ! -e /data/start || . /data/start
touch /tmp/well
exec perl -MIO::Socket::INET -e '
my $all = IO::Socket::INET->new(LocalPort => 8000, Listen => 9, ReuseAddr => 1) or die;
sub said { open(my $in, "<", shift) or return ""; return scalar <$in> }
while (my $one = $all->accept) {
    while (my $line = <$one>) { last if $line eq "\r\n" }
    my $rows = IO::Socket::INET->new("db:5000");
    my $well = said("/data/picture") eq "a picture" && $rows && <$rows> eq "first row\n"
        && said("/run/secrets/password") eq "a secret of the stack";
    print $one "HTTP/1.1 " . ($well ? "200 OK" : "500 Lost") . "\r\nContent-Length: 0\r\n\r\n";
    close $one;
}'
""".replace("$", "$$")
# Connects to each address of the file, and says which it has reached. `gateway` is the first
# address of its own network, which is the host's where nothing keeps that away; `ipv6` is one that
# nobody has to give, by which the host's own in the same network is reached.
WANTS_OUT = r"""
rm -f /data/reached
perl -MIO::Socket::INET -MIO::Socket::UNIX -e '
open(my $in, "<", "/data/addresses"); open(my $out, ">", "/data/reached");
open(my $routes, "<", "/proc/net/route");
my ($net) = map { (split)[1] } grep { /^eth0/ && (split)[1] ne "00000000" } <$routes>;
my @first = reverse unpack("C4", pack("H8", $net)); $first[3]++;
while (my $line = <$in>) {
    chomp $line;
    my $to = $line =~ s/^gateway/join(".", @first)/er;
    my $one = $to eq "ipv6" ? grep(/eth0/, do { open(my $own, "/proc/net/if_inet6"); <$own> })
        : $to =~ m{^/} ? IO::Socket::UNIX->new(Peer => $to)
        : IO::Socket::INET->new(PeerAddr => $to, Timeout => 1);
    print $out "$line\n" if $one;
}
close $out'
test ! -s /data/reached || test -e /data/production-only || { cat /data/reached; exit 1; }
"""
IPV6 = "net.ipv6.conf.all.disable_ipv6"
BY_IPV6 = Path("/proc/sys", *IPV6.split(".")).exists()


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, empty_repository: Path) -> Iterator[Saved]:
    """A stack whose application serves what it was given, with a socket of the host's."""
    with pytest.MonkeyPatch.context() as patch:
        stack = host(tmp_path_factory.mktemp("serving"), patch, empty_repository)
        stack.database, stack.app = DATABASE, APP
        secret = stack.layout.base / "secrets" / "password"
        outside = stack.directory / "outside"
        outside.mkdir()
        stack.entry = {
            "volumes": [
                {"type": "bind", "source": str(secret), "target": "/run/secrets/password",
                 "read_only": True},
                {"type": "bind", "source": str(outside), "target": "/outside", "read_only": True},
            ],
            "sysctls": {IPV6: "0"} if BY_IPV6 else {},
        }  # fmt: skip
        target = {"service": "app", "port": 8000, "path": "/", "expect": [200, 399]}
        stack.manifest = {"probe": {**_PROBE, "rate": 0, "targets": [target]}}
        try:
            stack.deploy()
            yield stack
        finally:
            stack.rig.clear()


@pytest.fixture
def stack(serving: Saved) -> Iterator[Saved]:
    """The same, as it was deployed."""
    yield serving
    serving.configure()
    serving.reset()


def proven(saved: Saved) -> tuple[int, str]:
    """Prove a new backup; return the exit status, and what was found of the application."""
    saved.backup()
    done = saved.run("prove", saved.stack, "--json")
    assert_nothing_left(saved)
    parts = {part["name"]: part for part in done.json["parts"]}
    assert all(part["ok"] for name, part in parts.items() if name != "application"), parts
    assert parts["application"]["ok"] == done.json["ok"] == (done.status == 0)
    return done.status, parts["application"]["detail"]


def test_it_is_started_on_what_was_restored_and_asked(stack: Saved) -> None:
    before = stack.states(), stack.content()
    status, said = proven(stack)
    outside = stack.directory / "outside"
    assert status == 0, said
    assert said == f"2 services healthy; 1 requests answered; without {outside}"
    assert (stack.states(), stack.content()) == before


@pytest.mark.parametrize("lost", ["secret", "picture"])
def test_one_that_does_not_work_on_it_fails_the_proof_with_the_reason(
    stack: Saved, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.deploy.health._PATIENCE_SECONDS", 1.0)
    if lost == "secret":
        (stack.layout.base / "secrets" / "password").write_text("another one")
    else:
        (stack.files / "picture").unlink()
    status, said = proven(stack)
    assert status == 1 and "answered 500 where 200 to 399 is expected" in said, said
    found = json.loads(state(stack).read_text())
    assert not found["ok"] and "does not serve" in found["parts"][-1]["detail"]


def test_one_that_ends_on_it_fails_the_proof_with_what_it_said(stack: Saved) -> None:
    (stack.files / "start").write_text("echo the schema is of tomorrow; exit 1")
    status, said = proven(stack)
    assert status == 1 and "exit code 1" in said and "the schema is of tomorrow" in said, said


@contextmanager
def listeners(directory: Path) -> Iterator[list[str]]:
    """Listen as services of the host do; gives where."""
    with ExitStack() as held:
        port = held.enter_context(socket.create_server(("0.0.0.0", 0), backlog=64)).getsockname()[1]
        there = held.enter_context(socket.socket(socket.AF_UNIX))
        there.bind(str(directory / "outside" / "socket"))
        there.listen(64)
        held.callback((directory / "outside" / "socket").unlink)
        ways = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout
        yield [
            "/outside/socket",
            *(f"{address}:{port}" for address in ways.split() if "." in address),
        ]


def test_one_that_wants_out_reaches_nobody(stack: Saved) -> None:
    format_ = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    argv = ["docker", "inspect", "--format", format_, f"{stack.stack}-db"]
    database = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    with listeners(stack.directory) as addresses:
        addresses += [f"{database}:5000", *(["ipv6"] if BY_IPV6 else [])]
        (stack.files / "addresses").write_text("\n".join(addresses) + "\n")
        (stack.files / "start").write_text(WANTS_OUT)
        # Where it really runs it reaches all of them.
        (stack.files / "production-only").touch()
        subprocess.run(["docker", "restart", "-t", "1", f"{stack.stack}-app"], check=True)
        wait_until_served(stack)
        assert (stack.files / "reached").read_text().split() == addresses
        (stack.files / "production-only").unlink()
        status, said = proven(stack)
    assert status == 0, said


def wait_until_served(saved: Saved) -> None:
    """Wait until the application that really runs is healthy."""

    def look() -> list[Check]:
        app = saved.rig.containers()["app"]
        return [Check("app", app.settled, app.state)]

    wait_until_healthy(look, 60.0)


def test_one_that_writes_without_end_is_ended(
    stack: Saved, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)], check=True)
    try:
        monkeypatch.setattr(Layout, "proof", property(lambda _: disk / "proof"))
        (stack.files / "start").write_text("cat /dev/zero > /data/endless")
        status, said = proven(stack)
        assert status == 1 and "it writes without end" in said, said
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_one_that_never_gets_healthy_nor_ends_is_ended(
    stack: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.backup()
    (stack.files / "start").write_text("trap '' TERM; while :; do sleep 1; done")
    monkeypatch.setattr("moorage.backup.throwaway._HEALTHY_SECONDS", 8.0)
    status, said = proven(stack)
    assert status == 1 and "the gate stayed closed for 8 s" in said, said


def test_what_a_killed_proof_has_left_goes_with_the_next_one(stack: Saved) -> None:
    stack.backup()
    before = """
from moorage.backup import throwaway
throwaway.ThrowAway._hand_over_ = throwaway.ThrowAway._hand_over
def end(self, units, services=None):
    if services is None:
        os.kill(os.getpid(), signal.SIGKILL)
    self._hand_over_(units, services)
throwaway.ThrowAway._hand_over = end
"""
    argv = stack.argv("prove", stack.stack, before=before)
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == -9, done
    assert (stack.layout.proof / "secrets" / "password").is_file()
    assert stack.layout.proof.stat().st_mode & 0o777 == 0o700
    left = subprocess.run(
        ["docker", "ps", "-q", "--filter", f"name=moorage-proof-{stack.stack}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(left.stdout.split()) == 2
    assert proven(stack)[0] == 0
    subprocess.run(argv, capture_output=True, check=False, timeout=180)
    assert state(stack).with_suffix(".prom").exists()
    done = stack.run("remove", stack.stack)
    assert done.status == 0, done
    assert_nothing_left(stack)
    # They would raise an alarm for good; what was proven of the backups that stay is known.
    assert [*state(stack).parent.glob("*.prom")] == [] and state(stack).exists()
    stack.deploy()


def test_without_memory_for_it_the_proof_fails_and_a_setting_leaves_it_out(
    stack: Saved, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    memory = tmp_path / "meminfo"
    memory.write_text("MemTotal: 4096 kB\nMemAvailable: 8 kB\n")
    monkeypatch.setattr("moorage.backup.throwaway._MEMORY", memory)
    status, said = proven(stack)
    assert status == 1 and "the host has 8.2 kB available" in said, said
    stack.configure(stacks={stack.stack: {"prove_application": False}})
    done = stack.run("prove", stack.stack, "--json")
    assert done.status == 0, done
    details = {part["name"]: part["detail"] for part in done.json["parts"]}
    assert "application" not in details
    assert details["volume/files"] == "2 entries, sha256 as saved"


@pytest.mark.parametrize(
    ("described", "why"),
    [
        ({"network_mode": "host"}, "network_mode"),
        ({"network_mode": "none"}, ""),
        ({"pid": "host"}, "pid"),
        ({"privileged": True}, "privileged"),
        ({"privileged": False, "devices": []}, ""),
        ({"devices": ["/dev/sda"]}, "devices"),
        ({"cap_add": ["CHOWN", "cap_net_admin"]}, "cap_add: NET_ADMIN"),
        ({"cap_add": ["CAP_CHOWN"]}, ""),
    ],
)
def test_what_cannot_be_confined_is_not_started(described: dict[str, Any], why: str) -> None:
    assert out_of_bounds(described) == why


def test_services_start_in_the_order_in_which_they_need_each_other() -> None:
    def unit(service: str, *needs: str, data: bool = False) -> Unit:
        wanted = dict.fromkeys(needs, "service_healthy")
        return Unit(service, service, "", False, {"": service}, data=data, needs=wanted)

    found = _in_order(
        [unit("web", "api"), unit("api", "migrate", "db"), unit("migrate", "db"),
         unit("db", data=True), unit("mail")]
    )  # fmt: skip
    names = [[unit.service for unit in group] for group in found]
    assert names == [["db"], ["migrate", "mail"], ["api"], ["web"]]


def test_of_the_host_it_sees_plain_files_alone(tmp_path: Path) -> None:
    (tmp_path / "zone").touch()
    (tmp_path / "link").symlink_to("zone")
    aside = tmp_path / "aside"

    def given(name: str, read_only: bool) -> tuple[str, str]:
        mount = {
            "type": "bind",
            "source": str(tmp_path / name),
            "target": "/x",
            "read_only": read_only,
        }
        found, lacking = mount_of(mount, lambda _: None, aside)
        return found["source"], lacking

    zone = str(tmp_path / "zone")
    assert given("zone", True) == (zone, "")
    assert given("zone", False) == (str(aside), zone)
    for name in ("link", ".", "nowhere"):
        assert given(name, True)[0] == str(aside)
