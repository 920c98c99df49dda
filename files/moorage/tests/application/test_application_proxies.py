"""Whose X-Forwarded-* is believed."""

from pathlib import Path

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

from moorage.application.environment import ConfigurationError
from moorage.application.proxies import NamedProxies, gateways


@Request.application
def seen(request: Request) -> Response:
    return Response(f"{request.scheme} {request.remote_addr}")


@pytest.mark.parametrize(
    ("named", "peer", "believed"),
    [
        ("", "127.0.0.1", True),
        ("", "::ffff:127.0.0.1", True),
        ("", "172.20.0.5", False),
        ("", "", False),
        ("172.20.0.1, 10.0.0.0/8", "172.20.0.1", True),
        ("172.20.0.1, 10.0.0.0/8", "10.1.2.3", True),
        ("172.20.0.1, 10.0.0.0/8", "172.20.0.2", False),
        ("172.20.0.1, 10.0.0.0/8", "127.0.0.1", False),
    ],
)
def test_only_named_proxies_are_believed(named: str, peer: str, believed: bool) -> None:
    given = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    client = Client(NamedProxies(seen, 1, named))
    answer = client.get("/", headers=given, environ_overrides={"REMOTE_ADDR": peer})
    assert answer.text == ("https 203.0.113.9" if believed else f"http {peer}")


def test_the_gateway_of_a_container_is_a_proxy(tmp_path: Path) -> None:
    routes = tmp_path / "route"
    routes.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010014AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t000014AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    )
    assert list(gateways(routes)) == ["172.20.0.1"]
    assert list(gateways(tmp_path / "none")) == []
    with pytest.raises(ConfigurationError, match="TRUSTED_PROXY_NETWORKS"):
        NamedProxies(seen, 1, "10.0.0.0/8, edge")
