"""Whose X-Forwarded-* is believed: that of named proxies, and of nobody else.

The edge of a host asks through a published port of 127.0.0.1: a container sees the gateway of its
network, or loopback on the host's network. Another container of the network is none of the two.
"""

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from werkzeug.middleware.proxy_fix import ProxyFix

from moorage.application.environment import ConfigurationError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_ROUTES = Path("/proc/net/route")


class NamedProxies:
    """Reads what proxies have added, when the peer is one of them; else drops it."""

    def __init__(self, app: "WSGIApplication", hops: int, named: str) -> None:
        """Believe `hops` proxies behind a peer in `named`: addresses and networks, by commas.

        Empty: loopback and the gateways of this network namespace. Raises ConfigurationError.
        """
        self._app = app
        self._behind = ProxyFix(app, x_for=hops, x_proto=hops, x_host=hops)
        words = named.split(",") if named.strip() else ["127.0.0.0/8", "::1/128", *gateways()]
        try:
            self._networks = [ipaddress.ip_network(word.strip()) for word in words if word.strip()]
        except ValueError as error:
            raise ConfigurationError(f"TRUSTED_PROXY_NETWORKS: {error}") from None

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        if self._named(environ.get("REMOTE_ADDR", "")):
            return self._behind(environ, start_response)
        for name in [key for key in environ if key.startswith("HTTP_X_FORWARDED_")]:
            del environ[name]
        return self._app(environ, start_response)

    def _named(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def gateways(routes: Path = _ROUTES) -> Iterator[str]:
    """Yield the gateways of the default routes, as proc(5) has them: hexadecimal, host order."""
    try:
        lines = routes.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        _, destination, gateway, *_rest = line.split()
        if destination == "00000000" and gateway != "00000000":
            yield str(ipaddress.IPv4Address(struct.pack("=I", int(gateway, 16))))
