"""What the shared tests have to know of the application that a scenario deploys.

Each stack has a module `STACK_site` beside this one that says so; everything else the tests take
from its Compose file (`described`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, Protocol, cast

from described import STACK
from load import Load
from support import Machine
from visitor import Visitor


class Application(Protocol):
    """A stack as its people see it."""

    VISITED: str
    """An own service that visitors reach and that an update replaces beside itself."""
    ASIDE: str
    """An own service that no visitor waits for, and of which there is one process at most."""
    SINGLE: tuple[str, ...]
    """The arguments of that process."""
    DATABASE: str
    """The data service that keeps what must not be lost."""
    BAD: dict[str, dict[str, str]]
    """Variables with which a service does not get healthy."""
    BAD_SAYS: str
    """What that service says then."""
    SIGN_IN: str
    """The page with the form for signing in; who is signed out is led to it."""
    PRIVATE: str
    """A page for administrators."""
    PAGES: str
    """The template of all pages, in the stack's directory: `<title>` is a line of it."""
    LONG: set[str]
    """The long requests of `visited`, of which there must have been some."""

    visitor: Callable[[Machine], Visitor]
    """Return a visitor from outside the host."""
    administrator: Callable[[Machine], Visitor]
    """Return a visitor who has signed in with the password that the deploy generated."""
    ensure_content: Callable[[Machine], None]
    """Make sure that there is something that could be lost."""
    kept: Callable[[Machine], tuple[Any, ...]]
    """Return everything that must survive whatever happens to host and containers."""
    visited: Callable[..., AbstractContextManager[Load]]
    """Send a steady load (`rate`, `streams`: those of who is signed in) while the block runs."""
    database_answers: Callable[[socket.socket], bool]
    """Tell whether the database speaks its protocol on a connection."""
    ask_data_services: Callable[[Machine], None]
    """Have clients on the host's own network reach each data service with its password."""
    assert_ended_in_order: Callable[[Machine], None]
    """Make sure that the database had its time to stop before it started again."""
    assert_dumped: Callable[[bytes], None]
    """Make sure that what a hook has saved is whole and holds the content."""


APPLICATION = cast(Application, import_module(f"{STACK.name}_site"))


def own(**settings: Any) -> dict[str, Any]:
    """Return settings of the stack by the names that playbooks take."""
    return {f"{STACK.name.replace('-', '_')}_{name}": value for name, value in settings.items()}
