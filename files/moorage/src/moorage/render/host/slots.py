"""Ports of the host for a process: variables that get their values slot by slot."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from moorage.compose.extension import HostExtension
from moorage.compose.parts import Port
from moorage.render.context import Context
from moorage.render.ports import listening
from moorage.render.service import PlacedService

# They stay as they are when the Compose file is read.
KEPT = r"MOORAGE_LISTEN|MOORAGE_PORT_\d+"
_WRITTEN = re.compile(rf"\$\{{({KEPT})\}}")
_LOOPBACK, _ANYWHERE = "127.0.0.1", "0.0.0.0"
_FREE = 1024  # the first that the kernel gives to everybody


def extension(service: PlacedService, ctx: Context) -> HostExtension:
    """What x-moorage.host says of a service; the stack's is for own ones."""
    own = service.moorage.host
    return own if service.is_data else own.over(ctx.stack.moorage.host)


def texts(service: PlacedService, ctx: Context) -> Iterator[str]:
    """Everything of a service in which a port may be written."""
    host = extension(service, ctx)
    yield from (*(service.entrypoint or ()), *(service.command or ()), *(host.command or ()))
    yield from (*service.variables.values(), *host.environment.values(), *host.uwsgi.values())
    if service.healthcheck and service.healthcheck.test:
        yield from service.healthcheck.test


def asked(service: PlacedService, ctx: Context) -> set[int]:
    """The ports of a service that it listens on wherever it is told to."""
    names = (name for text in texts(service, ctx) for name in _WRITTEN.findall(text))
    return {int(name.rpartition("_")[2]) for name in names if name[-1].isdigit()}


def movable(service: PlacedService, ctx: Context) -> bool:
    """Whether two of a service can listen side by side on one host."""
    return {port for port, _ in listening(service)} <= asked(service, ctx)


def values(
    service: PlacedService, ctx: Context, peers: Mapping[str, int]
) -> dict[str, str]:  # fmt: skip
    """What the variables stand for, where `peers` are the service's ports behind the edge."""
    direct = {port.target: port for port in service.direct_ports if port.published}
    found = {"MOORAGE_LISTEN": _LOOPBACK}
    for port in asked(service, ctx):
        if str(port) in peers:
            number = peers[str(port)]
        elif port in direct:
            number = int(direct[port].published or 0)
            found["MOORAGE_LISTEN"] = direct[port].host_ip or _ANYWHERE
        else:
            number = port
        found[f"MOORAGE_PORT_{port}"] = str(number)
    return found


def filled(value: Any, known: Mapping[str, str]) -> Any:
    """Texts, alone or in lists and mappings, with the variables' values."""
    if isinstance(value, str):
        return _WRITTEN.sub(lambda match: known.get(match[1], match[0]), value)
    if isinstance(value, Mapping):
        return {key: filled(item, known) for key, item in value.items()}
    return [filled(item, known) for item in value] if isinstance(value, list | tuple) else value


def check(service: PlacedService, ctx: Context) -> None:
    """Report ports that nothing can map: a process listens where it listens."""
    moves = asked(service, ctx)
    for port in _stuck(service.direct_ports, moves):
        message = f"nothing leads from {port.published} to {port.target} without a container"
        advice = f"publish {port.target}"
        if not service.is_data:
            variable = f"${{MOORAGE_PORT_{port.target}:-{port.target}}}"
            advice = f"let it listen on ${{MOORAGE_LISTEN:-0.0.0.0}}:{variable}, or {advice}"
        ctx.wrong(service.name, "ports", message, advice, port.published)


def check_privileged(service: PlacedService, ctx: Context) -> None:
    """Report ports that only root listens on, where nothing else is to be told."""
    moves, direct = asked(service, ctx), {port.target: port for port in service.direct_ports}
    for port, _ in listening(service):
        published = direct[port].published if port in direct else None
        number = int(published) if published and published.isdecimal() else port
        if number < _FREE and (port in direct or port not in moves):
            message = f"no process of the host listens on {number} but root's"
            advice = f"let it listen on a port from {_FREE} on, with the edge before it"
            ctx.wrong(service.name, "ports", message, advice, str(number))


def _stuck(ports: Iterable[Port], moves: set[int]) -> Iterator[Port]:
    for port in ports:
        if port.published and port.published != str(port.target) and port.target not in moves:
            yield port
