"""Which services of a stack can run on this machine, and in one line each why the others cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from moorage.compose import Service, Stack
from moorage.compose.extension import HostExtension

_COMPLETED = "service_completed_successfully"


@dataclass(frozen=True)
class Choice:
    """The services that run, in the order in which they start, and why the rest does not."""

    services: tuple[Service, ...]
    one_offs: frozenset[str]
    why_not: dict[str, str]


def choose(stack: Stack) -> Choice:
    """Go through the services of a stack."""
    without = set(stack.moorage.host.local.without)
    found, why_not = [], {}
    for name in _ordered(stack):
        service = stack.services[name]
        host = extension(stack, service)
        if service.is_data:
            instead = "the stack does without" if name in without else "it takes an engine"
            why_not[name] = f"is the image {service.image}; {instead}"
        elif needs := sorted(set(_needed(stack, name)) - without):
            verb = "does" if len(needs) == 1 else "do"
            why_not[name] = f"needs {' and '.join(needs)}, which {verb} not run here"
        elif lacking := [
            other for other in _waited_for(service) if other in why_not.keys() - without
        ]:
            why_not[name] = f"needs {lacking[0]}, which does not run here"
        elif service.replicas == 0:
            why_not[name] = "deploy.replicas is 0"
        elif not (host.sources or host.requirements or host.command):
            why_not[name] = "no x-moorage.host says what it needs without a container"
        elif not (host.command or service.entrypoint or service.command):
            why_not[name] = "its command is in its image; write command: into the Compose file"
        else:
            found.append(service)
    one_offs = {
        other
        for service in stack.services.values()
        for other, dependency in service.depends_on.items()
        if dependency.condition == _COMPLETED
    }
    return Choice(tuple(found), frozenset(one_offs), why_not)


def extension(stack: Stack, service: Service) -> HostExtension:
    """What `x-moorage.host` says of a service."""
    return service.moorage.host.over(stack.moorage.host)


def _ordered(stack: Stack) -> list[str]:
    """Services behind those that they depend on, else as the file has them."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        # Circles have been refused when the file was read.
        for other in stack.services[name].depends_on:
            if other in stack.services and other not in done:
                visit(other)
        done.setdefault(name)

    for name in stack.services:
        visit(name)
    return list(done)


def _waited_for(service: Service) -> list[str]:
    return [other for other, how in service.depends_on.items() if how.required]


def _needed(stack: Stack, name: str) -> Iterator[str]:
    """Yield the data services that a service waits for, however far away."""
    for other in _waited_for(stack.services[name]):
        if stack.services[other].is_data:
            yield other
        else:
            yield from _needed(stack, other)
