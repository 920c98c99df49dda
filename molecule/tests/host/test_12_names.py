"""Two stacks with a database of one name each: whoever asks for it finds his own stack's."""

from __future__ import annotations

from chatbot_site import DATABASE_PORT
from chatbot_site import STACK as CHATBOT
from ferry_site import STACK, database
from support import Machine, wait_until


def address(machine: Machine, stack: str) -> str:
    """Return what a stack's processes are told of the name `postgres`."""
    lines = machine.sh(f"cat /opt/{stack}/config/hosts").splitlines()
    (found,) = [line.split()[0] for line in lines if "postgres" in line.split()[1:]]
    return found


def test_each_finds_its_own_database_by_the_name_that_both_have(settled: Machine) -> None:
    name, found = wait_until("ferry has its database", lambda: database(settled))
    assert (name, found) == ("ferry", address(settled, STACK))
    ask = f"moorage exec {CHATBOT} server python3 -c %s"
    theirs = settled.sh(ask, "import socket; print(socket.gethostbyname('postgres'))")
    assert theirs == address(settled, CHATBOT) != found
    places = {line.split()[3] for line in settled.sh("ss -Hltn").splitlines()}
    assert {f"{theirs}:{DATABASE_PORT}", f"{found}:{DATABASE_PORT}"} <= places


def test_a_database_restarts_and_the_other_of_its_name_does_not(settled: Machine) -> None:
    before = settled.runs(CHATBOT)
    settled.sh(f"moorage restart {STACK} postgres --reason 'a test'")
    wait_until("ferry has its database again", lambda: database(settled))
    assert settled.runs(CHATBOT) == before
    passwords = [settled.sh(f"cat /opt/{s}/secrets/postgres_password") for s in (STACK, CHATBOT)]
    assert len(set(passwords)) == 2
