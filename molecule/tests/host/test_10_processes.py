"""Stacks without containers: who runs, as whom, what each of them sees, and who is answered."""

from __future__ import annotations

import json
import shlex
import socket
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from chatbot_site import DATABASE_PORT, PORT, STACK, converse, jobs, said
from ferry_site import PORT as FERRY_PORT
from managers import FILTERS
from playbook import play
from support import Machine
from update_site import PORT as HARBOUR_PORT

OWN_USER, DATA_USER = 10001, 10004
# Name of the process: whose it is. Workers are numbered.
PROCESSES = {
    STACK: {
        f"{STACK}-postgres": DATA_USER,
        f"{STACK}-server": OWN_USER,
        f"{STACK}-task": OWN_USER,
        f"{STACK}-task-2": OWN_USER,
    },
    "harbour": {"harbour-web": OWN_USER, "harbour-worker": OWN_USER},
}
SECRETS = {
    f"{STACK}-postgres": {"postgres_password"},
    f"{STACK}-server": {"postgres_password", "session_key"},
    f"{STACK}-task": {"postgres_password"},
    "harbour-web": {"harbour_key"},
    "harbour-worker": set[str](),
}
# What a process can write: its volumes and /tmp.
WRITABLE = {
    f"{STACK}-postgres": {"/var/lib/postgresql/data", "/run/postgresql"},
    f"{STACK}-server": set[str](),
    f"{STACK}-task": set[str](),
    "harbour-web": {"/state", "/pictures"},
    "harbour-worker": {"/state"},
}
ASIDE = {f"{STACK}-migrate", "harbour-migrate"}


def running(machine: Machine, stack: str) -> dict[str, dict[str, Any]]:
    """Return the instances of a stack that have a process."""
    return {name: found for name, found in machine.instances(stack).items() if found["pid"]}


def pid_of(machine: Machine, name: str) -> int:
    """Return the main process of an instance."""
    return int(machine.instances(name.partition("-")[0])[name]["pid"])


def seen_by(machine: Machine, name: str, command: str) -> str:
    """Run a shell command as a process's user in what the process sees."""
    pid, stack = pid_of(machine, name), name.partition("-")[0]
    uid = PROCESSES[stack][name]
    enter = f"nsenter -t {pid} -m --setuid {uid} --setgid {uid} --"
    return machine.sh(f"setpriv --no-new-privs --inh-caps=-all -- {enter} sh -c {quoted(command)}")


def quoted(text: str) -> str:
    """Return a word of the shell's."""
    return shlex.quote(text)


def test_no_engine_is_on_the_host(settled: Machine) -> None:
    found = settled.sh("dpkg-query -W -f '${db:Status-Abbrev} ${Package}\\n'").splitlines()
    packages = {line.split()[-1] for line in found if line.startswith("ii")}
    assert not packages & {"docker.io", "containerd", "docker-cli", "docker-compose", "podman"}
    for name in ("docker", "dockerd", "containerd", "runc"):
        assert settled.host.run(f"command -v {name}").rc != 0, name
    assert not settled.host.file("/run/docker.sock").exists
    assert not settled.host.file("/etc/docker").exists
    assert settled.sh("systemctl is-system-running") == "running"


@pytest.mark.parametrize("name", PROCESSES)
def test_the_processes_of_a_stack_are_those_described(settled: Machine, name: str) -> None:
    found = settled.instances(name)
    assert set(found) - ASIDE == set(PROCESSES[name])
    assert {n for n, i in found.items() if i["pid"]} == set(PROCESSES[name])
    for i in found.values():
        assert i["kind"] == "process" and i["health"] in ("healthy", "none"), i
    shown = settled.status(name)
    assert {service["state"] for service in shown.values()} == {"RUNNING", "EXITED"}
    assert shown["migrate"]["exit"]["code"] == 0


@pytest.mark.parametrize("name", PROCESSES)
def test_processes_run_as_their_users_without_any_capability(settled: Machine, name: str) -> None:
    for process, found in running(settled, name).items():
        uid = PROCESSES[name][process]
        shown = settled.sh(
            f"for p in {found['pid']} $(pgrep -P {found['pid']}); do "
            "grep -sE '^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' "
            "/proc/$p/status; done"
        )
        seen: dict[str, set[str]] = {}
        for line in shown.splitlines():
            key, _, values = line.partition(":")
            seen.setdefault(key, set()).update(values.split())
        nothing = {"0" * 16}
        assert seen.pop("Groups") <= {str(uid)}, process
        assert seen == {
            "Uid": {str(uid)},
            "Gid": {str(uid)},
            **{f"Cap{kind}": nothing for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")},
            "NoNewPrivs": {"1"},
            "Seccomp": {FILTERS[found["manager"]]},
        }, process


@pytest.mark.parametrize("name", SECRETS)
def test_a_process_sees_its_own_environment_secrets_and_names_alone(
    settled: Machine, name: str
) -> None:
    stack = name.partition("-")[0]
    process = settled.instances(stack)[name]
    home = process["image"].partition("/")[2].replace(":", "-")
    opt = seen_by(settled, name, "find /opt -mindepth 1 -maxdepth 3")
    assert opt.splitlines() == [
        f"/opt/{stack}",
        f"/opt/{stack}/environments",
        f"/opt/{stack}/environments/{home}",
    ]
    given = seen_by(settled, name, "ls /run/secrets 2>/dev/null || true").split()
    assert set(given) == SECRETS[name]
    for secret in SECRETS[name]:
        path = f"/run/secrets/{secret}"
        held = settled.sh(f"cat /opt/{stack}/secrets/{secret}")
        assert len(held) >= 40 and seen_by(settled, name, f"cat {path}") == held
        # Nobody else, whoever gets into what the process sees.
        other = f"nsenter -t {process['pid']} -m --setuid 4242 --setgid 4242 -- cat {path}"
        assert settled.host.run(other).rc != 0
    names = seen_by(settled, name, "cat /etc/hosts")
    assert names == settled.sh(f"cat /opt/{stack}/config/hosts")
    assert names != settled.sh("cat /etc/hosts")


@pytest.mark.parametrize("name", WRITABLE)
def test_a_process_writes_its_volumes_and_nothing_else(settled: Machine, name: str) -> None:
    found = seen_by(
        settled,
        name,
        "{ find / -xdev -type d -writable; cut -d' ' -f2 /proc/self/mounts; } 2>/dev/null "
        "| sort -u | grep -vE '^/(proc|sys)(/|$)' | while read -r place; do "
        'test -d "$place" && touch "$place/.tried" 2>/dev/null && echo "$place"; '
        'rm -f "$place/.tried"; done',
    )
    wide = {"/tmp", "/var/tmp", "/dev/shm"}
    places = {place for place in found.splitlines() if not place.startswith("/dev/mqueue")}
    assert {p for p in places if not any(p.startswith(f"{w}/") for w in WRITABLE[name])} == {
        *wide,
        *WRITABLE[name],
    }
    # What everybody can write is its own all the same.
    for place in wide:
        seen_by(settled, name, f"touch {place}/mine-alone")
        assert not settled.host.file(f"{place}/mine-alone").exists, place


@pytest.mark.parametrize("name", WRITABLE)
def test_a_process_sees_no_processes_of_others(settled: Machine, name: str) -> None:
    # Its own command line is among what is seen: so that has no /proc/1.
    look = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; ls -d /proc/[1] || true"
    seen = seen_by(settled, name, look)
    assert "cmdline" in seen and "/proc/1" not in seen.split()


def test_only_the_edge_listens_beyond_the_host(settled: Machine) -> None:
    places = [line.split()[3] for line in settled.sh("ss -Hltn").splitlines()]
    beyond = {
        int(place.rpartition(":")[2]) for place in places if not place.startswith(("127.", "[::1]"))
    }
    assert beyond == {PORT, HARBOUR_PORT, FERRY_PORT}


def test_a_data_service_listens_on_the_stacks_own_address_alone(settled: Machine) -> None:
    shown = settled.sh("ss -Hltn").splitlines()
    places = [line.split()[3] for line in shown if line.split()[3].endswith(f":{DATABASE_PORT}")]
    lines = [line.split() for line in settled.sh(f"cat /opt/{STACK}/config/hosts").splitlines()]
    (address,) = {line[0] for line in lines if "postgres" in line}
    assert f"{address}:{DATABASE_PORT}" in places
    # Each stack's, ferry's too.
    assert all(place.startswith("127.") for place in places) and len(set(places)) == len(places)
    assert address != "127.0.0.1" and f"127.0.0.1:{DATABASE_PORT}" not in places
    assert settled.sh("cat /opt/harbour/config/hosts").count(address) == 0, (
        "another stack's is other"
    )
    with pytest.raises(OSError):
        socket.create_connection((settled.address, DATABASE_PORT), timeout=3)


def test_both_answer_behind_the_edge(settled: Machine) -> None:
    token = converse(settled, "Does anybody answer?")
    assert said(settled, token)[0] == "Does anybody answer?"
    assert jobs(settled)["failed"] == 0
    with urllib.request.urlopen(f"http://{settled.address}:{HARBOUR_PORT}/", timeout=5) as answer:
        assert answer.status == 200 and b"Harbour 1" in answer.read()


def test_a_run_without_changes_is_two_tasks(
    settled: Machine, figure: Callable[[str], None]
) -> None:
    before, began = [settled.runs(name) for name in PROCESSES], time.monotonic()
    played = play("site.yml").ok
    figure(f"site.yml without changes: {time.monotonic() - began:.1f} s")
    # Plan and survey.
    assert (played.tasks, played.count("changed")) == (2, 0), played.output
    assert [settled.runs(name) for name in PROCESSES] == before


def test_commands_run_in_what_a_service_sees(settled: Machine) -> None:
    shown = settled.sh(
        f"moorage exec {STACK} task python3 -c 'import json, os; "
        'print(json.dumps([os.getuid(), os.getgid(), os.listdir("/run/secrets"), os.getcwd()]))\''
    )
    uid, gid, secrets, directory = json.loads(shown)
    assert (uid, gid, secrets) == (OWN_USER, OWN_USER, ["postgres_password"])
    assert directory.startswith(f"/opt/{STACK}/environments/")
